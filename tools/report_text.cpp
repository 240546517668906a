// A report for a terminal: the summary as a table, the main curves in braille.
#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "core/base/text.h"
#include "tools/report_html.h"
#include "tools/report_numbers.h"

namespace vernier {
namespace {

constexpr size_t kChartWidth = 36, kChartHeight = 8;  // characters of two by four dots
constexpr size_t kMaxChartedRuns = 12;

// Characters; UTF-8 continuation bytes take no place.
size_t width_of(const std::string& text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

std::string pad(const std::string& text, size_t width, bool left) {
  const size_t length = width_of(text);
  const std::string space(width > length ? width - length : 0, ' ');
  return left ? text + space : space + text;
}

std::string with_interval(const Estimate& estimate,
                          const std::function<std::string(double)>& format) {
  if (std::isnan(estimate.low) || std::isnan(estimate.high)) return format(estimate.value);
  return cat(format(estimate.value), " (", format(estimate.low), "–", format(estimate.high), ")");
}

std::string aligned(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths(rows.front().size(), 0);
  for (const auto& row : rows)
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width_of(row[i]));
  std::string out;
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i)
      out += cat(i > 0 ? "  " : "", pad(row[i], widths[i], /*left=*/i == 0));
    out += "\n";
  }
  return out;
}

// A curve in dots, two across and four down in a character.
class Canvas {
 public:
  Canvas() : cells_(kChartHeight, std::vector<unsigned>(kChartWidth, 0)) {}

  static constexpr size_t kColumns = 2 * kChartWidth, kRows = 4 * kChartHeight;

  void line(size_t x0, size_t y0, size_t x1, size_t y1) {
    const auto steps =
        static_cast<size_t>(std::max(std::abs(static_cast<double>(x1) - static_cast<double>(x0)),
                                     std::abs(static_cast<double>(y1) - static_cast<double>(y0))));
    for (size_t i = 0; i <= steps; ++i) {
      const double share = steps > 0 ? static_cast<double>(i) / static_cast<double>(steps) : 0;
      dot(mix(x0, x1, share), mix(y0, y1, share));
    }
  }

  std::string row(size_t y) const {
    std::string out;
    for (const unsigned dots : cells_[y]) {
      const unsigned code = 0x2800 + dots;
      out += static_cast<char>(0xE0 | code >> 12);
      out += static_cast<char>(0x80 | (code >> 6 & 0x3F));
      out += static_cast<char>(0x80 | (code & 0x3F));
    }
    return out;
  }

 private:
  static size_t mix(size_t from, size_t to, double share) {
    return static_cast<size_t>(
        std::lround(static_cast<double>(from) * (1 - share) + static_cast<double>(to) * share));
  }
  // Row 0 is the lowest.
  void dot(size_t x, size_t y) {
    constexpr unsigned kDots[4][2] = {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};
    const size_t from_top = kRows - 1 - y;
    cells_[from_top / 4][x / 2] |= kDots[from_top % 4][x % 2];
  }

  std::vector<std::vector<unsigned>> cells_;
};

struct Curve {
  std::vector<double> x, y;
};

// Evaluations where there are enough for a curve, else what was sampled in training.
Curve curve_of(const Report& report, const Run& run, Estimate Checkpoint::*evaluated,
               double TrainRow::*trained) {
  Curve out;
  for (const Checkpoint& checkpoint : run.checkpoints) {
    if (std::isnan((checkpoint.*evaluated).value)) continue;
    out.x.push_back(static_cast<double>(checkpoint.step));
    out.y.push_back((checkpoint.*evaluated).value);
  }
  if (out.x.size() >= 3) return out;
  Curve training;
  const std::vector<double> values = running_column(report, run, trained);
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isnan(values[i])) continue;
    training.x.push_back(static_cast<double>(run.train[i].step));
    training.y.push_back(values[i]);
  }
  return training.x.size() > out.x.size() ? training : out;
}

// Lines of a chart with its ends written beside it; empty for less than two points.
std::vector<std::string> chart(const Curve& curve, const std::function<std::string(double)>& format,
                               const std::string& title) {
  if (curve.x.size() < 2) return {};
  const auto [low, high] = std::minmax_element(curve.y.begin(), curve.y.end());
  const double first = curve.x.front(), last = curve.x.back();
  const double range = *high > *low ? *high - *low : 1;
  Canvas canvas;
  const auto place = [](double share, size_t count) {
    return static_cast<size_t>(std::lround(share * static_cast<double>(count - 1)));
  };
  const auto at = [&](size_t i) {
    return std::pair(place((curve.x[i] - first) / (last - first), Canvas::kColumns),
                     place((curve.y[i] - *low) / range, Canvas::kRows));
  };
  for (size_t i = 0; i + 1 < curve.x.size(); ++i) {
    const auto [x0, y0] = at(i);
    const auto [x1, y1] = at(i + 1);
    canvas.line(x0, y0, x1, y1);
  }
  const std::string top = format(*high), bottom = format(*low);
  const size_t label = std::max(width_of(top), width_of(bottom));
  std::vector<std::string> out = {
      pad(std::string(label + 2, ' ') + title, label + 2 + kChartWidth, /*left=*/true)};
  for (size_t y = 0; y < kChartHeight; ++y)
    out.push_back(cat(pad(y == 0                  ? top
                          : y + 1 == kChartHeight ? bottom
                                                  : std::string(),
                          label, /*left=*/false),
                      " │", canvas.row(y)));
  const std::string from = fixed(first, 0), to = cat("step ", fixed(last, 0));
  out.push_back(cat(std::string(label + 2, ' '), from,
                    pad(to, kChartWidth - width_of(from), /*left=*/false)));
  return out;
}

std::string curves(const Report& report) {
  std::string out;
  for (size_t r = 0; r < std::min(report.runs.size(), kMaxChartedRuns); ++r) {
    const Run& run = report.runs[r];
    const auto left = chart(curve_of(report, run, &Checkpoint::accuracy, &TrainRow::accuracy),
                            percent_text, "accuracy [%]");
    const auto right =
        chart(curve_of(report, run, &Checkpoint::mean_length, &TrainRow::mean_length), tokens_text,
              "mean length [tokens]");
    if (left.empty() && right.empty()) continue;
    out += cat("\n", run.name, "\n");
    for (size_t i = 0; i < std::max(left.size(), right.size()); ++i) {
      const std::string first = i < left.size() ? left[i] : std::string();
      out +=
          cat(pad(first, kChartWidth + 12, /*left=*/true), i < right.size() ? right[i] : "", "\n");
    }
  }
  if (report.runs.size() > kMaxChartedRuns)
    out += cat("\nCurves of the first ", kMaxChartedRuns, " runs; --out has all.\n");
  return out;
}

}  // namespace

std::string report_text(const Report& report) {
  std::vector<std::vector<std::string>> rows = {{"run", "accuracy start [%]", "accuracy last [%]",
                                                 "length start [tokens]", "length last [tokens]",
                                                 "area [%]", "tokens/correct", "clipped [%]",
                                                 "answers", "prompts", "steps", "time"}};
  for (const Run& run : report.runs) {
    const auto [start, last] = run.ends();
    rows.push_back(
        {run.name, with_interval(start.accuracy, percent_text),
         with_interval(last.accuracy, percent_text), with_interval(start.mean_length, tokens_text),
         with_interval(last.mean_length, tokens_text), with_interval(run.area, percent_text),
         tokens_text(last.tokens_per_correct()), percent_text(run.clipped_ratio()),
         whole_text(last.num_answers), whole_text(last.num_prompts), whole_text(run.num_steps()),
         seconds_text(run.wall_s())});
  }
  std::string out =
      cat(aligned(rows), "\nIn parentheses 95 % intervals over prompts (",
          whole_text(report.settings.bootstrap.draws), " draws, seed ",
          report.settings.bootstrap.seed, "), or as the run stated them.\n", curves(report),
          "\nFrontier (shorter or more accurate than every other checkpoint):\n");
  for (const CheckpointPlace& place : report.frontier) {
    const Run& run = report.runs[place.run];
    const Checkpoint& checkpoint = run.checkpoints[place.checkpoint];
    out += cat("  ", tokens_text(checkpoint.mean_length.value), " tokens, ",
               percent_text(checkpoint.accuracy.value), " %: ", run.name, ", step ",
               checkpoint.step, "\n");
  }
  for (const StartPolicy& start : report.starts)
    out += cat("\nStart policy of ", join(start.runs), " (", start.source, ", ",
               whole_text(start.pooled.num_answers), " answers to ",
               whole_text(start.pooled.num_prompts), " prompts)\n  ", inverted_u_statement(start),
               "\n");
  for (const Run& run : report.runs)
    if (!run.difficulty.alarm.empty())
      out += cat("\nAlarm: ", run.name, ": ", run.difficulty.alarm, "\n");
  if (!report.notes.empty()) out += "\n";
  for (const std::string& note : report.notes) out += cat("Note: ", note, "\n");
  return out;
}

}  // namespace vernier
