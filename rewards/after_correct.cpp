// Right answers less what comes behind the first place where they are right.
//
//   r_i = c_i (1 - (L_i - F_i) / L_i)
//
// F: tokens of the shortest prefix that the row's rule calls right (Response::first_correct), up to
// 64 candidates from the left. 1 where it stops at once, near 0 where it talks on; wrong ones get
// 0. Abstains on a right response whose first right place is not known: of a stored row without
// first_correct.
// Source: ours, after "Do NOT Think That Much for 2+3=?", arXiv:2412.21187 (outcome efficiency: the
// tokens up to the first right solution over all tokens).
#include <memory>

#include "rewards/judged.h"
#include "rewards/reward.h"

namespace vernier {
namespace {

class AfterCorrect final : public Reward {
 public:
  bool needs_group() const override { return false; }
  bool depends_on_length() const override { return true; }

  void score(const Group& group, std::span<Score> scores) const override {
    for (const Judged& one : judged(group, scores)) {
      const Response& response = group.responses[one.place];
      Score& score = scores[one.place];
      if (!one.correct || response.num_tokens == 0) {
        score.explain = "wrong";
        continue;
      }
      if (!response.first_correct) {
        score.abstain = "the row has no first_correct";
        continue;
      }
      const double first = *response.first_correct;
      score.value = first / response.num_tokens;
      score.explain = cat("right after ", first, " of ", response.num_tokens, " tokens");
    }
  }
};

const RewardRegistry::Entry entry{
    "after_correct",
    {"right answers less what they say after being right", "r = c F / L", "tokens",
     "ours, after arXiv:2412.21187 (outcome efficiency)"},
    [](Binder&, const ScoringContext&) -> std::unique_ptr<Reward> {
      return std::make_unique<AfterCorrect>();
    }};

}  // namespace
}  // namespace vernier
