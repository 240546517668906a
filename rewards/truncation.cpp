// Right within the limit: a response that does not end in time is worth nothing.
//
//   r_i = 1     right, ended by itself, L_i <= limit(step)
//   r_i = 0     else
//
//   limit(step) = limits[k] of the last k with limit_steps[k] <= step, or `limit`
//
// The policy learns to be done in time; no other term of length is needed. L: tokens, end token
// included. The run should draw no further than the limit: rollout.length_steps and length_limits
// do it by the same plan. Correctness is part of the value. Dynamic sampling as DLER does it looks
// at this reward (filter metric "reward"), which here is accuracy within the limit. The limits are
// a plan of their own: a guard turns the entry's weight, beside `accuracy`.
// Source: DLER, NVlabs/DLER (limit 4000, with presets/dler.toml); ThinkPrune,
// UCSB-NLP-Chang/ThinkPrune (4000, 3000, 2000, each stage from the last one's checkpoint; its
// prompt states the limit).
#include <algorithm>
#include <memory>

#include "core/base/step_values.h"
#include "rewards/judged.h"

namespace vernier {
namespace {

class Truncation final : public Reward {
 public:
  Truncation(Binder& config, const ScoringContext& context) {
    config.number("limit", limit_, 0, int64_t{1} << 30,
                  "tokens; 0 takes the run's max_completion_length");
    config.list("limit_steps", limit_steps_, 0, int64_t{1} << 40,
                "steps from which on the limits of `limits` hold");
    config.list("limits", limits_, 1, int64_t{1} << 30, "tokens, one for each of limit_steps");
    if (limit_steps_.size() != limits_.size())
      config.error("limit_steps",
                   cat(limit_steps_.size(), " steps, but limits has ", limits_.size(), " numbers"));
    if (!std::ranges::is_sorted(limit_steps_, std::ranges::less_equal()))
      config.error("limit_steps", "has to rise");
    if (limit_ == 0) limit_ = context.max_completion_length;
    if (limit_ <= 0)
      config.error("limit", "is 0 and the run has no max_completion_length; set it, in tokens");
  }

  bool needs_group() const override { return false; }
  bool depends_on_length() const override { return true; }

  void score(const Group& group, std::span<Score> scores) const override {
    const int64_t limit = value_at(limit_steps_, limits_, group.step, limit_);
    for (const auto& [i, length, correct] : judged(group, scores)) {
      const bool ended = group.responses[i].finish_reason == FinishReason::stop;
      scores[i].value = correct && ended && length <= static_cast<double>(limit) ? 1 : 0;
      scores[i].explain = cat(length, " tokens, limit ", limit, ended ? "" : ", cut");
    }
  }

 private:
  int64_t limit_ = 0;
  std::vector<int64_t> limit_steps_, limits_;
};

const RewardRegistry::Entry entry{
    "truncation",
    {"1 for a right answer within the limit", "r = c [ended by itself and L <= limit(step)]",
     "tokens", "DLER, NVlabs/DLER; ThinkPrune, UCSB-NLP-Chang/ThinkPrune"},
    [](Binder& config, const ScoringContext& context) -> std::unique_ptr<Reward> {
      return std::make_unique<Truncation>(config, context);
    }};

}  // namespace
}  // namespace vernier
