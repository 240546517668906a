// A step at the target length: right answers below it are worth half a point more.
//
//   base_i = 1 right, -0.5 wrong, -1 where the response has not its form
//   reward:   base_i + 0.5                  right and L_i <= target
//   penalty:  base_i - 0.5                  right and L_i > target
//   hybrid:   base_i + 0.5, base_i - 0.5    right, by the same test
//
// L: tokens, end token included. Wrong answers are not shaped. Correctness is part of the value.
// Beware: the step is blind to how far a response is off; where all right answers of a group are on
// one side of it only correctness is left. Dynamic sampling has to look at accuracy.
// Source: LASER, arXiv:2505.15612, and hkust-nlp/Laser (targets 2048, 4096, 8192).
#include <memory>

#include "rewards/form.h"
#include "rewards/judged.h"

namespace vernier {
namespace {

class Laser final : public Reward {
 public:
  explicit Laser(Binder& config) {
    config.number("target", target_, 1, int64_t{1} << 30, "tokens");
    config.choice("mode", mode_, {"reward", "penalty", "hybrid"}, "which side of the target pays");
    config.number("bonus", bonus_, 0.0, 1e3, "height of the step");
    bind_format(config, format_, "form without which a response is worth -1");
    if (!config.has("target")) config.error("target", "is needed, in tokens");
  }

  bool needs_group() const override { return false; }
  bool depends_on_length() const override { return true; }
  std::optional<Pressure> pressure() const override { return growing("bonus", bonus_, 0.01, 100); }
  void set_pressure(double value) override { bonus_ = value; }

  void score(const Group& group, std::span<Score> scores) const override {
    for (const auto& [i, length, correct] : judged(group, scores)) {
      if (lacks_format(format_, group.responses[i].text)) {
        scores[i] = {
            .value = -1, .abstain = "", .explain = cat(format_, ": not found"), .token_bonus = {}};
        continue;
      }
      scores[i].value = correct ? 1 : -0.5;
      const bool below = length <= static_cast<double>(target_);
      if (correct && below && mode_ != "penalty") scores[i].value += bonus_;
      if (correct && !below && mode_ != "reward") scores[i].value -= bonus_;
      scores[i].explain = cat(length, " tokens, target ", target_);
    }
  }

 private:
  int64_t target_ = 2048;
  double bonus_ = 0.5;
  std::string mode_ = "reward", format_ = "boxed";
};

const RewardRegistry::Entry entry{
    "laser",
    {"right, and half a point more below a target length",
     "r = base + 0.5 [right and L <= target]; base 1 right, -0.5 wrong, -1 without its form",
     "tokens", "LASER, arXiv:2505.15612; hkust-nlp/Laser"},
    [](Binder& config, const ScoringContext&) -> std::unique_ptr<Reward> {
      return std::make_unique<Laser>(config);
    }};

}  // namespace
}  // namespace vernier
