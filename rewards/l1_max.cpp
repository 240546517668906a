// At most as long as the prompt asks for: a right answer is worth more the further below n it is.
//
//   paper:     r_i = c_i clip(alpha (n - L_i) + delta, 0, 1)
//   multiply:  r_i = c_i (clip(alpha (n - L_i), -1, 1) + 1) / 2     half the slope
//   add:       r_i = c_i + (clip(alpha (n - L_i), -1, 1) + 1) / 2   pays short wrong answers
//
// c: 1 when right, 0 when wrong; n: the row's target_length, else `target`. A row written for both
// rewards of L1 has a negative target_length where n is a most, and a positive one where it is
// exact: the value is then c - alpha |n - L|, as L1's training mixes them; `mixed = false` takes
// it for a most too. L: tokens, end token included. Correctness is part of the value.
// Beware: dynamic sampling has to look at accuracy. With `add` the shortest wrong answer gains.
// Source: L1 (LCPO-Max), arXiv:2503.04697; `paper` from general knowledge (delta 0.5 was not read
// in the text), `multiply` and `add` from cmu-l3/l1.
#include <algorithm>
#include <cmath>
#include <memory>

#include "rewards/judged.h"
#include "rewards/requested.h"

namespace vernier {
namespace {

class L1Max final : public Reward {
 public:
  explicit L1Max(Binder& config) {
    config.number("alpha", alpha_, 0.0, 1e3, "slope of a token");
    config.number("target", target_, 0.0, 1e9,
                  "tokens where a row has no target_length; 0: such a row abstains");
    config.choice("form", form_, {"paper", "multiply", "add"}, "of the value");
    config.number("delta", delta_, 0.0, 1.0, "paper: value of a right answer of n tokens");
    config.only_if("delta", form_ == "paper", cat("form = \"", form_, "\""));
    config.flag("mixed", mixed_,
                "rows with a positive target_length ask for exactly so many tokens");
  }

  bool needs_group() const override { return false; }
  bool depends_on_length() const override { return true; }
  std::optional<Pressure> pressure() const override { return growing("alpha", alpha_, 1e-6, 1); }
  void set_pressure(double value) override { alpha_ = value; }

  std::string abstains_on(const Prompt& prompt) const override {
    return requested_length(prompt, target_) ? "" : "no target_length";
  }

  void score(const Group& group, std::span<Score> scores) const override {
    const auto target = requested_length(group.prompt, target_);
    const bool exact = mixed_ && target && !target->at_most && !group.prompt.target_length.empty();
    for (const auto& [i, length, correct] : judged(group, scores)) {
      if (!target) {
        scores[i].abstain = "no target_length";
        continue;
      }
      scores[i].value = exact ? (correct ? 1 : 0) - alpha_ * std::abs(target->tokens - length)
                              : value(correct, target->tokens - length);
      scores[i].explain = cat(length, " tokens for ", exact ? "" : "at most ", target->tokens);
    }
  }

 private:
  double value(bool correct, double left) const {
    const double right = correct ? 1 : 0;
    if (form_ == "paper") return right * std::clamp(alpha_ * left + delta_, 0.0, 1.0);
    const double share = (std::clamp(alpha_ * left, -1.0, 1.0) + 1) / 2;
    return form_ == "multiply" ? right * share : right + share;
  }

  double alpha_ = 3e-4, target_ = 0, delta_ = 0.5;
  std::string form_ = "paper";
  bool mixed_ = false;
};

const RewardRegistry::Entry entry{
    "l1_max",
    {"right, below the length that the prompt asks for",
     "r = c clip(alpha (n - L) + delta, 0, 1); multiply: c (clip(alpha (n - L), -1, 1) + 1) / 2",
     "tokens", "L1 (LCPO-Max), arXiv:2503.04697 (paper's form not read); cmu-l3/l1"},
    [](Binder& config, const ScoringContext&) -> std::unique_ptr<Reward> {
      return std::make_unique<L1Max>(config);
    }};

}  // namespace
}  // namespace vernier
