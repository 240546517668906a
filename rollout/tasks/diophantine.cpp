// Solutions of a x + b y = n in whole numbers from 0 on. Question "3x+5y=41="; answer 3: how many.
//
// A state tries one x.
//
// TAIL, class enumeration.
#include "core/base/text.h"
#include "rollout/tasks/family.h"

namespace vernier {
namespace {

const FamilyInfo kInfo = {.name = "diophantine",
                          .area = "enumeration",
                          .unit = "right side n",
                          .tiers = {{{10, 50}, {51, 100}, {101, 200}}},
                          .request =
                              "How many pairs of whole numbers x and y, both 0 or more, "
                              "solve this equation? {problem}"};

Problem draw(Rng& rng, int64_t length, bool with_states) {
  const int64_t a = 2 + rng.next_below(18), b = 2 + rng.next_below(18);
  Problem out;
  out.question = cat(a, "x+", b, "y=", length, '=');
  int64_t count = 0;
  for (int64_t x = 0; a * x <= length; ++x) {
    const int64_t rest = length - a * x;
    const bool solved = rest % b == 0;
    count += solved ? 1 : 0;
    if (with_states)
      out.states.push_back(
          {.input = cat(x),
           .computation = cat(length, '-', a, '*', x, '=', rest, ',', rest, '%', b, '=', rest % b),
           .output = solved ? "1" : "0",
           .variables = cat(count),
           .remaining = cat(length / a - x)});
  }
  out.answer = cat(count);
  return out;
}

const auto entry = family_entry(kInfo,
                                {"how many solutions a x + b y = n has", "", "n",
                                 "TAIL (Turing machine imitation), class enumeration"},
                                draw);

}  // namespace
}  // namespace vernier
