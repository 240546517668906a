// Right answers that are longer than their right siblings are worth less.
//
//   z_i = (L_i - mean) / (std + 1e-7)     over the right ones of the group, std over n
//   r_i = 1 - alpha sigma(z_i)            right and ended by itself
//   r_i = 0                               wrong, or cut at the limit
//
// L: tokens, end token included. Correctness is part of the value. A right answer is always worth
// more than a wrong one (alpha <= 1). Meant for advantages without a standard deviation (rloo,
// which is what the paper uses): one that divides by it blows the alpha up where all are right.
// Dynamic sampling has to look at accuracy.
// Source: "Training language models to reason efficiently", arXiv:2502.04463, and its code (alpha
// 0.1 in the script; 0, .05, .1, .2, .4 in the paper). Mean and deviation are of the correct
// responses (the paper's page, figure 4), one without its end token among them: the code gives that
// one the value 0, as a wrong one; whether its mean leaves it out was not read.
#include <cmath>
#include <memory>

#include "rewards/judged.h"

namespace vernier {
namespace {

constexpr double kEps = 1e-7;

class Arora final : public Reward {
 public:
  explicit Arora(Binder& config) {
    config.number("alpha", alpha_, 0.0, 1.0, "most that length takes off a right answer");
  }

  bool depends_on_length() const override { return true; }
  std::optional<Pressure> pressure() const override { return growing("alpha", alpha_, 0.01, 1); }
  void set_pressure(double value) override { alpha_ = value; }

  void score(const Group& group, std::span<Score> scores) const override {
    const std::vector<Judged> all = judged(group, scores);
    const Lengths right = right_lengths_of(all);
    for (const auto& [i, length, correct] : all) {
      scores[i].explain = correct ? "right, but cut at the limit" : "wrong";
      if (!correct || group.responses[i].finish_reason != FinishReason::stop) continue;
      const double z = (length - right.mean) / (right.std() + kEps);
      scores[i].value = 1 - alpha_ / (1 + std::exp(-z));
      scores[i].explain =
          cat(length, " tokens: ", z, " deviations from the mean of the right ones");
    }
  }

 private:
  double alpha_ = 0.1;
};

const RewardRegistry::Entry entry{
    "arora",
    {"right answers less a share that grows with their length (RLOO-LP)",
     "r = c (1 - alpha sigma((L - mean_C) / std_C))", "tokens",
     "arXiv:2502.04463; Zanette-Labs/efficient-reasoning"},
    [](Binder& config, const ScoringContext&) -> std::unique_ptr<Reward> {
      return std::make_unique<Arora>(config);
    }};

}  // namespace
}  // namespace vernier
