// Ruler's match of a requested number of words: 1 within the target's bounds, else 0.
//
//   r_i = 1   low < L_i <= high
//
//   target   10    30     50     80      150      300      500      700      > 800
//   precise  0-20  20-40  40-60  70-90   130-170  280-320  450-550  630-770  > 800
//   flexible 0-20  20-40  40-60  60-100  100-200  200-400  400-600  600-800  > 800
//
// The row's target_length is one of the targets, or ">800". L: words as runs of letters, digits and
// "_", so that "don't" counts 2, or another `unit`. Blind to correctness; abstains where a row asks
// for nothing.
// Source: Ruler (Target Length Generation), precise match PM and flexible match FM.
#include <memory>

#include "core/base/errors.h"
#include "rewards/requested.h"
#include "rewards/reward.h"
#include "rewards/units.h"

namespace vernier {
namespace {

class LengthMatch final : public Reward {
 public:
  explicit LengthMatch(Binder& config) {
    config.choice("match", match_, {"precise", "flexible"}, "which bounds");
    config.choice("unit", unit_, length_units(), "of target_length");
    config.text("after", after_, "only the text after the last of these counts; not with tokens");
    config.only_if("after", unit_ != "tokens", "unit = \"tokens\"");
  }

  bool needs_group() const override { return false; }
  bool depends_on_length() const override { return true; }

  std::string abstains_on(const Prompt& prompt) const override {
    return target_of(prompt) != nullptr ? "" : "no target_length";
  }

  void score(const Group& group, std::span<Score> scores) const override {
    const RulerTarget* target = target_of(group.prompt);
    for (size_t i = 0; i < scores.size(); ++i) {
      if (target == nullptr) {
        scores[i].abstain = "no target_length";
        continue;
      }
      const bool precise = match_ == "precise";
      const double length = response_length(group.responses[i], unit_, after_);
      scores[i].value = target->matches(length, precise) ? 1 : 0;
      scores[i].explain = cat(length, " ", unit_, " for more than ",
                              precise ? target->precise_low : target->flexible_low, ", at most ",
                              precise ? target->precise_high : target->flexible_high);
    }
  }

 private:
  static const RulerTarget* target_of(const Prompt& prompt) {
    std::string problem;
    const RulerTarget* target = ruler_target(prompt, problem);
    if (!problem.empty()) fail(problem);
    return target;
  }

  std::string match_ = "precise", unit_ = "word_runs", after_;
};

const RewardRegistry::Entry entry{
    "length_match",
    {"1 where a response has the number of words that the prompt asks for",
     "r = [low < L <= high] of the target's bounds", "words", "Ruler, PM and FM"},
    [](Binder& config, const ScoringContext&) -> std::unique_ptr<Reward> {
      return std::make_unique<LengthMatch>(config);
    }};

}  // namespace
}  // namespace vernier
