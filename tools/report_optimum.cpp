// The fitted optimum of report_stats.h.
#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <utility>

#include "tools/report_stats.h"

namespace vernier {
namespace {

constexpr int64_t kMinFitAnswers = 30;

// Sums of one question over its answers: x = log L less a constant, y = 1 where it is right.
struct Moments {
  double n = 0, x = 0, x2 = 0, x3 = 0, x4 = 0, y = 0, xy = 0, x2y = 0;

  void add(double at, double right) {
    n += 1;
    x += at;
    x2 += at * at;
    x3 += at * at * at;
    x4 += at * at * at * at;
    y += right;
    xy += at * right;
    x2y += at * at * right;
  }
  void add(const Moments& other) {
    n += other.n;
    x += other.x;
    x2 += other.x2;
    x3 += other.x3;
    x4 += other.x4;
    y += other.y;
    xy += other.xy;
    x2y += other.x2y;
  }
};

// The same without its means: what least squares with a level of its own needs.
struct Centred {
  double x_x = 0, x_x2 = 0, x2_x2 = 0, x_y = 0, x2_y = 0;

  explicit Centred(const Moments& m) {
    if (m.n == 0) return;
    x_x = m.x2 - m.x * m.x / m.n;
    x_x2 = m.x3 - m.x * m.x2 / m.n;
    x2_x2 = m.x4 - m.x2 * m.x2 / m.n;
    x_y = m.xy - m.x * m.y / m.n;
    x2_y = m.x2y - m.x2 * m.y / m.n;
  }
  Centred() = default;
  void add(const Centred& other) {
    x_x += other.x_x;
    x_x2 += other.x_x2;
    x2_x2 += other.x2_x2;
    x_y += other.x_y;
    x2_y += other.x2_y;
  }
  // Where b x + c x^2 is highest; NaN where it has no highest point.
  double peak() const {
    const double determinant = x_x * x2_x2 - x_x2 * x_x2;
    if (!(determinant > 1e-9 * x_x * x2_x2)) return kUndefined;
    const double b = (x_y * x2_x2 - x2_y * x_x2) / determinant;
    const double c = (x2_y * x_x - x_y * x_x2) / determinant;
    return c < 0 ? -b / (2 * c) : kUndefined;
  }
};

double peak_of(const std::vector<Moments>& questions, const std::vector<Centred>& centred,
               std::span<const size_t> places, bool within) {
  if (within) {
    Centred sum;
    for (const size_t place : places) sum.add(centred[place]);
    return sum.peak();
  }
  Moments sum;
  for (const size_t place : places) sum.add(questions[place]);
  return Centred(sum).peak();
}

}  // namespace

LengthOptimum length_optimum(std::span<const JudgedAnswer> answers, bool within,
                             const Bootstrap& bootstrap) {
  LengthOptimum out;
  out.within = within;
  std::map<int64_t, std::vector<const JudgedAnswer*>> groups;
  for (const JudgedAnswer& answer : answers) {
    if (!answer.correct || answer.num_tokens == 0) continue;
    if (answer.clipped)
      ++out.num_clipped;
    else
      groups[answer.group].push_back(&answer);
  }
  if (within) std::erase_if(groups, [](const auto& group) { return group.second.size() < 2; });
  std::vector<double> lengths;
  for (const auto& [group, members] : groups)
    for (const JudgedAnswer* answer : members)
      lengths.push_back(std::log(static_cast<double>(answer->num_tokens)));
  out.num_answers = static_cast<int64_t>(lengths.size());
  out.num_prompts = static_cast<int64_t>(groups.size());
  if (out.num_answers < kMinFitAnswers) return out;
  // Near 0 the powers of x are of one size, and the fit loses no digits.
  const double middle = quantile_of(lengths, 0.5);
  const double low = quantile_of(lengths, 0.05) - middle;
  const double high = quantile_of(lengths, 0.95) - middle;
  std::vector<Moments> questions;
  std::vector<Centred> centred;
  for (const auto& [group, members] : groups) {
    Moments& sum = questions.emplace_back();
    for (const JudgedAnswer* answer : members)
      sum.add(std::log(static_cast<double>(answer->num_tokens)) - middle, *answer->correct ? 1 : 0);
    centred.emplace_back(sum);
  }
  int64_t calls = 0, peaks = 0;
  out.length = bootstrap_value(out.num_prompts, bootstrap, [&](std::span<const size_t> places) {
    const double peak = peak_of(questions, centred, places, within);
    const bool inside = peak >= low && peak <= high;
    if (calls++ > 0 && inside) ++peaks;  // the first is the value itself
    return inside ? std::exp(peak + middle) : kUndefined;
  });
  if (bootstrap.draws > 0)
    out.support = static_cast<double>(peaks) / static_cast<double>(bootstrap.draws);
  if (std::isnan(out.length.value)) out.length = {};
  return out;
}

}  // namespace vernier
