// 0-1 knapsack. Question "6:3/4,5/8,1/2=": room 6, things with weight and value; answer 10.
//
// best(i, c) is what the first i things give in room c. A state is one (i, c), row by row: the two
// values it chooses from, and the larger one.
//
// TAIL, class dynamic programming.
#include <algorithm>

#include "core/base/text.h"
#include "rollout/tasks/family.h"

namespace vernier {
namespace {

const FamilyInfo kInfo = {.name = "knapsack",
                          .area = "dynamic programming",
                          .unit = "things",
                          .tiers = {{{2, 3}, {4, 5}, {6, 8}}},
                          .request =
                              "The first number is the room of a sack, then there are "
                              "things as weight/value. What is the largest value that fits "
                              "in? {problem}"};

Problem draw(Rng& rng, int64_t length, bool with_states) {
  std::vector<int64_t> weights, values;
  std::string things;
  int64_t sum = 0;
  for (int64_t i = 0; i < length; ++i) {
    weights.push_back(1 + rng.next_below(9));
    values.push_back(1 + rng.next_below(9));
    sum += weights.back();
    things += cat(i > 0 ? "," : "", weights.back(), '/', values.back());
  }
  const int64_t room = std::max<int64_t>(1, sum / 2);
  Problem out;
  out.question = cat(room, ':', things, '=');
  std::vector<int64_t> best(static_cast<size_t>(room + 1));
  for (size_t i = 0; i < weights.size(); ++i) {
    const std::vector<int64_t> before = best;
    for (int64_t c = 1; c <= room; ++c) {
      const int64_t without = before[static_cast<size_t>(c)];
      const bool fits = weights[i] <= c;
      const int64_t rest = fits ? before[static_cast<size_t>(c - weights[i])] : 0;
      int64_t& here = best[static_cast<size_t>(c)];
      if (fits) here = std::max(without, rest + values[i]);
      if (with_states)
        out.states.push_back(
            {.input = fits ? cat(without, ',', rest) : cat(without),
             .computation = fits ? cat("max(", without, ',', rest, '+', values[i], ")=", here) : "",
             .output = cat(here),
             .variables = cat(i + 1, ',', c),
             .remaining = ""});
    }
  }
  out.answer = cat(best.back());
  return out;
}

const auto entry =
    family_entry(kInfo,
                 {"the largest value that fits in a sack",
                  "best(i, c) = max(best(i-1, c), best(i-1, c - w_i) + v_i)", "things",
                  "TAIL (Turing machine imitation), class dynamic programming"},
                 draw);

}  // namespace
}  // namespace vernier
