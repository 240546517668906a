// A price on tokens that rises while accuracy is above a reference, and falls below it.
//
//   r_i = c_i - lambda L_i
//   lambda <- max(0, lambda + eta (accuracy of the step - reference_accuracy))      after each step
//
// accuracy: share of right ones among all judged responses of the step. L: tokens, end token
// included. Wrong answers are penalised too. Correctness is part of the value.
// Beware: added before a group's standard deviation, so where all are right every lambda above 0
// gives the same advantages; use algo.scale_rewards = "none" or a dividing batch. Dynamic sampling
// has to look at accuracy. Lambda is the method's own to turn: a guard turns the entry's weight,
// beside `accuracy`.
// Source: A-DLP, arXiv:2505.18298, and JinyanSu1/A-DLP (lambda 1e-3, eta 1e-3, accuracy 0.62 of
// DeepScaleR-1.5B; rewards with the lambda from before the step).
#include <algorithm>
#include <memory>

#include "rewards/judged.h"

namespace vernier {
namespace {

class ADlp final : public Reward {
 public:
  ADlp(Binder& config, const ScoringContext& context) : memory_(*context.memory) {
    config.number("lambda", lambda_, 0.0, 1e3, "cost of a token before the first step");
    config.number("eta", eta_, 0.0, 1e3, "of the step's accuracy over the reference");
    config.number("reference_accuracy", reference_, 0.0, 1.0, "that is to be kept");
    if (!config.has("reference_accuracy"))
      config.error("reference_accuracy", "is needed: the accuracy that is to be kept");
    memory_.set("lambda", lambda_);  // for the metrics of the first step
  }

  bool needs_group() const override { return false; }
  bool depends_on_length() const override { return true; }

  void score(const Group& group, std::span<Score> scores) const override {
    const double lambda = memory_.number("lambda", lambda_);
    for (const auto& [i, length, correct] : judged(group, scores)) {
      scores[i].value = (correct ? 1 : 0) - lambda * length;
      scores[i].explain = cat(length, " tokens at ", lambda);
    }
  }

  std::vector<Note> observe(const Group& group) const override { return judged_notes(group); }

  bool learns() const override { return true; }
  void learn(const std::vector<Note>& notes) override {
    const NoteSum correct = sum_of(notes, "correct");
    if (correct.count == 0) return;
    const double lambda = memory_.number("lambda", lambda_);
    memory_.set("lambda", std::max(0.0, lambda + eta_ * (correct.mean() - reference_)));
  }

 private:
  RewardMemory& memory_;
  double lambda_ = 1e-3, eta_ = 1e-3, reference_ = 0.62;
};

const RewardRegistry::Entry entry{
    "a_dlp",
    {"right, less tokens at a price that follows accuracy",
     "r = c - lambda L; lambda = max(0, lambda + eta (acc - acc_ref))", "tokens",
     "A-DLP, arXiv:2505.18298; JinyanSu1/A-DLP"},
    [](Binder& config, const ScoringContext& context) -> std::unique_ptr<Reward> {
      return std::make_unique<ADlp>(config, context);
    }};

}  // namespace
}  // namespace vernier
