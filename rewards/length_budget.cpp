// Near to a budget of the prompt's own.
//
//   r_i = max(0, 1 - |L_i - B| / B)
//
// B: the size of the row's target_length in `unit`, else `budget`. Blind to correctness; abstains
// where there is neither. only_if = "accuracy" gates it. Source: ours.
#include <algorithm>
#include <cmath>
#include <memory>

#include "rewards/requested.h"
#include "rewards/units.h"

namespace vernier {
namespace {

class LengthBudget final : public Reward {
 public:
  explicit LengthBudget(Binder& config) {
    config.choice("unit", unit_, length_units(), "of lengths");
    config.text("after", after_, "only the text after the last of these counts; not with tokens");
    config.only_if("after", unit_ != "tokens", "unit = \"tokens\"");
    config.number("budget", budget_, 0.0, 1e9,
                  "where a row has no target_length; 0: such a row abstains");
  }

  bool needs_group() const override { return false; }
  bool depends_on_length() const override { return true; }

  std::string abstains_on(const Prompt& prompt) const override {
    return requested_length(prompt, budget_) ? "" : "no target_length";
  }

  void score(const Group& group, std::span<Score> scores) const override {
    const auto asked = requested_length(group.prompt, budget_);
    for (size_t i = 0; i < scores.size(); ++i) {
      if (!asked) {
        scores[i].abstain = "no target_length";
        continue;
      }
      const double length = response_length(group.responses[i], unit_, after_);
      scores[i].value = std::max(0.0, 1 - std::abs(length - asked->tokens) / asked->tokens);
      scores[i].explain = cat(length, " ", unit_, " of ", asked->tokens);
    }
  }

 private:
  std::string unit_ = "tokens", after_;
  double budget_ = 0;
};

const RewardRegistry::Entry entry{
    "length_budget",
    {"near to the length that the prompt asks for", "r = max(0, 1 - |L - B| / B)",
     "tokens, characters, words, steps", "ours"},
    [](Binder& config, const ScoringContext&) -> std::unique_ptr<Reward> {
      return std::make_unique<LengthBudget>(config);
    }};

}  // namespace
}  // namespace vernier
