// A budget of tokens on average, held by a multiplier that starts at 0.
//
//   c(L) = max(0, (L - B) / B)
//   r_i = task_i - min(lambda c(L_i), penalty_cap) - hit_cap [cut at the limit]
//   lambda <- clip(lambda + eta (mean L / B - 1), lambda_floor, lambda_max)     after each step
//
// task: 1 right, 0 wrong.
// mean L: over all judged responses of the step, signed. L: tokens, end token included. Wrong
// answers are penalised too. Correctness is part of the value. penalty_cap and hit_cap are options
// of the code, off here as there. The launcher's numbers: B 2000, eta .002, lambda 1e-5 to .1 (1.5B
// model, 4,096 tokens); B 550, eta .01, lambda 0 to 10.
// Beware: added before a group's standard deviation. Dynamic sampling has to look at accuracy.
// Source: LACONIC, arXiv:2602.14468: its README and code guide; the paper's body was not read.
#include <algorithm>
#include <cmath>
#include <memory>

#include "rewards/judged.h"

namespace vernier {
namespace {

class Laconic final : public Reward {
 public:
  Laconic(Binder& config, const ScoringContext& context) : memory_(*context.memory) {
    config.number("budget", budget_, 1, int64_t{1} << 30, "tokens that a response has on average");
    config.number("lambda", lambda_, 0.0, 1e6, "before the first step");
    config.number("eta", eta_, 0.0, 1e6, "of the step's excess over the budget");
    config.number("lambda_floor", low_, 0.0, 1e6, "least lambda after a step");
    config.number("lambda_max", high_, 0.0, 1e6, "largest lambda");
    config.number("penalty_cap", penalty_cap_, 0.0, 1e6, "most that a response loses; 0: no cap");
    config.number("hit_cap", hit_cap_, 0.0, 1e6, "cost of a response that was cut at its limit");
    if (!config.has("budget")) config.error("budget", "is needed, in tokens");
    if (low_ > high_) config.error("lambda_floor", cat(low_, " is more than lambda_max = ", high_));
    memory_.set("lambda", lambda_);  // for the metrics of the first step
  }

  bool needs_group() const override { return false; }
  bool depends_on_length() const override { return true; }
  std::optional<Pressure> pressure() const override { return token_target("budget", budget_); }
  void set_pressure(double value) override { budget_ = std::max<int64_t>(1, std::llround(value)); }

  void score(const Group& group, std::span<Score> scores) const override {
    const double lambda = memory_.number("lambda", lambda_);
    for (const auto& [i, length, correct] : judged(group, scores)) {
      const double excess = std::max(0.0, length / static_cast<double>(budget_) - 1);
      double penalty = lambda * excess;
      if (penalty_cap_ > 0) penalty = std::min(penalty, penalty_cap_);
      if (group.responses[i].finish_reason == FinishReason::length) penalty += hit_cap_;
      scores[i].value = (correct ? 1 : 0) - penalty;
      scores[i].explain = cat(length, " tokens of ", budget_, ", lambda ", lambda);
    }
  }

  std::vector<Note> observe(const Group& group) const override { return judged_notes(group); }

  bool learns() const override { return true; }
  void learn(const std::vector<Note>& notes) override {
    const double lambda = memory_.number("lambda", lambda_);
    if (!notes.empty())
      memory_.set("lambda", next_multiplier(lambda, notes, eta_, budget_, low_, high_));
  }

 private:
  RewardMemory& memory_;
  int64_t budget_ = 1;
  double lambda_ = 0, eta_ = 0.002, low_ = 1e-5, high_ = 0.1, penalty_cap_ = 0, hit_cap_ = 0;
};

const RewardRegistry::Entry entry{
    "laconic",
    {"right, less tokens beyond a budget at a price that follows the mean length",
     "r = c - lambda max(0, L / B - 1); lambda += eta (mean L / B - 1), from 0", "tokens",
     "LACONIC, arXiv:2602.14468 (README and code guide)"},
    [](Binder& config, const ScoringContext& context) -> std::unique_ptr<Reward> {
      return std::make_unique<Laconic>(config, context);
    }};

}  // namespace
}  // namespace vernier
