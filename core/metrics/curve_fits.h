// Curves with names: how errors fall with training, how the best length grows with a task.
#pragma once

#include <span>
#include <vector>

namespace vernier {

/// error = a n^b + c: a, c >= 0 and b < 0 by least squares. Hestness et al., "Deep Learning Scaling
/// is Predictable, Empirically", arXiv:1712.00409, equation 2; c is what no training removes.
struct PowerLaw {
  double a = 0, b = 0, c = 0;
  double rmse = 0;  // of the points
  double at(double n) const;
};

struct CurvePoint {
  double x = 0, y = 0;
};

/// Least squares over points with x > 0; b is looked for in [-4, -0.01]. All NaN for fewer than
/// four points, or where they do not fall.
PowerLaw fit_power_law(std::span<const CurvePoint> points);

/// The number of steps of a chain of thought that is right most often,
///
///   N* = T Z / (M (Z + 1)),  Z = W_-1(-(1 - T / C) / e)
///
/// which maximises ((1 - T / C) (1 - T / (N M)))^N: T is the difficulty of the task, M what the
/// model does in a step, C where a sub-question is lost for sure, W_-1 the lower branch of
/// Lambert's function. Wu et al., "When More is Less", arXiv:2502.07266, the linear case. NaN
/// outside 0 < T < C, M > 0.
double optimal_steps(double difficulty, double capability, double capacity);

/// lengths = scale * N*(T, 1, capacity), by least squares of the lengths.
struct OptimalLengthLaw {
  double scale = 0;     // tokens of a step over what it does
  double capacity = 0;  // C
  double rmse = 0;      // tokens
  double at(double difficulty) const;
};

/// From lengths of highest accuracy, y, of tasks of difficulty x > 0. All NaN for fewer than three
/// difficulties.
OptimalLengthLaw fit_optimal_lengths(std::span<const CurvePoint> points);

}  // namespace vernier
