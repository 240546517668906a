// Binary search in a sorted list. Question "2,5,7,9,11?7="; answer 3, its place counted from 1; 0
// where it is not there.
//
// A state looks at the item in the middle, rounded down, and keeps one side.
//
// TAIL, class divide and conquer.
#include "core/base/text.h"
#include "rollout/tasks/family.h"

namespace vernier {
namespace {

const FamilyInfo kInfo = {.name = "binary_search",
                          .area = "divide and conquer",
                          .unit = "items",
                          .tiers = {{{5, 20}, {21, 40}, {41, 70}}},
                          .request =
                              "At which place of this sorted list, counted from 1, is the "
                              "number behind the question mark? 0 where it is not in it. "
                              "{problem}"};

Problem draw(Rng& rng, int64_t length, bool with_states) {
  std::vector<int64_t> items;
  int64_t last = 0;
  for (int64_t i = 0; i < length; ++i) items.push_back(last += 1 + rng.next_below(9));
  const bool present = rng.next_below(5) > 0;
  const int64_t wanted = present ? items[static_cast<size_t>(rng.next_below(length))]
                                 : 1 + rng.next_below(last);  // which may be there all the same
  Problem out;
  out.question = cat(list_text(items), '?', wanted, '=');
  int64_t low = 1, high = length, place = 0;
  while (place == 0 && low <= high) {
    const int64_t middle = (low + high) / 2, item = items[static_cast<size_t>(middle - 1)];
    const std::string before = with_states ? cat(low, ',', high) : "";
    if (item == wanted) place = middle;
    if (item < wanted) low = middle + 1;
    if (item > wanted) high = middle - 1;
    if (with_states)
      out.states.push_back({.input = cat(before, ',', item),
                            .computation = cat(item,
                                               item < wanted   ? "<"
                                               : item > wanted ? ">"
                                                               : "=",
                                               wanted),
                            .output = cat(middle),
                            .variables = cat(low, ',', high),
                            .remaining = ""});
  }
  out.answer = cat(place);
  return out;
}

const auto entry = family_entry(kInfo,
                                {"the place of a number in a sorted list", "", "items of the list",
                                 "TAIL (Turing machine imitation), class divide and conquer"},
                                draw);

}  // namespace
}  // namespace vernier
