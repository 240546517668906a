// A budget for each prompt, from how often it is solved and how long its right answers are.
//
//   B = p mean_C(L) + (1 - p) L_max          p: share of right responses; B = L_max where p = 0
//   lambda_i = (L_i - B) / B
//   r_i = max(-0.5 lambda_i + 0.5, 0.1)      right
//   r_i = min(0.9 lambda_i - 0.1, -0.1)      wrong: a long wrong answer is punished less
//
// L_max: the longest response of the group, or `cap` tokens. L: tokens, end token included. The
// value is the whole reward: a right answer is never below 0.1, a wrong one never above -0.1. The
// paper makes preference pairs of it for SimPO; here it is a reward. Dynamic sampling has to look
// at accuracy.
// Source: DAST, arXiv:2503.04472: the budget was seen on a page, the constants were not read.
#include <algorithm>
#include <memory>

#include "rewards/judged.h"

namespace vernier {
namespace {

class Dast final : public Reward {
 public:
  explicit Dast(Binder& config) {
    config.number("cap", cap_, 0, int64_t{1} << 30,
                  "tokens that L_max stands for; 0: the longest response of the group");
    config.number("slope", slope_, 0.0, 1e3, "of a right answer over lambda");
    config.number("wrong_slope", wrong_slope_, 0.0, 1e3, "of a wrong answer over lambda");
  }

  bool depends_on_length() const override { return true; }
  std::optional<Pressure> pressure() const override { return growing("slope", slope_, 0.01, 100); }
  void set_pressure(double value) override { slope_ = value; }

  void score(const Group& group, std::span<Score> scores) const override {
    const std::vector<Judged> all = judged(group, scores);
    const double p = solve_rate(all);
    const double most = cap_ > 0 ? static_cast<double>(cap_) : lengths_of(all).longest;
    const double budget = p * right_lengths_of(all).mean + (1 - p) * most;
    for (const auto& [i, length, correct] : all) {
      if (budget <= 0) {
        scores[i].abstain = "no response has a token";
        continue;
      }
      const double lambda = (length - budget) / budget;
      scores[i].value = correct ? std::max(-slope_ * lambda + 0.5, 0.1)
                                : std::min(wrong_slope_ * lambda - 0.1, -0.1);
      scores[i].explain = cat(length, " tokens of a budget of ", budget);
    }
  }

 private:
  int64_t cap_ = 0;
  double slope_ = 0.5, wrong_slope_ = 0.9;
};

const RewardRegistry::Entry entry{
    "dast",
    {"right or wrong, and length against a budget by difficulty",
     "B = p mean_C + (1 - p) L_max; right max(0.5 - 0.5 (L - B) / B, 0.1), wrong min(0.9 (L - B) / "
     "B - 0.1, -0.1)",
     "tokens", "DAST, arXiv:2503.04472 (constants not read)"},
    [](Binder& config, const ScoringContext&) -> std::unique_ptr<Reward> {
      return std::make_unique<Dast>(config);
    }};

}  // namespace
}  // namespace vernier
