// Group-relative policy optimisation.
//
//   A_i = (R_i - mean(R)) / (std(R) + eps)     over the group, std with n - 1
//   L_t = max(-A rho, -A clip(rho, 1 - epsilon, 1 + epsilon_high)) + beta k3
//   rho = exp(logprob - old)
//
// A group of one has mean 0 and std 1. A group whose rewards are all equal has A = 0 and teaches
// nothing. scale_rewards = "none" drops the division (Dr. GRPO, arXiv:2503.20783).
// Sources: arXiv:2402.03300 (advantage, k3 in the loss); arXiv:2503.14476 (two clip bounds);
// verl core_algos (group of one, eps).
#include <cmath>

#include "algos/algorithm.h"
#include "algos/parts.h"
#include "core/base/errors.h"
#include "core/base/json.h"
#include "core/metrics/metrics.h"

namespace vernier {
namespace {

const MetricDocs docs{
    {"kl", "nats", "grpo with beta: mean k3 divergence from the start policy, over tokens"},
    {"clip_ratio/low_mean", "share", "grpo: tokens of wrong direction below 1 - epsilon"},
    {"clip_ratio/high_mean", "share", "grpo: tokens of right direction above 1 + epsilon_high"}};

struct GroupStatistics {
  double mean = 0, std = 1;
  int64_t count = 0;
};

class Grpo final : public Algorithm {
 public:
  explicit Grpo(Binder& config) {
    config.choice("loss_aggregation", aggregation_, loss_aggregations(),
                  "how token losses become one number");
    config.number("epsilon", epsilon_, 0.0, 1.0, "clip bound below a ratio of 1");
    config.number("epsilon_high", epsilon_high_, 0.0, 10.0, "clip bound above a ratio of 1");
    config.choice("scale_rewards", scale_, {"group", "none"},
                  "divide by the group's standard deviation, or not");
    config.number("advantage_eps", eps_, 0.0, 1.0, "added to the standard deviation");
    config.only_if("advantage_eps", scale_ == "group", "scale_rewards = \"none\"");
    config.number("beta", beta_, 0.0, 10.0, "weight of the k3 KL to the start policy, in the loss");
    config.number("entropy_coef", entropy_coef_, 0.0, 1.0, "weight of an entropy bonus");
  }

  double reference_kl() const override { return beta_; }

  std::vector<double> credit(const GroupTable& table) const override {
    std::vector<double> advantage(table.size(), 0.0);
    for (int64_t g = 0; g < table.groups(); ++g) {
      const GroupStatistics group = statistics(table, g);
      for (int64_t i = table.offsets[g]; i < table.offsets[g + 1]; ++i)
        if (counts(table, i)) advantage[i] = advantage_of(table.reward[i], group);
    }
    return advantage;
  }

  std::string explain(const GroupTable& table, int64_t group) const override {
    const GroupStatistics found = statistics(table, group);
    Json step = {{"step", "advantage"},
                 {"algorithm", "grpo"},
                 {"mean", found.mean},
                 {"std", found.std},
                 {"counted", found.count},
                 {"formula", scale_ == "group" ? cat("(reward - mean) / (std + ", eps_, ")")
                                               : std::string("reward - mean")}};
    return dump_json(step);
  }

  Loss loss(const TokenBatch& b, const Coupling*) const override {
    const at::Tensor weight = aggregation_weights(b, aggregation_);  // [T]
    const at::Tensor log_ratio = b.logprob - b.old;
    at::Tensor token = clipped_loss(log_ratio, b.advantage, epsilon_, epsilon_high_);
    const double tokens = static_cast<double>(std::max<int64_t>(b.totals.tokens, 1));
    Loss out;
    if (beta_ > 0) {
      const at::Tensor kl = k3(b.logprob, b.reference);
      token = token + beta_ * kl;
      out.metrics["kl"] = sum_of(kl) / tokens;
    }
    if (entropy_coef_ > 0) token = token - entropy_coef_ * b.entropy;
    out.value = (token * weight).sum();
    const at::Tensor ratio = log_ratio.detach().exp();
    const auto share = [&](const at::Tensor& hit) { return sum_of(hit.to(at::kFloat)) / tokens; };
    out.metrics["clip_ratio/low_mean"] =
        share((ratio < 1.0 - epsilon_).logical_and(b.advantage < 0));
    out.metrics["clip_ratio/high_mean"] =
        share((ratio > 1.0 + epsilon_high_).logical_and(b.advantage > 0));
    out.metrics["loss"] = out.value.item<double>();
    return out;
  }

 private:
  // A masked response has its part in mean and deviation; only its tokens stay out of the loss.
  static bool counts(const GroupTable& table, int64_t i) { return std::isfinite(table.reward[i]); }

  static GroupStatistics statistics(const GroupTable& table, int64_t group) {
    GroupStatistics out{.mean = 0, .std = 1, .count = 0};
    double sum = 0, squares = 0, low = INFINITY, high = -INFINITY;
    for (int64_t i = table.offsets[group]; i < table.offsets[group + 1]; ++i)
      if (counts(table, i)) {
        sum += table.reward[i];
        low = std::fmin(low, table.reward[i]);
        high = std::fmax(high, table.reward[i]);
        ++out.count;
      }
    // Only a group that was drawn as one keeps its raw reward. One that is left over of many says
    // nothing about the others: its mean is itself.
    if (out.count == 1 && table.offsets[group + 1] - table.offsets[group] > 1) out.mean = low;
    if (out.count < 2) return out;
    // Of equal rewards the mean is that reward, not what rounding makes of it.
    out.mean = low == high ? low : sum / static_cast<double>(out.count);
    for (int64_t i = table.offsets[group]; i < table.offsets[group + 1]; ++i)
      if (counts(table, i)) squares += (table.reward[i] - out.mean) * (table.reward[i] - out.mean);
    out.std = std::sqrt(squares / static_cast<double>(out.count - 1));
    return out;
  }

  double advantage_of(double reward, const GroupStatistics& group) const {
    return scale_ == "group" ? (reward - group.mean) / (group.std + eps_) : reward - group.mean;
  }

  std::string aggregation_ = "token-mean", scale_ = "group";
  double epsilon_ = 0.2, epsilon_high_ = 0.2, eps_ = 1e-6, beta_ = 0, entropy_coef_ = 0;
};

const AlgorithmRegistry::Entry entry{
    "grpo", "group-relative advantage, clipped ratio (arXiv:2402.03300)",
    [](Binder& config, const AlgorithmContext&) -> std::unique_ptr<Algorithm> {
      return std::make_unique<Grpo>(config);
    }};

}  // namespace
}  // namespace vernier
