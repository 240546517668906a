// Keeps responses that were cut off at their limit out of the loss.
//
// Their reward still enters mean and standard deviation of the group; no token of theirs enters the
// loss or its normalisers. Source: DAPO's overlong filtering, arXiv:2503.14476; TRL's
// mask_truncated_completions, AReaL's mask_no_eos_with_zero.
#include <memory>

#include "core/base/json.h"
#include "core/metrics/metrics.h"
#include "rewards/reward.h"

namespace vernier {
namespace {

const MetricDocs docs{
    {"overlong_mask/masked", "responses", "kept out of the loss: they ended at their limit"}};

class OverlongMask final : public Transform {
 public:
  bool depends_on_length() const override { return true; }

  std::vector<std::pair<std::string, double>> apply(Group& group, const Rescore&) const override {
    double masked = 0;
    for (Response& response : group.responses) {
      if (response.finish_reason != FinishReason::length) continue;
      ++masked;
      response.masked = true;
      response.transforms.push_back("overlong_mask: masked");
      add_explanation(response, dump_json({{"step", "transform"},
                                           {"name", "overlong_mask"},
                                           {"how", "masked: ended at its limit"}}));
    }
    return {{"overlong_mask/masked", masked}};
  }
};

const TransformRegistry::Entry entry{
    "overlong_mask",
    {"keeps responses that ended at their limit out of the loss",
     "masked if finish_reason = length", "tokens", "DAPO, arXiv:2503.14476; TRL, AReaL"},
    [](Binder&, const ScoringContext&) -> std::unique_ptr<Transform> {
      return std::make_unique<OverlongMask>();
    }};

}  // namespace
}  // namespace vernier
