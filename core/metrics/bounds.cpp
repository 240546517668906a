#include "core/metrics/bounds.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace vernier {
namespace {

// Of the values before the first: a guess, which costs width where it is wrong and never validity.
constexpr double kFirstVariance = 0.02, kFirstMean = 0.5;
constexpr int kHalvings = 50;

}  // namespace

double lower_mean_bound(std::span<const double> values, double low, double high, double alpha) {
  const double stake = std::log(1 / alpha), n = static_cast<double>(values.size());
  std::vector<double> y, bets;
  double sum = kFirstMean, squares = kFirstVariance;
  for (const double value : values) {
    const double count = static_cast<double>(y.size()) + 1;
    bets.push_back(std::sqrt(2 * stake * count / (n * squares)));
    y.push_back((value - low) / (high - low));
    sum += y.back();
    const double off = y.back() - sum / (count + 1);
    squares += off * off;
  }
  const auto rejected = [&](double m) {
    double wealth = 0;
    for (size_t i = 0; i < y.size(); ++i)
      wealth += std::log1p(std::min(bets[i], 0.75 / m) * (y[i] - m));
    return wealth >= stake;
  };
  double below = 0, above = 1;  // wealth falls with m
  for (int i = 0; i < kHalvings; ++i) {
    const double m = (below + above) / 2;
    (rejected(m) ? below : above) = m;
  }
  return low + below * (high - low);
}

}  // namespace vernier
