#include "algos/selection.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace vernier {
namespace {

double mean_of(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

size_t share_of(double ratio, size_t count) {
  return std::max<size_t>(1, static_cast<size_t>(ratio * static_cast<double>(count)));
}

// Places of the values, the largest first, the earlier of equals first.
std::vector<size_t> descending(std::span<const double> values) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return values[a] > values[b]; });
  return order;
}

}  // namespace

std::vector<double> covariance(std::span<const double> advantage, std::span<const double> logprob) {
  const double mean_advantage = mean_of(advantage), mean_logprob = mean_of(logprob);
  std::vector<double> out;
  for (size_t t = 0; t < advantage.size(); ++t)
    out.push_back((advantage[t] - mean_advantage) * (logprob[t] - mean_logprob));
  return out;
}

std::vector<double> kl_cov_selection(std::span<const double> covariance, double ratio) {
  std::vector<double> out(covariance.size(), 0.0);
  const std::vector<size_t> order = descending(covariance);
  for (size_t k = 0; k < share_of(ratio, order.size()); ++k) out[order[k]] = 1;
  return out;
}

std::vector<double> clip_cov_mask(std::span<const double> covariance,
                                  std::span<const double> clipped, double ratio, double low,
                                  double high, Rng rng) {
  std::vector<double> out(covariance.size(), 1.0);
  std::vector<size_t> eligible;
  for (size_t t = 0; t < covariance.size(); ++t)
    if (covariance[t] > low && covariance[t] < high && clipped[t] == 0) eligible.push_back(t);
  const size_t count = std::min(eligible.size(), share_of(ratio, covariance.size()));
  // The first `count` places of a Fisher-Yates shuffle.
  for (size_t k = 0; k < count; ++k) {
    const auto left = static_cast<int64_t>(eligible.size() - k);
    std::swap(eligible[k], eligible[k + static_cast<size_t>(rng.next_below(left))]);
    out[eligible[k]] = 0;
  }
  return out;
}

std::vector<double> top_entropy_mask(std::span<const double> entropy, double share) {
  std::vector<double> sorted(entropy.begin(), entropy.end());
  std::sort(sorted.begin(), sorted.end());
  const double place = (1.0 - share) * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  const double quantile =
      std::lerp(sorted[below], sorted[above], place - static_cast<double>(below));
  std::vector<double> out;
  for (const double value : entropy) out.push_back(value >= quantile ? 1 : 0);
  return out;
}

std::vector<double> m2po_mask(std::span<const double> gap, double threshold) {
  std::vector<double> squares, out(gap.size(), 1.0);
  for (const double one : gap) squares.push_back(one * one);
  const std::vector<size_t> order = descending(squares);
  // Means of what is left, from the smallest on: sums of few and small numbers first.
  std::vector<double> sum(order.size());
  double total = 0;
  for (size_t k = order.size(); k-- > 0;) sum[k] = total += squares[order[k]];
  size_t dropped = 0;
  while (dropped + 1 < order.size() &&
         !(sum[dropped] / static_cast<double>(order.size() - dropped) < threshold))
    out[order[dropped++]] = 0;
  return out;
}

}  // namespace vernier
