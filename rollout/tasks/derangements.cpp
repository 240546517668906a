// Derangements: permutations of n things of which none stays in place, modulo a number. Question
// "!5%97="; answer 44.
//
// !0 = 1, !1 = 0, !n = (n - 1)(!(n-1) + !(n-2)). A state is one n, with the two before it. TAIL
// asks for the number itself, which has 158 digits for n = 100; the modulus keeps the states short
// and makes more than one instance of an n.
//
// TAIL, class recursion.
#include "core/base/text.h"
#include "rollout/tasks/family.h"

namespace vernier {
namespace {

const FamilyInfo kInfo = {.name = "derangements",
                          .area = "recursion",
                          .unit = "things",
                          .tiers = {{{3, 30}, {31, 60}, {61, 100}}},
                          .request =
                              "!n counts the permutations of n things that leave none in "
                              "its place. What is it, modulo the number behind %? {problem}"};

Problem draw(Rng& rng, int64_t length, bool with_states) {
  const int64_t modulus = 10 + rng.next_below(990);
  Problem out;
  out.question = cat('!', length, '%', modulus, '=');
  int64_t before = 1, last = 0;  // !0 and !1
  for (int64_t n = 2; n <= length; ++n) {
    const int64_t value = (n - 1) * (last + before) % modulus;
    if (with_states)
      out.states.push_back(
          {.input = cat(before, ',', last),
           .computation = cat(n - 1, "*(", last, '+', before, ")%", modulus, '=', value),
           .output = cat(value),
           .variables = cat(n),
           .remaining = cat(length - n)});
    before = last;
    last = value;
  }
  out.answer = cat(last);
  return out;
}

const auto entry = family_entry(kInfo,
                                {"the number of derangements of n things, modulo a number",
                                 "!n = (n - 1)(!(n-1) + !(n-2)), !0 = 1, !1 = 0", "things",
                                 "TAIL (Turing machine imitation), class recursion"},
                                draw);

}  // namespace
}  // namespace vernier
