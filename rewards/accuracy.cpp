// Pays a response that the row's rule of correctness finds right.
//
//   r_i = 1             when response i is right
//   r_i = wrong_score   when it is wrong
//
// Abstains without a verdict (rewards/verify/rules.h holds the rules).
#include <memory>

#include "rewards/reward.h"

namespace vernier {
namespace {

class Accuracy final : public Reward {
 public:
  explicit Accuracy(Binder& config) {
    config.number("wrong_score", wrong_score_, -1e6, 1e6, "value of a wrong response");
  }

  bool needs_group() const override { return false; }

  void score(const Group& group, std::span<Score> scores) const override {
    for (size_t i = 0; i < scores.size(); ++i) {
      const std::optional<bool> correct = group.responses[i].correct;
      if (!correct) {
        scores[i].abstain = "no verdict";
        continue;
      }
      scores[i].value = *correct ? 1.0 : wrong_score_;
      scores[i].explain = *correct ? "right" : "wrong";
    }
  }

 private:
  double wrong_score_ = 0;
};

const RewardRegistry::Entry entry{
    "accuracy",
    {"1 for a right answer", "r = 1 if right, wrong_score if wrong", "verdicts",
     "ours; the row's rule of correctness"},
    [](Binder& config, const ScoringContext&) -> std::unique_ptr<Reward> {
      return std::make_unique<Accuracy>(config);
    }};

}  // namespace
}  // namespace vernier
