// Right answers that are longer than their right siblings are worth less.
//
//   z_i = (L_i - mean) / (std + 1e-7)     over the group's right ones that ended by themselves, std
//                                         over n
//   r_i = 1 - alpha sigma(z_i)            right and ended by itself
//   r_i = 0                               wrong, or cut at the limit
//
// L: tokens, end token included. Correctness is part of the value. A right answer is always worth
// more than a wrong one (alpha <= 1). Meant for advantages without a standard deviation (rloo,
// which is what the paper uses): one that divides by it blows the alpha up where all are right.
// Dynamic sampling has to look at accuracy.
// Source: "Training language models to reason efficiently", arXiv:2502.04463, and its code (alpha
// 0.1 in the script; 0, .05, .1, .2, .4 in the paper). Mean and deviation are of the correct
// responses, the others being worth 0 (the paper's page, figure 4). The code gives 0 to a response
// without its end token, as to a wrong one, so one that was cut is none of the correct ones here.
// Whether the code's mean leaves it out too was not read.
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
    std::vector<Judged> paid;
    for (const Judged& one : all) {
      scores[one.place].explain = one.correct ? "right, but cut at the limit" : "wrong";
      if (one.correct && group.responses[one.place].finish_reason == FinishReason::stop)
        paid.push_back(one);
    }
    const Lengths right = lengths_of(paid);
    for (const auto& [i, length, correct] : paid) {
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
