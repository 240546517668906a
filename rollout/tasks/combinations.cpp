// How many choices of the items add up to a sum. Question "3,5,2,7:10="; answer 2.
//
// A state is one visit of a backtracking search that takes each item first and leaves it then: item
// and sum so far, the sum with it, and whether it is short of the sum wanted, equal or above.
// TAIL's class has "combinations"; its range table calls it "palindrome combination", and its text
// does not say what is to be combined: this is ours. The search visits up to 2^n places, 65,536 of
// the most items that there may be.
//
// TAIL, class backtracking.
#include "core/base/text.h"
#include "rollout/tasks/family.h"

namespace vernier {
namespace {

const FamilyInfo kInfo = {.name = "combinations",
                          .area = "backtracking",
                          .unit = "items",
                          .tiers = {{{2, 4}, {5, 6}, {7, 8}}},
                          .longest = 16,
                          .request =
                              "In how many ways can some of the items be chosen so that "
                              "they add up to the number behind the colon? {problem}"};

class Search {
 public:
  Search(const std::vector<int64_t>& items, int64_t wanted, std::vector<ChainState>* states)
      : items_(items), wanted_(wanted), states_(states) {}

  // Choices among the items from `place` on that bring `sum` to what is wanted.
  void visit(size_t place, int64_t sum) {
    if (place == items_.size()) return;
    const int64_t item = items_[place], with = sum + item;
    if (with == wanted_) ++count_;
    if (states_ != nullptr)
      states_->push_back({.input = cat(item, ',', sum),
                          .computation = cat(sum, '+', item, '=', with),
                          .output = with < wanted_    ? "<"
                                    : with == wanted_ ? "="
                                                      : ">",
                          .variables = cat(count_),
                          .remaining = cat(items_.size() - place - 1)});
    if (with < wanted_) visit(place + 1, with);
    visit(place + 1, sum);
  }

  int64_t count() const { return count_; }

 private:
  const std::vector<int64_t>& items_;
  int64_t wanted_, count_ = 0;
  std::vector<ChainState>* states_;
};

Problem draw(Rng& rng, int64_t length, bool with_states) {
  std::vector<int64_t> items(static_cast<size_t>(length));
  // A sum that some choice has, as a rule.
  int64_t wanted = 0;
  for (int64_t& item : items) {
    item = 1 + rng.next_below(20);
    if (rng.next_below(2) == 1) wanted += item;
  }
  if (wanted == 0) wanted = 1 + rng.next_below(20);
  Problem out;
  out.question = cat(list_text(items), ':', wanted, '=');
  Search search(items, wanted, with_states ? &out.states : nullptr);
  search.visit(0, 0);
  out.answer = cat(search.count());
  return out;
}

const auto entry = family_entry(kInfo,
                                {"how many choices of the items add up to a sum", "", "items",
                                 "TAIL (Turing machine imitation), class backtracking"},
                                draw);

}  // namespace
}  // namespace vernier
