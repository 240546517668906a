// Sorting, with the hint of the successor. Question "30,7,52="; answer 7,30,52.
//
// A state takes the smallest number of what is left. A share `hint_share` of prompts and
// demonstrations asks for the number that follows one in the sorted order instead, "30,7,52>7=",
// answer 30: an easier task that sorting is made of, which carries it to longer lists.
//
// Awasthi and Gupta, "Improving Length-Generalization in Transformers via Task Hinting",
// arXiv:2310.00726.
#include <algorithm>
#include <set>

#include "core/base/text.h"
#include "rollout/tasks/family.h"

namespace vernier {
namespace {

constexpr int64_t kLargest = 999;  // all different: as many numbers as the longest list has

const FamilyInfo kInfo = {.name = "sort",
                          .area = "mathematics",
                          .unit = "numbers",
                          .tiers = {{{2, 10}, {11, 20}, {21, 50}}},
                          .request =
                              "Sort from small to large; where there is a >, give the "
                              "number that comes after the one behind it: {problem}"};

Problem draw(Rng& rng, int64_t length, bool with_states, double hint_share) {
  std::vector<int64_t> items;
  std::set<int64_t> seen;
  while (std::ssize(items) < length)
    if (const int64_t item = rng.next_below(kLargest + 1); seen.insert(item).second)
      items.push_back(item);
  std::vector<int64_t> sorted(items);
  std::sort(sorted.begin(), sorted.end());
  Problem out;
  const std::string list = list_text(items);
  out.instance = list + "=";  // the hint about a list goes where the list goes
  if (rng.next_uniform() < hint_share) {
    const auto place = static_cast<size_t>(rng.next_below(length - 1));
    out.question = cat(list, '>', sorted[place], '=');
    out.answer = cat(sorted[place + 1]);
    return out;
  }
  out.question = list + "=";
  out.answer = list_text(sorted);
  if (!with_states) return out;
  std::vector<int64_t> left(items);
  for (const int64_t item : sorted) {
    const std::string before = list_text(left);
    left.erase(std::find(left.begin(), left.end(), item));
    out.states.push_back({.input = before,
                          .computation = cat("min=", item),
                          .output = cat(item),
                          .variables = "",
                          .remaining = list_text(left)});
  }
  return out;
}

const TaskRegistry::Entry entry{
    "sort",
    {"different numbers in order, and as a hint what follows one of them", "", "numbers",
     "Task Hinting, arXiv:2310.00726; arXiv:2305.19466"},
    [](Binder& config) {
      double hint_share = 0;
      config.number("hint_share", hint_share, 0.0, 1.0,
                    "prompts that ask for the successor of a number");
      return family_task(config, kInfo, [hint_share](Rng& rng, int64_t length, bool with_states) {
        return draw(rng, length, with_states, hint_share);
      });
    }};

}  // namespace
}  // namespace vernier
