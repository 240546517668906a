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
#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "core/base/json.h"
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
      const auto [low, high] = *asked;
      const double length = response_length(group.responses[i], unit_, after_);
      scores[i].value = length < low    ? std::max(0.0, 2 * length / low - 1)
                        : length > high ? std::max(0.0, 3 - 2 * length / high)
                                        : 1;
      scores[i].explain = cat(length, " ", unit_, " for ", low, " to ", high);
    }
  }

 private:
  static std::optional<std::pair<double, double>> interval(const Prompt& prompt) {
    if (prompt.target_length.empty()) return std::nullopt;
    const Json asked = parse_json(prompt.target_length, cat("prompt ", prompt.id));
    const auto positive = [](const Json& value) {
      return value.is_number() && std::isfinite(value.get<double>()) && value.get<double>() > 0;
    };
    if (positive(asked)) return {{0.8 * asked.get<double>(), 1.2 * asked.get<double>()}};
    if (asked.is_array() && asked.size() == 2 && positive(asked[0]) && positive(asked[1]) &&
        asked[0].get<double>() <= asked[1].get<double>())
      return {{asked[0].get<double>(), asked[1].get<double>()}};
    if (asked.is_object() && asked.size() == 1 && positive(*asked.begin())) {
      const double n = asked.begin()->get<double>();
      if (asked.contains("about")) return {{0.8 * n, 1.2 * n}};
      if (asked.contains("above")) return {{n, 1.5 * n}};
      if (asked.contains("below")) return {{0.5 * n, n}};
    }
    fail("prompt ", prompt.id, ": target_length: ", prompt.target_length.substr(0, 60),
         " is none of n, [x, y], {\"about\": n}, {\"above\": n}, {\"below\": n}, above 0");
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
