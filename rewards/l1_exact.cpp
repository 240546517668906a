// As long as the prompt asks for: every token too many or too few costs.
//
//   r_i = c_i - alpha |n - L_i|
//
// c: 1 when right, 0 when wrong; n: the row's target_length, else `target`; L: tokens, end token
// included. Wrong answers are penalised too. The prompt has to say n ("Think for n tokens.";
// data.length_request writes it). Correctness is part of the value.
// Beware: past 1 / alpha tokens off, a right answer is worth less than a wrong one that is on
// target. Dynamic sampling has to look at accuracy.
// Source: L1 (LCPO-Exact), arXiv:2503.04697, and cmu-l3/l1: alpha 3e-4, n uniform in [100, 4000].
#include <cmath>
#include <memory>

#include "rewards/judged.h"
#include "rewards/requested.h"

namespace vernier {
namespace {

class L1Exact final : public Reward {
 public:
  explicit L1Exact(Binder& config) {
    config.number("alpha", alpha_, 0.0, 1e3, "cost of a token off the target");
    config.number("target", target_, 0.0, 1e9,
                  "tokens where a row has no target_length; 0: such a row abstains");
  }

  bool needs_group() const override { return false; }
  bool depends_on_length() const override { return true; }
  std::optional<Pressure> pressure() const override { return growing("alpha", alpha_, 1e-6, 1); }
  void set_pressure(double value) override { alpha_ = value; }

  std::string abstains_on(const Prompt& prompt) const override {
    return target_of(prompt) ? "" : "no target_length";
  }

  void score(const Group& group, std::span<Score> scores) const override {
    const auto target = target_of(group.prompt);
    for (const auto& [i, length, correct] : judged(group, scores)) {
      if (!target) {
        scores[i].abstain = "no target_length";
        continue;
      }
      const double off = std::abs(target->tokens - length);
      scores[i].value = (correct ? 1 : 0) - alpha_ * off;
      scores[i].explain = cat(length, " tokens for ", target->tokens, ": ", off, " off");
    }
  }

 private:
  std::optional<Requested> target_of(const Prompt& prompt) const {
    const auto target = requested_length(prompt, target_);
    if (target && target->at_most)
      fail("prompt ", prompt.id, ": target_length: ", -target->tokens,
           " asks for a most, and l1_exact for an exact length, above 0; use l1_max");
    return target;
  }

  double alpha_ = 3e-4, target_ = 0;
};

const RewardRegistry::Entry entry{
    "l1_exact",
    {"right, at the length that the prompt asks for", "r = c - alpha |n - L|", "tokens",
     "L1 (LCPO-Exact), arXiv:2503.04697; cmu-l3/l1"},
    [](Binder& config, const ScoringContext&) -> std::unique_ptr<Reward> {
      return std::make_unique<L1Exact>(config);
    }};

}  // namespace
}  // namespace vernier
