// A price on tokens that grows with the share of the group that is right: easy prompts pay more.
//
//   r_i = c_i - (beta / N) max(p, 1 / K) L_i
//
// p: share of right responses of the group; K: their number; L: tokens, end token included; N:
// `norm`, tokens. Wrong answers are penalised too. Correctness is part of the value.
// Beware: added before a group's standard deviation, so where all are right it alone decides the
// advantages; use algo.scale_rewards = "none" or a dividing batch. Dynamic sampling has to look at
// accuracy.
// Source: ALP, arXiv:2506.05256 (the formula; beta and N were not verified there).
#include <algorithm>
#include <memory>

#include "rewards/judged.h"

namespace vernier {
namespace {

class Alp final : public Reward {
 public:
  Alp(Binder& config, const ScoringContext& context) {
    config.number("beta", beta_, 0.0, 1e6, "price of `norm` tokens where all are right");
    config.number("norm", norm_, 0, int64_t{1} << 30,
                  "tokens; 0 takes the run's max_completion_length");
    if (norm_ == 0) norm_ = context.max_completion_length;
    if (norm_ <= 0)
      config.error("norm", "is 0 and the run has no max_completion_length; set it, in tokens");
  }

  bool depends_on_length() const override { return true; }
  std::optional<Pressure> pressure() const override { return growing("beta", beta_, 1e-3, 100); }
  void set_pressure(double value) override { beta_ = value; }

  void score(const Group& group, std::span<Score> scores) const override {
    const std::vector<Judged> all = judged(group, scores);
    const double price = std::max(solve_rate(all), 1 / static_cast<double>(all.size())) * beta_ /
                         static_cast<double>(norm_);
    for (const auto& [i, length, correct] : all) {
      scores[i].value = (correct ? 1 : 0) - price * length;
      scores[i].explain = cat(length, " tokens at ", price);
    }
  }

 private:
  double beta_ = 0.1;
  int64_t norm_ = 0;
};

const RewardRegistry::Entry entry{
    "alp",
    {"right, less tokens at a price that grows with the solve rate",
     "r = c - (beta / N) max(p, 1 / K) L", "tokens", "ALP, arXiv:2506.05256 (constants not read)"},
    [](Binder& config, const ScoringContext& context) -> std::unique_ptr<Reward> {
      return std::make_unique<Alp>(config, context);
    }};

}  // namespace
}  // namespace vernier
