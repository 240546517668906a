#include "algos/parts.h"

#include <algorithm>
#include <cmath>

#include "core/base/errors.h"

namespace vernier {

SequenceScalars Algorithm::scalars(const TokenBatch&) const {
  throw BugError("scalars of an algorithm that does not couple");
}

Coupling Algorithm::couple(const GroupTable&, const SequenceScalars&) const {
  throw BugError("couple of an algorithm that does not couple");
}

const std::vector<std::string>& loss_aggregations() {
  static const std::vector<std::string> names = {"token-mean", "token-sum", "seq-mean-token-sum",
                                                 "seq-mean-token-mean", "seq-mean-token-sum-norm"};
  return names;
}

at::Tensor aggregation_weights(const TokenBatch& batch, const std::string& mode) {
  const auto tokens = static_cast<double>(std::max<int64_t>(batch.totals.tokens, 1));
  const auto sequences = static_cast<double>(std::max<int64_t>(batch.totals.sequences, 1));
  const auto constant = [&](double weight) { return at::full_like(batch.advantage, weight); };
  if (mode == "token-mean") return constant(1.0 / tokens);
  if (mode == "token-sum") return constant(1.0);
  if (mode == "seq-mean-token-sum") return constant(1.0 / sequences);
  if (mode == "seq-mean-token-sum-norm")
    return constant(1.0 / (sequences * static_cast<double>(batch.totals.max_completion_length)));
  ensure(mode == "seq-mean-token-mean", "a known aggregation");
  at::Tensor lengths = at::empty({static_cast<int64_t>(batch.lengths.size())},
                                 batch.advantage.options());  // [B]
  for (size_t i = 0; i < batch.lengths.size(); ++i)
    lengths[static_cast<int64_t>(i)].fill_(static_cast<double>(batch.lengths[i]));
  return 1.0 / (sequences * lengths.index_select(0, batch.sequence));
}

at::Tensor clipped_loss(const at::Tensor& log_ratio, const at::Tensor& advantage, double low,
                        double high) {
  const at::Tensor ratio = log_ratio.exp();
  return at::maximum(-advantage * ratio, -advantage * ratio.clamp(1.0 - low, 1.0 + high));
}

at::Tensor k3(const at::Tensor& logprob, const at::Tensor& reference) {
  const at::Tensor d = logprob - reference;
  return (-d).exp() + d - 1.0;
}

std::vector<double> softmax(std::span<const double> values, double tau) {
  std::vector<double> out;
  if (values.empty()) return out;
  const double top = *std::max_element(values.begin(), values.end());
  double total = 0;
  for (const double value : values) total += out.emplace_back(std::exp((value - top) / tau));
  for (double& value : out) value /= total;
  return out;
}

double log_mean_exp(std::span<const double> values, double tau) {
  const double top = *std::max_element(values.begin(), values.end());
  double total = 0;
  for (const double value : values) total += std::exp((value - top) / tau);
  return top + tau * std::log(total / static_cast<double>(values.size()));
}

double sum_of(const at::Tensor& values) { return values.detach().sum(at::kDouble).item<double>(); }

}  // namespace vernier
