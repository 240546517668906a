// In the interval that the prompt asks for: 1 inside, and falling to 0 on either side.
//
//   s = 1                           a <= L <= b
//   s = max(0, 2 L / a - 1)         L < a        0 at a / 2
//   s = max(0, 3 - 2 L / b)         L > b        0 at 1.5 b
//
// The row's target_length says what is asked for: n, or {"about": n}: [0.8 n, 1.2 n]; [x, y];
// {"above": n}: [n, 1.5 n]; {"below": n}: [0.5 n, n]. L in `unit`. Blind to correctness; abstains
// where a row asks for nothing. only_if = "accuracy" gates it.
// Source: Self-Lengthen (its length score and four kinds of constraint; words count as its code
// counts them with unit = "cjk_words").
#include <memory>
#include <optional>

#include "core/base/errors.h"
#include "rewards/requested.h"
#include "rewards/reward.h"
#include "rewards/units.h"

namespace vernier {
namespace {

class LengthInterval final : public Reward {
 public:
  explicit LengthInterval(Binder& config) {
    config.choice("unit", unit_, length_units(), "of target_length");
    config.text("after", after_, "only the text after the last of these counts; not with tokens");
    config.only_if("after", unit_ != "tokens", "unit = \"tokens\"");
  }

  bool needs_group() const override { return false; }
  bool depends_on_length() const override { return true; }

  std::string abstains_on(const Prompt& prompt) const override {
    return interval(prompt) ? "" : "no target_length";
  }

  void score(const Group& group, std::span<Score> scores) const override {
    const auto asked = interval(group.prompt);
    for (size_t i = 0; i < scores.size(); ++i) {
      if (!asked) {
        scores[i].abstain = "no target_length";
        continue;
      }
      const double length = response_length(group.responses[i], unit_, after_);
      scores[i].value = interval_score(length, *asked);
      scores[i].explain = cat(length, " ", unit_, " for ", asked->low, " to ", asked->high);
    }
  }

 private:
  static std::optional<RequestedInterval> interval(const Prompt& prompt) {
    std::string problem;
    const auto asked = requested_interval(prompt, problem);
    if (!problem.empty()) fail(problem);
    return asked;
  }

  std::string unit_ = "words", after_;
};

const RewardRegistry::Entry entry{
    "length_interval",
    {"1 in the interval of lengths that the prompt asks for, less on either side",
     "s = 1 in [a, b]; max(0, 2 L / a - 1) below; max(0, 3 - 2 L / b) above",
     "tokens, characters, words, steps", "Self-Lengthen"},
    [](Binder& config, const ScoringContext&) -> std::unique_ptr<Reward> {
      return std::make_unique<LengthInterval>(config);
    }};

}  // namespace
}  // namespace vernier
