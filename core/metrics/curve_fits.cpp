#include "core/metrics/curve_fits.h"

#include <algorithm>
#include <boost/math/special_functions/lambert_w.hpp>
#include <cmath>
#include <functional>
#include <limits>
#include <numbers>
#include <set>

namespace vernier {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr size_t kGrid = 200;
constexpr int kRefinements = 60;

// Where `cost` is least in [low, high]: the best of a grid, then golden sections around it.
double least(double low, double high, const std::function<double(double)>& cost) {
  size_t best = 0;
  double lowest = std::numeric_limits<double>::infinity();
  const auto at = [&](size_t i) {
    return low + (high - low) * static_cast<double>(i) / static_cast<double>(kGrid);
  };
  for (size_t i = 0; i <= kGrid; ++i)
    if (const double here = cost(at(i)); here < lowest) {
      lowest = here;
      best = i;
    }
  double left = at(best == 0 ? 0 : best - 1), right = at(std::min(best + 1, kGrid));
  constexpr double kGolden = 1 / std::numbers::phi;
  for (int i = 0; i < kRefinements; ++i) {
    const double a = right - kGolden * (right - left), b = left + kGolden * (right - left);
    if (cost(a) < cost(b))
      right = b;
    else
      left = a;
  }
  return (left + right) / 2;
}

// a and c for a given b.
PowerLaw with_exponent(std::span<const CurvePoint> points, double b) {
  const auto n = static_cast<double>(points.size());
  double x = 0, xx = 0, y = 0, xy = 0;
  for (const CurvePoint& point : points) {
    const double power = std::pow(point.x, b);
    x += power;
    xx += power * power;
    y += point.y;
    xy += power * point.y;
  }
  const double determinant = n * xx - x * x;
  PowerLaw out{.a = 0, .b = b, .c = y / n};
  if (determinant > 1e-15 * n * xx) {
    out.a = (n * xy - x * y) / determinant;
    out.c = (y - out.a * x) / n;
  }
  if (out.c < 0) out = {.a = xy / xx, .b = b, .c = 0};
  if (out.a < 0) out = {.a = 0, .b = b, .c = y / n};
  double squares = 0;
  for (const CurvePoint& point : points) squares += std::pow(out.at(point.x) - point.y, 2);
  out.rmse = std::sqrt(squares / n);
  return out;
}

OptimalLengthLaw with_capacity(std::span<const CurvePoint> points, double capacity) {
  double xx = 0, xy = 0;
  for (const CurvePoint& point : points) {
    const double steps = optimal_steps(point.x, 1, capacity);
    xx += steps * steps;
    xy += steps * point.y;
  }
  OptimalLengthLaw out{.scale = xy / xx, .capacity = capacity};
  double squares = 0;
  for (const CurvePoint& point : points) squares += std::pow(out.at(point.x) - point.y, 2);
  out.rmse = std::sqrt(squares / static_cast<double>(points.size()));
  return out;
}

}  // namespace

double PowerLaw::at(double n) const { return a * std::pow(n, b) + c; }

PowerLaw fit_power_law(std::span<const CurvePoint> points) {
  std::vector<CurvePoint> used;
  for (const CurvePoint& point : points)
    if (point.x > 0 && std::isfinite(point.y)) used.push_back(point);
  constexpr PowerLaw kNone{kNaN, kNaN, kNaN, kNaN};
  if (used.size() < 4) return kNone;
  const double b = least(-4, -0.01, [&](double one) { return with_exponent(used, one).rmse; });
  const PowerLaw out = with_exponent(used, b);
  return out.a > 0 ? out : kNone;
}

double optimal_steps(double difficulty, double capability, double capacity) {
  if (!(difficulty > 0) || !(difficulty < capacity) || !(capability > 0)) return kNaN;
  const double z = boost::math::lambert_wm1(-(1 - difficulty / capacity) / std::numbers::e);
  return difficulty * z / (capability * (z + 1));
}

double OptimalLengthLaw::at(double difficulty) const {
  return scale * optimal_steps(difficulty, 1, capacity);
}

OptimalLengthLaw fit_optimal_lengths(std::span<const CurvePoint> points) {
  std::set<double> difficulties;
  std::vector<CurvePoint> used;
  for (const CurvePoint& point : points) {
    if (!(point.x > 0) || !std::isfinite(point.y)) continue;
    used.push_back(point);
    difficulties.insert(point.x);
  }
  if (difficulties.size() < 3) return {kNaN, kNaN, kNaN};
  // From just above the hardest to where the law is a square root and stays one.
  const double hardest = *difficulties.rbegin();
  const double exponent = least(std::log(1.001), std::log(1000), [&](double one) {
    return with_capacity(used, hardest * std::exp(one)).rmse;
  });
  return with_capacity(used, hardest * std::exp(exponent));
}

}  // namespace vernier
