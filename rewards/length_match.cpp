// Ruler's match of a requested length: 1 within the target's bounds, else 0.
//
//   r_i = 1   low < L_i <= high
//
// The row's target_length names a target of the table (configs/lengths/ruler.toml unless another is
// given), which has the bounds and the unit. Blind to correctness; abstains where a row asks for
// nothing.
// Source: Ruler (Target Length Generation), precise match PM and flexible match FM.
#include <memory>

#include "core/base/errors.h"
#include "rewards/length_table.h"
#include "rewards/reward.h"
#include "rewards/units.h"

namespace vernier {
namespace {

class LengthMatch final : public Reward {
 public:
  explicit LengthMatch(Binder& config) {
    config.choice("match", match_, {"precise", "flexible"}, "which bounds");
    std::string table = "ruler";
    config.text("table", table, "ruler, or a file of targets as configs/lengths/ruler.toml");
    try {
      table_ = LengthTable::read(table);
      unit_ = table_->unit();
    } catch (const UsageError& problem) {
      config.error("table", problem.what());
    }
    config.choice("unit", unit_, length_units(), "of lengths; that of the table by default");
    config.text("after", after_, "only the text after the last of these counts; not with tokens");
    config.only_if("after", unit_ != "tokens", "unit = \"tokens\"");
  }

  bool needs_group() const override { return false; }
  bool depends_on_length() const override { return true; }

  std::string abstains_on(const Prompt& prompt) const override {
    return target_of(prompt) != nullptr ? "" : "no target_length";
  }

  void score(const Group& group, std::span<Score> scores) const override {
    const LengthTarget* target = target_of(group.prompt);
    for (size_t i = 0; i < scores.size(); ++i) {
      if (target == nullptr) {
        scores[i].abstain = "no target_length";
        continue;
      }
      const bool precise = match_ == "precise";
      const double length = response_length(group.responses[i], unit_, after_);
      const LengthBounds& bounds = precise ? target->precise : target->flexible;
      scores[i].value = bounds.hold(length) ? 1 : 0;
      scores[i].explain =
          cat(length, " ", unit_, " for more than ", bounds.low, ", at most ", bounds.high);
    }
  }

 private:
  const LengthTarget* target_of(const Prompt& prompt) const {
    std::string problem;
    const LengthTarget* target = table_->of(prompt, problem);
    if (!problem.empty()) fail(problem);
    return target;
  }

  std::string match_ = "precise", unit_, after_;
  std::shared_ptr<const LengthTable> table_;
};

const RewardRegistry::Entry entry{
    "length_match",
    {"1 where a response has the length that the prompt asks for",
     "r = [low < L <= high] of the target's bounds", "of the table: words", "Ruler, PM and FM"},
    [](Binder& config, const ScoringContext&) -> std::unique_ptr<Reward> {
      return std::make_unique<LengthMatch>(config);
    }};

}  // namespace
}  // namespace vernier
