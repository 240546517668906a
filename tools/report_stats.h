// Numbers of a report: estimates with intervals, the Pareto frontier, accuracy by length. Pure.
//
// Lengths are in tokens, accuracies are shares of 1. NaN stands for "undefined".
#pragma once

#include <cmath>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/metrics/statistics.h"

namespace vernier {

/// Wilson's 95 % interval of `right` out of `count`; unlike the bootstrap it has a width at 0
/// and 1.
Estimate wilson(double right, double count);

/// One response that was measured.
struct JudgedAnswer {
  int64_t group = 0;  // the prompt it answers
  int64_t num_tokens = 0;
  std::optional<bool> correct;
  std::optional<double> difficulty;
  bool clipped = false;  // ended at its limit

  bool operator==(const JudgedAnswer&) const = default;
};

/// Means over the `width` values around each; undefined values stay so and do not count.
std::vector<double> running_mean(std::span<const double> values, size_t width);

/// A place in the plane of length and accuracy.
struct TradeOff {
  double length = kUndefined, accuracy = kUndefined;
};

/// The points that no other point beats in both ways, by length. Of equal points the first stands.
std::vector<size_t> pareto_frontier(std::span<const TradeOff> points);

/// The mean over log2 of length, from `shortest` to `longest`, of the highest accuracy among the
/// points that are no longer; where there is none, of 0. In [0, 1]; NaN where there are no points,
/// or no lengths between the two.
double frontier_area(std::span<const TradeOff> points, double shortest, double longest);

/// The length at which accuracy is highest, by least squares of correctness on log L and its
/// square.
struct LengthOptimum {
  Estimate length;      // tokens; undefined where the fit does not rise and fall inside the lengths
  double support = 0;   // share of the draws whose fit does
  bool within = false;  // within a question: each question has its own level
  int64_t num_answers = 0, num_prompts = 0;
  int64_t num_clipped = 0;  // left out

  /// Whether nine draws of ten have one.
  bool is_certain() const { return !std::isnan(length.value) && support >= 0.9; }
};

/// Over judged answers of at least one token that ended by themselves: those at the limit would
/// make any curve fall there. `within` leaves out questions with one. A peak counts where it lies
/// between the 5th and the 95th percentile of the lengths.
LengthOptimum length_optimum(std::span<const JudgedAnswer> answers, bool within,
                             const Bootstrap& bootstrap);

/// The answers of one range of lengths.
struct LengthBin {
  double low = 0, high = 0;  // least and greatest length, inclusive
  double center = 0;         // mean length
  int64_t num_answers = 0, num_prompts = 0;
  Estimate accuracy;
};

/// Accuracy by length, or within a question by the rank of the length.
struct LengthCurve {
  std::string label;
  std::vector<LengthBin> bins;
  int64_t num_answers = 0, num_prompts = 0;
  bool inverted_u = false;
  size_t peak = 0;  // the bin of highest accuracy
};

/// Boundaries of at most `max_bins` bins that hold about as many values each: bin i holds
/// [edges[i], edges[i+1]). Equal values share a bin. Empty for no values.
std::vector<double> quantile_edges(std::vector<double> values, size_t max_bins);

/// Accuracy by length in quantile bins. No bins where there are fewer than 30 judged answers.
LengthCurve length_curve(std::string label, std::span<const JudgedAnswer> answers,
                         const Bootstrap& bootstrap);

/// A range of values with a name: "difficulty 2–4".
struct ValueBand {
  std::string label;
  double low = 0, high = 0;

  bool holds(double value) const { return value >= low && value < high; }
};

/// Each value where there are at most four, else thirds of all of them, least first; none where all
/// are the same. `percent`: values are shares.
std::vector<ValueBand> value_bands(std::vector<double> values, const std::string& what,
                                   bool percent = false);

/// The same for bands of the difficulties (value_bands()).
std::vector<LengthCurve> difficulty_curves(std::span<const JudgedAnswer> answers,
                                           const Bootstrap& bootstrap);

/// Centred correctness by centred length rank, over questions of two or more judged answers. Free
/// of the pooled curve's trap: harder questions have longer answers.
LengthCurve within_question_curve(std::span<const JudgedAnswer> answers,
                                  const Bootstrap& bootstrap);

}  // namespace vernier
