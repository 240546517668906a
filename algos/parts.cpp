#include "algos/parts.h"

#include <algorithm>
#include <cmath>

#include "core/base/errors.h"

namespace vernier {

SequenceScalars Algorithm::scalars(const TokenBatch&) const {
  throw BugError("scalars of an algorithm that does not couple sequences");
}

Coupling Algorithm::couple(const GroupTable&, const SequenceScalars&) const {
  throw BugError("couple of an algorithm that does not couple sequences");
}

Coupling Algorithm::couple_tokens(const GroupTable&, const TokenBatch&) const {
  throw BugError("couple_tokens of an algorithm that does not couple tokens");
}

void Algorithm::restore(const Json& state) {
  if (!state.is_null())
    fail("the checkpoint holds the state of an algorithm, ", dump_json(state),
         ", and the configured one has none; resume with the algorithm that wrote it");
}

void Algorithm::set_pressure(double) { throw BugError("pressure of an algorithm without a knob"); }

const std::vector<std::string>& loss_aggregations() {
  static const std::vector<std::string> names = {"token-mean", "token-sum", "seq-mean-token-sum",
                                                 "seq-mean-token-mean", "seq-mean-token-sum-norm"};
  return names;
}

Denominators denominators_of(const TokenBatch& batch, bool masked) {
  const UpdateTotals& totals = batch.totals;
  const int64_t sequences = masked ? totals.responses : totals.sequences;
  const std::vector<double> lengths(batch.lengths.begin(), batch.lengths.end());
  return {static_cast<double>(std::max<int64_t>(totals.tokens, 1)),
          static_cast<double>(std::max<int64_t>(sequences, 1)), at::tensor(lengths, at::kDouble)};
}

Denominators kept_denominators(const TokenBatch& update, const at::Tensor& kept) {
  const at::Tensor lengths = sum_by_sequence(kept, update);  // [B]
  return {std::max(sum_of(kept), 1.0), std::max(sum_of(lengths > 0), 1.0), lengths.clamp_min(1.0)};
}

at::Tensor aggregation_weights(const TokenBatch& batch, const std::string& mode,
                               const Denominators& by) {
  const auto constant = [&](double weight) { return at::full_like(batch.advantage, weight); };
  if (mode == "token-mean") return constant(1.0 / by.tokens);
  if (mode == "token-sum") return constant(1.0);
  if (mode == "seq-mean-token-sum") return constant(1.0 / by.sequences);
  if (mode == "seq-mean-token-sum-norm")
    return constant(1.0 / (by.sequences * static_cast<double>(batch.totals.max_completion_length)));
  ensure(mode == "seq-mean-token-mean", "a known aggregation");
  return spread(1.0 / (by.sequences * by.lengths), batch);
}

at::Tensor aggregation_weights(const TokenBatch& batch, const std::string& mode) {
  return aggregation_weights(batch, mode, denominators_of(batch));
}

at::Tensor sum_by_sequence(const at::Tensor& token, const TokenBatch& batch) {
  return at::zeros({static_cast<int64_t>(batch.lengths.size())}, at::kDouble)
      .index_add(0, batch.sequence, token.to(at::kDouble));
}

at::Tensor mean_by_sequence(const at::Tensor& token, const TokenBatch& batch) {
  return sum_by_sequence(token, batch) / denominators_of(batch).lengths;
}

at::Tensor spread(const at::Tensor& sequence, const TokenBatch& batch) {
  return sequence.index_select(0, batch.sequence).to(batch.logprob.scalar_type());
}

const std::vector<std::string>& kl_estimators() {
  static const std::vector<std::string> names = {"k1",  "abs",  "k2",  "k3",
                                                 "k1+", "abs+", "k3+", "k3_corrected"};
  return names;
}

at::Tensor kl_estimate(const std::string& estimator, const std::string& clamp,
                       const at::Tensor& d) {
  if (estimator.ends_with('+')) {
    const at::Tensor value =
        kl_estimate(estimator.substr(0, estimator.size() - 1), clamp, d.detach());
    const at::Tensor slope = d.square() / 2;
    return value + slope - slope.detach();
  }
  const auto bounded = [&](const at::Tensor& value) {
    return clamp == "openrlhf" ? value.clamp(-10.0, 10.0) : value;
  };
  if (estimator == "k1") return bounded(d);
  if (estimator == "abs") return bounded(d.abs());
  if (estimator == "k2") return bounded(d.square() / 2);
  ensure(estimator == "k3" || estimator == "k3_corrected", "a known estimator");
  const at::Tensor down = clamp == "verl" ? (-d).clamp(-20.0, 20.0) : -d;
  const at::Tensor value = down.exp() - down - 1.0;
  return clamp == "verl" ? value.clamp(-10.0, 10.0) : bounded(value);
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

std::vector<double> numbers_of(const at::Tensor& values) {
  const at::Tensor flat = values.detach().to(at::kDouble).contiguous();
  return {flat.const_data_ptr<double>(), flat.const_data_ptr<double>() + flat.numel()};
}

int64_t groups_of_scope(const GroupTable& table, const std::string& scope) {
  return scope == "block" ? 4 : std::max<int64_t>(table.groups(), 1);
}

}  // namespace vernier
