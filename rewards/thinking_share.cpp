// Less thinking for the same answer: the share of a response that is answer.
//
//   r_i = 1 - T_i / L_i
//
// T: tokens of thinking (Response::think), which never closed is all of it. Blind to correctness:
// only_if = "accuracy" gates it. Abstains where the thinking is not marked (rollout.think_end).
// Source: ours.
#include <algorithm>
#include <memory>

#include "rewards/reward.h"

namespace vernier {
namespace {

class ThinkingShare final : public Reward {
 public:
  bool needs_group() const override { return false; }
  bool depends_on_length() const override { return true; }

  void score(const Group& group, std::span<Score> scores) const override {
    for (size_t i = 0; i < scores.size(); ++i) {
      const Response& response = group.responses[i];
      if (response.think.begin < 0 || response.num_tokens == 0) {
        scores[i].abstain = "its thinking is not marked";
        continue;
      }
      const double tokens =
          std::min(response.think.end, response.num_tokens) - response.think.begin;
      scores[i].value = 1 - tokens / response.num_tokens;
      scores[i].explain = cat(tokens, " of ", response.num_tokens, " tokens are thinking");
    }
  }
};

const RewardRegistry::Entry entry{
    "thinking_share",
    {"the share of a response that is not thinking", "r = 1 - T / L", "tokens", "ours"},
    [](Binder&, const ScoringContext&) -> std::unique_ptr<Reward> {
      return std::make_unique<ThinkingShare>();
    }};

}  // namespace
}  // namespace vernier
