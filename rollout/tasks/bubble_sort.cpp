// Bubble sort. Question "3,1,2="; answer 1,2,3.
//
// A state compares two neighbours and puts them in order; the list follows. Passes end one place
// earlier each time; all of them are made.
//
// TAIL, class simulation.
#include <algorithm>

#include "core/base/text.h"
#include "rollout/tasks/family.h"

namespace vernier {
namespace {

constexpr int64_t kLargest = 99;

const FamilyInfo kInfo = {.name = "bubble_sort",
                          .area = "simulation",
                          .unit = "items",
                          .tiers = {{{2, 4}, {5, 6}, {7, 8}}},
                          .request = "Sort from small to large: {problem}"};

Problem draw(Rng& rng, int64_t length, bool with_states) {
  std::vector<int64_t> items(static_cast<size_t>(length));
  for (int64_t& item : items) item = rng.next_below(kLargest + 1);
  Problem out;
  out.question = list_text(items) + "=";
  for (size_t end = items.size(); end > 1; --end)
    for (size_t i = 0; i + 1 < end; ++i) {
      const int64_t left = items[i], right = items[i + 1];
      if (left > right) std::swap(items[i], items[i + 1]);
      if (with_states)
        out.states.push_back({.input = cat(left, ',', right),
                              .computation = cat(left, left > right ? ">" : "<=", right),
                              .output = cat(items[i], ',', items[i + 1]),
                              .variables = list_text(items),
                              .remaining = cat(end - 1 - i)});
    }
  out.answer = list_text(items);
  return out;
}

const auto entry = family_entry(kInfo,
                                {"a list of numbers below 100 in order", "", "numbers of the list",
                                 "TAIL (Turing machine imitation), class simulation"},
                                draw);

}  // namespace
}  // namespace vernier
