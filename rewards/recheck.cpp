// A penalty for looking again at what was said.
//
//   r_i = -penalty min(1, n_i / most)
//
// n: places of the text where a marker stands ("wait", "let me check", "alternatively", ...:
// rechecks.h). Blind to correctness; only_if = "accuracy" limits it to right answers, so that wrong
// ones stay free to check. Never abstains.
// Source: ours; the markers are those that papers on overthinking count (arXiv:2501.18585 counts
// "alternatively").
#include <algorithm>
#include <memory>

#include "rewards/rechecks.h"
#include "rewards/reward.h"

namespace vernier {
namespace {

class Recheck final : public Reward {
 public:
  explicit Recheck(Binder& config) {
    config.number("most", most_, 1, 1'000'000, "markers that cost the whole penalty");
    config.number("penalty", penalty_, 0.0, 1e6, "of a response with so many");
  }

  bool needs_group() const override { return false; }

  void score(const Group& group, std::span<Score> scores) const override {
    for (size_t i = 0; i < scores.size(); ++i) {
      const int64_t found = recheck_markers(group.responses[i].text);
      scores[i].value =
          -penalty_ * std::min(1.0, static_cast<double>(found) / static_cast<double>(most_));
      scores[i].explain = cat(found, " markers of looking again");
    }
  }

 private:
  int64_t most_ = 10;
  double penalty_ = 1;
};

const RewardRegistry::Entry entry{
    "recheck",
    {"a penalty for markers of looking again", "r = -penalty min(1, n / most)", "markers",
     "ours; markers as papers on overthinking count them (arXiv:2501.18585)"},
    [](Binder& config, const ScoringContext&) -> std::unique_ptr<Reward> {
      return std::make_unique<Recheck>(config);
    }};

}  // namespace
}  // namespace vernier
