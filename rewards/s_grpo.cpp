// Early exits of one thought: the first right one is worth most, each later one half.
//
//   r_i = 2^(1 - n_i) right, 0 wrong;  n_i: right ones among responses 0 ... i
//
// The run draws one full response a prompt; num_generations - 1 exits leave its thinking at places
// that are drawn evenly, are closed by `exit_text` and answer. The group is these in order of
// place, then the full response. The tokens of a prefix count in each response that has them. The
// advantage is r less the group's mean, without a deviation: algo.scale_rewards = "none".
// Correctness is part of the value; length has a part in it through the order. Dynamic sampling has
// to look at accuracy.
// Source: S-GRPO, arXiv:2505.07686: a page was seen, 2^(1 - n) and the advantage were not read (a
// third-party implementation counts exits instead of right ones).
#include <cmath>
#include <memory>

#include "rewards/judged.h"

namespace vernier {
namespace {

class SGrpo final : public Reward {
 public:
  SGrpo(Binder& config, const ScoringContext& context) {
    config.number("decay", decay_, 0.0, 1.0, "of each right exit against the one before");
    config.text("exit_text", exit_text_, "that closes the thinking of an early exit");
    config.number("exit_tokens", exit_tokens_, 0, 1 << 20,
                  "most of an exit's answer; 0: the run's max_completion_length");
    if (exit_text_.empty()) config.error("exit_text", "is empty; it closes the thinking");
    if (exit_tokens_ == 0) exit_tokens_ = context.max_completion_length;
  }

  bool depends_on_length() const override { return true; }
  std::optional<Pressure> pressure() const override {
    return Pressure{
        .key = "decay", .value = decay_, .low = 0, .high = 1, .smaller_is_more = true, .none = 1};
  }
  void set_pressure(double value) override { decay_ = value; }

  SamplingPlan plan() const override {
    SamplingPlan plan;
    plan.branches = SamplingPlan::Branches::exits;
    plan.exit_text = exit_text_;
    plan.exit_tokens = exit_tokens_;
    return plan;
  }

  void score(const Group& group, std::span<Score> scores) const override {
    double value = 1;
    int64_t right = 0;
    for (const auto& [i, length, correct] : judged(group, scores)) {
      if (!correct) continue;
      scores[i].value = value;
      scores[i].explain = cat("right exit ", ++right);
      value *= decay_;
    }
  }

 private:
  double decay_ = 0.5;
  std::string exit_text_ = "\n</think>\n\n";
  int64_t exit_tokens_ = 0;
};

const RewardRegistry::Entry entry{
    "s_grpo",
    {"right early exits of one thought, each worth half of the one before",
     "r = 2^(1 - n) if right, n right exits so far; 0 if wrong", "exits",
     "S-GRPO, arXiv:2505.07686 (decay not read)"},
    [](Binder& config, const ScoringContext& context) -> std::unique_ptr<Reward> {
      return std::make_unique<SGrpo>(config, context);
    }};

}  // namespace
}  // namespace vernier
