// The plain penalties on length that the other methods are measured against.
//
//   subtract:   r_i = c_i - alpha L_i / L_ref           right and wrong responses alike
//   multiply:   r_i = c_i (1 - alpha L_i / L_ref)       a wrong response stays at 0
//
// c: 1 when right, 0 when wrong; L: tokens, end token included; L_ref: reference_length.
// Correctness is part of the value: beside this reward there is no need for `accuracy`, which would
// count it twice. Abstains without a verdict. Nothing is held to a range, so a right answer past
// L_ref / alpha tokens costs more than it earns; with `subtract` and a large alpha the shortest
// wrong answer wins. Source: ours; the baselines of the quick start.
#include <memory>

#include "rewards/reward.h"

namespace vernier {
namespace {

class LengthPenalty final : public Reward {
 public:
  LengthPenalty(Binder& config, const ScoringContext& context) {
    config.number("alpha", alpha_, 0.0, 1e6, "penalty of a response of reference_length");
    config.number("reference_length", reference_length_, 0, int64_t{1} << 30,
                  "tokens; 0 takes the run's max_completion_length");
    config.choice("form", form_, {"subtract", "multiply"}, "from all, or of the right ones");
    if (reference_length_ == 0) reference_length_ = context.max_completion_length;
    if (reference_length_ <= 0)
      config.error("reference_length",
                   "is 0 and the run has no max_completion_length; set it, in tokens");
  }

  bool needs_group() const override { return false; }
  bool depends_on_length() const override { return true; }

  std::optional<Pressure> pressure() const override {
    return Pressure{.key = "alpha",
                    .value = alpha_,
                    .low = 0.01,
                    .high = 100,
                    .smaller_is_more = false,
                    .none = 0};
  }
  void set_pressure(double value) override { alpha_ = value; }

  void score(const Group& group, std::span<Score> scores) const override {
    for (size_t i = 0; i < scores.size(); ++i) {
      const Response& response = group.responses[i];
      if (!response.correct) {
        scores[i].abstain = "no verdict";
        continue;
      }
      const double correct = *response.correct ? 1 : 0;
      const double penalty = alpha_ * response.num_tokens / static_cast<double>(reference_length_);
      scores[i].value = form_ == "subtract" ? correct - penalty : correct * (1 - penalty);
      scores[i].explain = cat(*response.correct ? "right, " : "wrong, ", response.num_tokens,
                              " of ", reference_length_, " tokens: penalty ", penalty);
    }
  }

 private:
  double alpha_ = 1;
  int64_t reference_length_ = 0;
  std::string form_ = "subtract";
};

const RewardRegistry::Entry entry{
    "length_penalty",
    {"a right answer less a share of its length",
     "subtract: r = c - alpha L / L_ref; multiply: r = c (1 - alpha L / L_ref)", "tokens",
     "ours; the baselines of the quick start"},
    [](Binder& config, const ScoringContext& context) -> std::unique_ptr<Reward> {
      return std::make_unique<LengthPenalty>(config, context);
    }};

}  // namespace
}  // namespace vernier
