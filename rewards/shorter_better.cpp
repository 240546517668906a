// As long as the shortest right answer of the group.
//
//   SOL = min L over the right answers; the mean L of the group where none is right
//   r_i = alpha c_i - beta |L_i - SOL|
//
// L: tokens, end token included. Wrong answers are penalised too, and pulled to the mean length
// where none is right. Correctness is part of the value.
// Beware: 1,000 tokens (at beta 0.001) cost as much as half a right answer, so a long right answer
// can fall below a short wrong one. Dynamic sampling has to look at accuracy.
// Source: ShorterBetter, arXiv:2504.21370, and JingyangYi/ShorterBetter (alpha 2, beta 0.001).
#include <cmath>
#include <memory>

#include "rewards/judged.h"

namespace vernier {
namespace {

class ShorterBetter final : public Reward {
 public:
  explicit ShorterBetter(Binder& config) {
    config.number("alpha", alpha_, 0.0, 1e6, "of a right answer");
    config.number("beta", beta_, 0.0, 1e3, "cost of a token off the optimal length");
  }

  bool depends_on_length() const override { return true; }
  std::optional<Pressure> pressure() const override { return growing("beta", beta_, 1e-5, 1); }
  void set_pressure(double value) override { beta_ = value; }

  void score(const Group& group, std::span<Score> scores) const override {
    const std::vector<Judged> all = judged(group, scores);
    const Lengths right = right_lengths_of(all);
    const double optimal = right.count > 0 ? right.shortest : lengths_of(all).mean;
    for (const auto& [i, length, correct] : all) {
      scores[i].value = (correct ? alpha_ : 0) - beta_ * std::abs(length - optimal);
      scores[i].explain = cat(length, " tokens; the optimal length is ", optimal);
    }
  }

 private:
  double alpha_ = 2, beta_ = 0.001;
};

const RewardRegistry::Entry entry{
    "shorter_better",
    {"right, near to the shortest right answer of the group",
     "r = alpha c - beta |L - SOL|; SOL = min over the right ones, the group's mean where none is",
     "tokens", "ShorterBetter, arXiv:2504.21370; JingyangYi/ShorterBetter"},
    [](Binder& config, const ScoringContext&) -> std::unique_ptr<Reward> {
      return std::make_unique<ShorterBetter>(config);
    }};

}  // namespace
}  // namespace vernier
