// Against premature ends: a response gives an answer, be it right or wrong.
//
//   r_i = [the row's rule finds an answer in it, or calls it right]
//
// Where the response used up its tokens, 0 too unless the answer came before. Abstains where the
// row has no rule, or no answer that can be compared with.
// Source: ours; "underthinking" of arXiv:2501.18585 is what it holds off.
#include <memory>
#include <optional>

#include "rewards/reward.h"
#include "rewards/verify/judge.h"

namespace vernier {
namespace {

class Answered final : public Reward {
 public:
  bool needs_group() const override { return false; }

  void score(const Group& group, std::span<Score> scores) const override {
    for (size_t i = 0; i < scores.size(); ++i) {
      std::string why;
      const std::optional<Verdict> verdict = judge(group.prompt, group.responses[i], &why);
      if (!verdict) {
        scores[i].abstain = why.empty() ? "no verdict" : why;
        continue;
      }
      scores[i].value = verdict->correct || !verdict->found.empty() ? 1 : 0;
      scores[i].explain = scores[i].value > 0 ? "an answer" : "no answer";
    }
  }
};

const RewardRegistry::Entry entry{"answered",
                                  {"1 for a response with an answer, right or wrong",
                                   "r = [an answer is found]", "verdicts", "ours"},
                                  [](Binder&, const ScoringContext&) -> std::unique_ptr<Reward> {
                                    return std::make_unique<Answered>();
                                  }};

}  // namespace
}  // namespace vernier
