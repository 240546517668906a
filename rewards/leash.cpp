// A price on tokens beyond a target, which rises while the mean length is above it.
//
//   r_i = clip(task_i - lambda max(0, L_i / L_t - 1), -1, 1)      task: 1 right, -1 wrong
//   lambda <- clip(lambda + eta (mean L / L_t - 1), lambda_min, lambda_max)    after each step
//
// mean L: over all judged responses of the step. L: tokens, end token included. Wrong answers are
// penalised too, down to -1, where they are already. Correctness is part of the value.
// Beware: added before a group's standard deviation. Dynamic sampling has to look at accuracy.
// Source: LEASH, arXiv:2512.21540: one-sidedness, binary task reward and dual ascent were seen on a
// page; the outer clip and all constants (lambda 0.2, eta 0.05, [0, 1]) are ours.
#include <algorithm>
#include <cmath>
#include <memory>

#include "rewards/judged.h"

namespace vernier {
namespace {

class Leash final : public Reward {
 public:
  Leash(Binder& config, const ScoringContext& context) : memory_(*context.memory) {
    config.number("target", target_, 1, int64_t{1} << 30, "tokens that a response has on average");
    config.number("lambda", lambda_, 0.0, 1e6, "before the first step");
    config.number("eta", eta_, 0.0, 1e6, "of the step's excess over the target");
    config.number("lambda_min", low_, 0.0, 1e6, "least lambda");
    config.number("lambda_max", high_, 0.0, 1e6, "largest lambda");
    if (!config.has("target")) config.error("target", "is needed, in tokens");
    if (low_ > high_) config.error("lambda_min", cat(low_, " is more than lambda_max = ", high_));
    memory_.set("lambda", lambda_);  // for the metrics of the first step
  }

  bool needs_group() const override { return false; }
  bool depends_on_length() const override { return true; }
  std::optional<Pressure> pressure() const override { return token_target("target", target_); }
  void set_pressure(double value) override { target_ = std::max<int64_t>(1, std::llround(value)); }

  void score(const Group& group, std::span<Score> scores) const override {
    const double lambda = memory_.number("lambda", lambda_);
    for (const auto& [i, length, correct] : judged(group, scores)) {
      const double over = std::max(0.0, length / static_cast<double>(target_) - 1);
      scores[i].value = std::clamp((correct ? 1 : -1) - lambda * over, -1.0, 1.0);
      scores[i].explain = cat(length, " tokens of ", target_, ", lambda ", lambda);
    }
  }

  std::vector<Note> observe(const Group& group) const override { return judged_notes(group); }

  bool learns() const override { return true; }
  void learn(const std::vector<Note>& notes) override {
    const double lambda = memory_.number("lambda", lambda_);
    if (!notes.empty())
      memory_.set("lambda", next_multiplier(lambda, notes, eta_, target_, low_, high_));
  }

 private:
  RewardMemory& memory_;
  int64_t target_ = 1;
  double lambda_ = 0.2, eta_ = 0.05, low_ = 0, high_ = 1;
};

const RewardRegistry::Entry entry{
    "leash",
    {"right or wrong, less tokens beyond a target at a price that follows the mean length",
     "r = clip(+-1 - lambda max(0, L / L_t - 1), -1, 1); lambda += eta (mean L / L_t - 1)",
     "tokens", "LEASH, arXiv:2512.21540 (constants not read)"},
    [](Binder& config, const ScoringContext& context) -> std::unique_ptr<Reward> {
      return std::make_unique<Leash>(config, context);
    }};

}  // namespace
}  // namespace vernier
