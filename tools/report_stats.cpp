#include "tools/report_stats.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "core/base/rng.h"
#include "core/base/text.h"

namespace vernier {
namespace {

constexpr size_t kMaxBins = 8;
constexpr size_t kMinBinAnswers = 25;  // fewer say little about a share
constexpr size_t kMinCurveAnswers = 30;
constexpr size_t kMaxSingleValues = 4;  // more are put together
constexpr size_t kValueBands = 3;
constexpr size_t kRankBins = 5;

size_t bin_of(const std::vector<double>& edges, double value) {
  const auto next = std::upper_bound(edges.begin(), edges.end(), value);
  return static_cast<size_t>(next - edges.begin()) - 1;
}

// One value with its place: what a bin and its prompt are fed with.
struct Placed {
  int64_t group = 0;
  size_t bin = 0;
  double x = 0, y = 0;
};

// Bins without values are dropped.
std::vector<LengthBin> fill_bins(const std::vector<Placed>& values, size_t num_bins,
                                 const Bootstrap& bootstrap) {
  std::map<int64_t, std::vector<Tally>> groups;
  std::vector<LengthBin> bins(num_bins);
  for (const Placed& value : values) {
    LengthBin& bin = bins[value.bin];
    bin.low = bin.num_answers == 0 ? value.x : std::min(bin.low, value.x);
    bin.high = bin.num_answers == 0 ? value.x : std::max(bin.high, value.x);
    bin.center += value.x;
    ++bin.num_answers;
    Tally& tally = groups.try_emplace(value.group, num_bins).first->second[value.bin];
    if (tally.count == 0) ++bin.num_prompts;
    tally.sum += value.y;
    tally.count += 1;
  }
  std::vector<std::vector<Tally>> prompts;
  for (auto& [group, tally] : groups) prompts.push_back(std::move(tally));
  const std::vector<Estimate> means = bootstrap_means(prompts, bootstrap);
  std::vector<LengthBin> out;
  for (size_t i = 0; i < num_bins && i < means.size(); ++i) {
    if (bins[i].num_answers == 0) continue;
    bins[i].center /= static_cast<double>(bins[i].num_answers);
    bins[i].accuracy = means[i];
    out.push_back(bins[i]);
  }
  return out;
}

// Finds the peak and sets the flag: the peak is an inner bin, and both outermost bins lie below it
// with intervals that do not touch.
void judge(LengthCurve& curve, const std::vector<Estimate>& bounds) {
  const auto less = [](const LengthBin& a, const LengthBin& b) {
    return a.accuracy.value < b.accuracy.value;
  };
  if (curve.bins.empty()) return;
  const auto peak = std::max_element(curve.bins.begin(), curve.bins.end(), less);
  curve.peak = static_cast<size_t>(peak - curve.bins.begin());
  const bool inside = curve.peak > 0 && curve.peak + 1 < curve.bins.size();
  const double floor = bounds[curve.peak].low;
  curve.inverted_u = inside && bounds.front().high < floor && bounds.back().high < floor;
}

std::string number_text(double value, bool percent) {
  if (percent) return fixed(100 * value, 0);
  return value == std::round(value) ? cat(static_cast<int64_t>(value)) : fixed(value, 2);
}

}  // namespace

Estimate wilson(double right, double count) {
  if (count <= 0) return {};
  constexpr double z = 1.959963984540054;
  const double p = right / count;
  const double scale = 1 + z * z / count;
  const double center = (p + z * z / (2 * count)) / scale;
  const double half = z / scale * std::sqrt(p * (1 - p) / count + z * z / (4 * count * count));
  return {p, std::max(0.0, center - half), std::min(1.0, center + half)};
}

std::vector<double> running_mean(std::span<const double> values, size_t width) {
  const size_t reach = width / 2;
  std::vector<double> out(values.size(), kUndefined);
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isnan(values[i])) continue;
    double sum = 0, count = 0;
    for (size_t j = i - std::min(i, reach); j < std::min(i + reach + 1, values.size()); ++j) {
      if (std::isnan(values[j])) continue;
      sum += values[j];
      count += 1;
    }
    out[i] = sum / count;
  }
  return out;
}

std::vector<size_t> pareto_frontier(std::span<const TradeOff> points) {
  std::vector<size_t> order;
  for (size_t i = 0; i < points.size(); ++i)
    if (!std::isnan(points[i].length) && !std::isnan(points[i].accuracy)) order.push_back(i);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    if (points[a].length != points[b].length) return points[a].length < points[b].length;
    return points[a].accuracy > points[b].accuracy;
  });
  std::vector<size_t> out;
  for (const size_t index : order)
    if (out.empty() || points[index].accuracy > points[out.back()].accuracy) out.push_back(index);
  return out;
}

double frontier_area(std::span<const TradeOff> points, double shortest, double longest) {
  if (!(shortest > 0) || !(longest > shortest)) return kUndefined;
  const std::vector<size_t> frontier = pareto_frontier(points);
  if (frontier.empty()) return kUndefined;
  double area = 0;
  for (size_t i = 0; i < frontier.size(); ++i) {
    const double from = std::max(points[frontier[i]].length, shortest);
    const double to =
        i + 1 < frontier.size() ? std::min(points[frontier[i + 1]].length, longest) : longest;
    if (to > from) area += points[frontier[i]].accuracy * std::log2(to / from);
  }
  return area / std::log2(longest / shortest);
}

std::vector<double> quantile_edges(std::vector<double> values, size_t max_bins) {
  if (values.empty() || max_bins == 0) return {};
  std::sort(values.begin(), values.end());
  std::vector<double> edges;
  for (size_t i = 0; i < max_bins; ++i) {
    const double edge = values[values.size() * i / max_bins];
    if (edges.empty() || edge > edges.back()) edges.push_back(edge);
  }
  edges.push_back(std::nextafter(values.back(), std::numeric_limits<double>::infinity()));
  return edges;
}

LengthCurve length_curve(std::string label, std::span<const JudgedAnswer> answers,
                         const Bootstrap& bootstrap) {
  LengthCurve curve;
  curve.label = std::move(label);
  std::vector<double> lengths;
  std::set<int64_t> prompts;
  for (const JudgedAnswer& answer : answers) {
    if (!answer.correct) continue;
    lengths.push_back(static_cast<double>(answer.num_tokens));
    prompts.insert(answer.group);
  }
  curve.num_answers = static_cast<int64_t>(lengths.size());
  curve.num_prompts = static_cast<int64_t>(prompts.size());
  if (lengths.size() < kMinCurveAnswers) return curve;
  const size_t num_bins = std::clamp<size_t>(lengths.size() / kMinBinAnswers, 3, kMaxBins);
  const std::vector<double> edges = quantile_edges(std::move(lengths), num_bins);
  std::vector<Placed> values;
  for (const JudgedAnswer& answer : answers) {
    if (!answer.correct) continue;
    const auto length = static_cast<double>(answer.num_tokens);
    values.push_back({answer.group, bin_of(edges, length), length, *answer.correct ? 1.0 : 0.0});
  }
  curve.bins = fill_bins(values, edges.size() - 1, bootstrap);
  // The bootstrap has no width where all answers of a bin agree, which a few do by chance; the flag
  // therefore needs the wider of the two intervals.
  std::vector<Estimate> bounds;
  for (const LengthBin& bin : curve.bins) {
    const auto count = static_cast<double>(bin.num_answers);
    const Estimate other = wilson(bin.accuracy.value * count, count);
    bounds.push_back({bin.accuracy.value, std::min(bin.accuracy.low, other.low),
                      std::max(bin.accuracy.high, other.high)});
  }
  judge(curve, bounds);
  return curve;
}

std::vector<ValueBand> value_bands(std::vector<double> values, const std::string& what,
                                   bool percent) {
  const std::set<double> distinct(values.begin(), values.end());
  if (distinct.size() < 2) return {};
  std::vector<double> edges(distinct.begin(), distinct.end());
  edges.push_back(std::numeric_limits<double>::infinity());
  if (distinct.size() > kMaxSingleValues) {
    edges = quantile_edges(std::move(values), kValueBands);
    // Most have the least value: it is a band, and the others are one.
    if (edges.size() < 3)
      edges = {*distinct.begin(), *std::next(distinct.begin()),
               std::numeric_limits<double>::infinity()};
  }
  std::vector<ValueBand> out;
  for (size_t i = 0; i + 1 < edges.size(); ++i) {
    const double last = *std::prev(distinct.lower_bound(edges[i + 1]));
    const std::string from = number_text(edges[i], percent), to = number_text(last, percent);
    out.push_back(
        {.label = cat(what, " ", from == to ? from : cat(from, "–", to), percent ? " %" : ""),
         .low = edges[i],
         .high = edges[i + 1]});
  }
  return out;
}

std::vector<LengthCurve> difficulty_curves(std::span<const JudgedAnswer> answers,
                                           const Bootstrap& bootstrap) {
  std::vector<double> difficulties;
  for (const JudgedAnswer& answer : answers)
    if (answer.correct && answer.difficulty) difficulties.push_back(*answer.difficulty);
  std::vector<LengthCurve> out;
  for (const ValueBand& band : value_bands(std::move(difficulties), "difficulty")) {
    std::vector<JudgedAnswer> members;
    for (const JudgedAnswer& answer : answers)
      if (answer.difficulty && band.holds(*answer.difficulty)) members.push_back(answer);
    out.push_back(length_curve(band.label, members, bootstrap));
  }
  return out;
}

LengthCurve within_question_curve(std::span<const JudgedAnswer> answers,
                                  const Bootstrap& bootstrap) {
  std::map<int64_t, std::vector<const JudgedAnswer*>> groups;
  for (const JudgedAnswer& answer : answers)
    if (answer.correct) groups[answer.group].push_back(&answer);
  LengthCurve curve;
  curve.label = "within a question";
  std::vector<Placed> values;
  for (const auto& [group, members] : groups) {
    if (members.size() < 2) continue;
    const auto n = static_cast<double>(members.size());
    double num_right = 0;
    for (const JudgedAnswer* answer : members) num_right += *answer->correct ? 1 : 0;
    for (const JudgedAnswer* answer : members) {
      double below = 0, equal = 0;  // equal lengths share the middle of their ranks
      for (const JudgedAnswer* other : members) {
        below += other->num_tokens < answer->num_tokens ? 1 : 0;
        equal += other->num_tokens == answer->num_tokens ? 1 : 0;
      }
      const double rank = (below + equal / 2) / n;  // in (0, 1)
      const auto bin = static_cast<size_t>(rank * static_cast<double>(kRankBins));
      values.push_back({group, bin, rank - 0.5, (*answer->correct ? 1 : 0) - num_right / n});
    }
    ++curve.num_prompts;
  }
  curve.num_answers = static_cast<int64_t>(values.size());
  if (values.size() < kMinCurveAnswers) return curve;
  curve.bins = fill_bins(values, kRankBins, bootstrap);
  std::vector<Estimate> bounds;
  for (const LengthBin& bin : curve.bins) bounds.push_back(bin.accuracy);
  judge(curve, bounds);
  return curve;
}

}  // namespace vernier
