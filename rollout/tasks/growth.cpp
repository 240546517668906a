// Growth of a population. Question "50,3%+2,7=": 50 grow by 3 % (rounded down) and 2 in each of 7
// units of time; answer 79.
//
// A state is one unit. At 9 % and 9 more, 199 become 2.7e17 in 400 units, the most that there may
// be. Nine times that fits in 64 bits; with 417 units it would not.
//
// TAIL, class iteration.
#include "core/base/text.h"
#include "rollout/tasks/family.h"

namespace vernier {
namespace {

const FamilyInfo kInfo = {.name = "growth",
                          .area = "iteration",
                          .unit = "units of time",
                          .tiers = {{{1, 10}, {11, 25}, {26, 50}}},
                          .longest = 400,
                          .request =
                              "A population begins with the first number, grows in each "
                              "unit of time by the percentage, rounded down, and by the "
                              "number behind +, for as many units as the last number says. "
                              "How large does it become? {problem}"};

Problem draw(Rng& rng, int64_t length, bool with_states) {
  int64_t population = 10 + rng.next_below(190);
  const int64_t rate = 1 + rng.next_below(9), more = rng.next_below(10);
  Problem out;
  out.question = cat(population, ',', rate, "%+", more, ',', length, '=');
  for (int64_t unit = 1; unit <= length; ++unit) {
    const int64_t births = population * rate / 100, next = population + births + more;
    if (with_states)
      out.states.push_back({.input = cat(population),
                            .computation = cat(population, '+', births, '+', more, '=', next),
                            .output = cat(next),
                            .variables = cat(unit),
                            .remaining = cat(length - unit)});
    population = next;
  }
  out.answer = cat(population);
  return out;
}

const auto entry = family_entry(kInfo,
                                {"a population that grows by a percentage and a number each unit",
                                 "p <- p + floor(p r / 100) + b", "units of time",
                                 "TAIL (Turing machine imitation), class iteration"},
                                draw);

}  // namespace
}  // namespace vernier
