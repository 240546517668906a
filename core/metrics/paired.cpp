#include "core/metrics/paired.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "core/base/rng.h"

namespace vernier {
namespace {

constexpr size_t kMostExact = 16;  // differences whose 2^n signs are all tried

using Vector = std::array<double, 3>;
using Matrix = std::array<Vector, 3>;

double logistic(double x) { return 1 / (1 + std::exp(-x)); }

double dot(const Vector& a, const Vector& b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

// Inverse of a symmetric matrix by its cofactors; it is positive definite here, with eigenvalues of
// 1 and above.
Matrix inverse(const Matrix& m) {
  const auto minor = [&](size_t i, size_t j) {
    const size_t a = (i + 1) % 3, b = (i + 2) % 3, c = (j + 1) % 3, d = (j + 2) % 3;
    return m[a][c] * m[b][d] - m[a][d] * m[b][c];
  };
  const double determinant = m[0][0] * minor(0, 0) + m[0][1] * minor(0, 1) + m[0][2] * minor(0, 2);
  Matrix out;
  for (size_t i = 0; i < 3; ++i)
    for (size_t j = 0; j < 3; ++j) out[i][j] = minor(j, i) / determinant;
  return out;
}

// The regression of the preferences on (1, length term, difficulty).
class Fit {
 public:
  explicit Fit(std::span<const PairedPrompt> prompts) : prompts_(prompts) {
    std::vector<double> lengths;
    double difficulty = 0;
    for (const PairedPrompt& one : prompts) {
      lengths.push_back(one.length_difference);
      difficulty += one.difficulty;
    }
    difficulty /= static_cast<double>(prompts.size());
    const double scale = std_of(lengths);
    for (const PairedPrompt& one : prompts)
      rows_.push_back({1, scale > 0 ? std::tanh(one.length_difference / scale) : 0.0,
                       one.difficulty - difficulty});
  }

  LengthControl operator()(std::span<const double> counts) const {
    Vector weights = {0, 0, 0};
    Matrix covariance;
    double value = objective(weights, counts);
    for (int round = 0; round < 100; ++round) {
      Vector gradient = weights;
      Matrix hessian = {{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}};
      add_derivatives(weights, counts, gradient, hessian);
      covariance = inverse(hessian);
      double step = 1;
      Vector next;
      double there = 0;
      // The objective is convex; halving keeps the first steps from overshooting.
      do {
        for (size_t i = 0; i < 3; ++i) next[i] = weights[i] - step * dot(covariance[i], gradient);
        there = objective(next, counts);
        step /= 2;
      } while (there > value && step > 1e-12);
      const bool done = std::abs(value - there) <= 1e-15 * (1 + std::abs(value));
      weights = next;
      value = there;
      if (done) break;
    }
    return summary(weights, covariance, counts);
  }

 private:
  static double count_at(std::span<const double> counts, size_t i) {
    return counts.empty() ? 1.0 : counts[i];
  }

  // softplus(z) - p z, without overflow, and half the squared weights.
  double objective(const Vector& weights, std::span<const double> counts) const {
    double sum = dot(weights, weights) / 2;
    for (size_t i = 0; i < rows_.size(); ++i) {
      const double z = dot(weights, rows_[i]);
      const double softplus = std::max(z, 0.0) + std::log1p(std::exp(-std::abs(z)));
      sum += count_at(counts, i) * (softplus - prompts_[i].preference * z);
    }
    return sum;
  }

  void add_derivatives(const Vector& weights, std::span<const double> counts, Vector& gradient,
                       Matrix& hessian) const {
    for (size_t i = 0; i < rows_.size(); ++i) {
      const Vector& row = rows_[i];
      const double q = logistic(dot(weights, row)), count = count_at(counts, i);
      for (size_t a = 0; a < 3; ++a) {
        gradient[a] += count * (q - prompts_[i].preference) * row[a];
        for (size_t b = 0; b < 3; ++b) hessian[a][b] += count * q * (1 - q) * row[a] * row[b];
      }
    }
  }

  LengthControl summary(const Vector& weights, const Matrix& covariance,
                        std::span<const double> counts) const {
    double all = 0, wins = 0, controlled = 0;
    for (size_t i = 0; i < rows_.size(); ++i) {
      const double count = count_at(counts, i);
      all += count;
      wins += count * prompts_[i].preference;
      controlled += count * logistic(weights[0] + weights[2] * rows_[i][2]);
    }
    return {.win = wins / all,
            .controlled = controlled / all,
            .length_effect = weights[1],
            .length_error = std::sqrt(covariance[1][1])};
  }

  std::span<const PairedPrompt> prompts_;
  std::vector<Vector> rows_;
};

}  // namespace

double sign_flip_p(std::span<const double> differences, const Bootstrap& draws) {
  std::vector<double> sizes;
  double observed = 0, all = 0;
  for (const double one : differences) {
    if (one == 0) continue;
    sizes.push_back(std::abs(one));
    observed += one;
    all += std::abs(one);
  }
  if (sizes.empty()) return 1;
  // Sums that are equal but for rounding count as equal.
  const double reached = std::abs(observed) - 1e-12 * all;
  if (sizes.size() <= kMostExact) {
    const uint64_t count = uint64_t{1} << sizes.size();
    int64_t hits = 0;
    for (uint64_t signs = 0; signs < count; ++signs) {
      double sum = 0;
      for (size_t i = 0; i < sizes.size(); ++i) sum += (signs >> i & 1) != 0 ? sizes[i] : -sizes[i];
      hits += std::abs(sum) >= reached ? 1 : 0;
    }
    return static_cast<double>(hits) / static_cast<double>(count);
  }
  int64_t hits = 1;
  for (int64_t draw = 0; draw < draws.draws; ++draw) {
    Rng rng(draws.seed, Stream::permutation, static_cast<uint64_t>(draw));
    double sum = 0;
    uint64_t signs = 0;
    for (size_t i = 0; i < sizes.size(); ++i, signs >>= 1) {
      if (i % 64 == 0) signs = rng.next_bits();
      sum += (signs & 1) != 0 ? sizes[i] : -sizes[i];
    }
    hits += std::abs(sum) >= reached ? 1 : 0;
  }
  return static_cast<double>(hits) / static_cast<double>(draws.draws + 1);
}

std::vector<double> holm(std::span<const double> p) {
  std::vector<size_t> order(p.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return p[a] < p[b]; });
  std::vector<double> out(p.size());
  double least = 0;  // what comes later is not more significant
  for (size_t i = 0; i < order.size(); ++i) {
    least = std::max(least, std::min(1.0, static_cast<double>(p.size() - i) * p[order[i]]));
    out[order[i]] = least;
  }
  return out;
}

LengthControl length_controlled(std::span<const PairedPrompt> prompts,
                                std::span<const double> counts) {
  return prompts.empty() ? LengthControl{} : Fit(prompts)(counts);
}

LengthControlEstimate estimate_length_control(std::span<const PairedPrompt> prompts,
                                              const Bootstrap& bootstrap) {
  LengthControlEstimate out;
  if (prompts.empty()) return out;
  const Fit fit(prompts);
  const LengthControl all = fit({});
  out.win.value = all.win;
  out.controlled.value = all.controlled;
  out.length_effect = all.length_effect;
  out.length_error = all.length_error;
  std::vector<double> wins, controlled, counts;
  for (int64_t draw = 0; draw < bootstrap.draws; ++draw) {
    Rng rng(bootstrap.seed, Stream::bootstrap, static_cast<uint64_t>(draw));
    counts.assign(prompts.size(), 0);
    for (size_t i = 0; i < prompts.size(); ++i)
      counts[static_cast<size_t>(rng.next_below(std::ssize(prompts)))] += 1;
    const LengthControl one = fit(counts);
    wins.push_back(one.win);
    controlled.push_back(one.controlled);
  }
  const auto bounds = [](const std::vector<double>& drawn, Estimate& estimate) {
    estimate.low = quantile_of(drawn, 0.025);
    estimate.high = quantile_of(drawn, 0.975);
  };
  bounds(wins, out.win);
  bounds(controlled, out.controlled);
  return out;
}

double accuracy_efficiency_score(double accuracy, double length, double reference_accuracy,
                                 double reference_length, const AesFactors& factors) {
  if (!(reference_accuracy > 0) || !(reference_length > 0)) return kUndefined;
  const double shorter = (reference_length - length) / reference_length;
  const double better = (accuracy - reference_accuracy) / reference_accuracy;
  return shorter + (better >= 0 ? factors.gain : factors.loss) * better;
}

}  // namespace vernier
