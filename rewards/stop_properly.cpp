// Less reward for responses that were cut off at their limit.
//
//   r := coef r     where coef is in [0, 1]
//   r := coef       where coef is negative
//
// r: the weighted sum. It comes after every transform that scores again. Source: ProRL,
// arXiv:2505.24864; OpenRLHF's stop_properly_penalty_coef.
#include <memory>

#include "core/base/json.h"
#include "core/metrics/metrics.h"
#include "rewards/reward.h"

namespace vernier {
namespace {

const MetricDocs docs{
    {"stop_properly/punished", "responses", "ended at their limit, and lost reward by it"}};

class StopProperly final : public Transform {
 public:
  explicit StopProperly(Binder& config) {
    config.number(
        "coef", coef_, -1e6, 1.0,
        "factor of the reward of a response that ended at its limit; negative: its reward");
  }

  bool depends_on_length() const override { return true; }
  bool sets_reward() const override { return true; }

  std::vector<std::pair<std::string, double>> apply(Group& group, const Rescore&) const override {
    double punished = 0;
    for (Response& response : group.responses) {
      if (response.finish_reason != FinishReason::length || !response.reward) continue;
      const double before = *response.reward, after = coef_ < 0 ? coef_ : coef_ * before;
      if (after == before) continue;
      ++punished;
      response.reward = after;
      const std::string how = cat("reward ", before, " to ", after);
      response.transforms.push_back(cat("stop_properly: ", how));
      add_explanation(
          response,
          dump_json(
              {{"step", "transform"}, {"name", "stop_properly"}, {"reward", after}, {"how", how}}));
    }
    return {{"stop_properly/punished", punished}};
  }

 private:
  double coef_ = 0;
};

const TransformRegistry::Entry entry{
    "stop_properly",
    {"takes reward from responses that ended at their limit",
     "r := coef r, or coef where it is negative", "tokens", "ProRL, arXiv:2505.24864; OpenRLHF"},
    [](Binder& config, const ScoringContext&) -> std::unique_ptr<Transform> {
      return std::make_unique<StopProperly>(config);
    }};

}  // namespace
}  // namespace vernier
