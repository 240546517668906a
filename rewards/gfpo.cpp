// Keeps the k best responses of a large group; the others are not learned from.
//
//   metric shortest:    the k of least length
//   metric efficiency:  the k of largest reward / length
//
// Ties go to the earlier response. Mean and deviation of an advantage are those of the k kept; a
// response that is not kept has advantage 0 and enters no statistic and no normaliser (TRL removes
// it from the batch; in the paper it stays in the batch with advantage 0: keep_in_batch). Responses
// without a reward, masked ones and those that the policy did not end are not chosen from. A group
// of k or fewer stays as it is. Dynamic sampling looks at what is left.
// Beware: with `shortest` and few right answers only wrong ones may be kept. The paper's k by
// difficulty is not here: its form was not read.
// Source: GFPO, arXiv:2508.09726 (G 8, 16, 24; k 4, 8), and TRL's implementation (removed in 2026).
#include <algorithm>
#include <memory>

#include "core/base/json.h"
#include "core/metrics/metrics.h"
#include "rewards/reward.h"

namespace vernier {
namespace {

const MetricDocs docs{{"gfpo/left_out", "responses", "that were not among the k kept"}};

class Gfpo final : public Transform {
 public:
  Gfpo(Binder& config, const ScoringContext& context) {
    config.number("k", k_, 1, 1 << 20, "responses of a group that are kept");
    config.choice("metric", metric_, {"shortest", "efficiency"}, "what makes a response good");
    config.flag("keep_in_batch", keep_in_batch_,
                "those left out stay in the loss's normalisers, with advantage 0");
    if (!config.has("k")) config.error("k", "is needed: the responses of a group that are kept");
    if (context.num_generations > 0 && k_ >= context.num_generations)
      config.error("k",
                   cat(k_, " keeps all of rollout.num_generations = ", context.num_generations));
  }

  bool depends_on_length() const override { return true; }
  // What it looks at has to be final: nothing may score again after it.
  bool sets_reward() const override { return metric_ == "efficiency"; }

  std::vector<std::pair<std::string, double>> apply(Group& group, const Rescore&) const override {
    std::vector<size_t> order;
    for (size_t i = 0; i < group.responses.size(); ++i) {
      const Response& response = group.responses[i];
      if (response.reward && !response.masked && policy_ended(response)) order.push_back(i);
    }
    std::ranges::stable_sort(order, [&](size_t a, size_t b) {
      return value(group.responses[a]) > value(group.responses[b]);
    });
    double left_out = 0;
    for (size_t place = static_cast<size_t>(k_); place < order.size(); ++place) {
      leave_out(group.responses[order[place]]);
      ++left_out;
    }
    return {{"gfpo/left_out", left_out}};
  }

 private:
  double value(const Response& response) const {
    const double length = response.num_tokens;
    return metric_ == "shortest" ? -length : *response.reward / std::max(1.0, length);
  }

  void leave_out(Response& response) const {
    response.left_out = true;
    response.left_out_in_batch = keep_in_batch_;
    response.transforms.push_back("gfpo: left out");
    add_explanation(response, dump_json({{"step", "transform"},
                                         {"name", "gfpo"},
                                         {"how", cat("left out: not among the ", k_, " kept")}}));
  }

  int64_t k_ = 0;
  std::string metric_ = "shortest";
  bool keep_in_batch_ = false;
};

const TransformRegistry::Entry entry{
    "gfpo",
    {"keeps the k shortest or most efficient responses of a group",
     "keep the k largest of -L, or of r / L", "tokens", "GFPO, arXiv:2508.09726; TRL"},
    [](Binder& config, const ScoringContext& context) -> std::unique_ptr<Transform> {
      return std::make_unique<Gfpo>(config, context);
    }};

}  // namespace
}  // namespace vernier
