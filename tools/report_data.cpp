#include "tools/report_data.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <set>
#include <utility>

#include "core/base/errors.h"
#include "core/base/files.h"
#include "core/base/text.h"
#include "tools/comparison.h"

namespace vernier {
namespace {

constexpr size_t kMaxDifficulties = 24;  // more are no levels, but a scale
constexpr size_t kMaxPairedRuns = 6;     // more make too many pairs for one page

std::vector<CheckpointPlace> find_frontier(const std::vector<Run>& runs) {
  std::vector<TradeOff> points;
  std::vector<CheckpointPlace> places;
  for (size_t r = 0; r < runs.size(); ++r)
    for (size_t c = 0; c < runs[r].checkpoints.size(); ++c) {
      const Checkpoint& checkpoint = runs[r].checkpoints[c];
      points.push_back({checkpoint.mean_length.value, checkpoint.accuracy.value});
      places.push_back({r, c});
    }
  std::vector<CheckpointPlace> out;
  for (const size_t index : pareto_frontier(points)) out.push_back(places[index]);
  return out;
}

// Bounds of lengths over all evaluations, and each run's area between them.
void measure_areas(Report& report) {
  for (const Run& run : report.runs)
    for (const Checkpoint& checkpoint : run.checkpoints) {
      const double length = checkpoint.mean_length.value;
      if (std::isnan(length) || std::isnan(checkpoint.accuracy.value)) continue;
      report.shortest = std::isnan(report.shortest) ? length : std::min(report.shortest, length);
      report.longest = std::isnan(report.longest) ? length : std::max(report.longest, length);
    }
  for (Run& run : report.runs) {
    std::vector<CurvePoint> wrong;
    for (const Checkpoint& checkpoint : run.checkpoints)
      wrong.push_back({static_cast<double>(checkpoint.step), 1 - checkpoint.accuracy.value});
    run.learning = fit_power_law(wrong);
    run.area =
        area_of_steps(run.evaluations, report.shortest, report.longest, report.settings.bootstrap);
    run.difficulty = difficulty_panel(run.evaluations, report.settings.bootstrap);
  }
}

// Whether two sides answered a prompt in common, and want the same answer of each.
bool share_prompts(const Side& a, const Side& b) {
  bool shared = false;
  for (const auto& [problem, one] : a.prompts) {
    const auto other = b.prompts.find(problem);
    if (other == b.prompts.end()) continue;
    if (one.answer != other->second.answer) return false;
    shared = true;
  }
  return shared;
}

// The last evaluations of the runs, pair by pair on the prompts that both have. Those whose prompts
// are not those of the runs before them are left out.
void compare_runs(Report& report) {
  if (report.runs.size() < 2) return;
  if (report.runs.size() > kMaxPairedRuns) {
    report.notes.push_back(cat("pairs are compared for up to ", kMaxPairedRuns,
                               " runs; `vernier compare` takes more"));
    return;
  }
  ComparisonOptions options;
  options.bootstrap = report.settings.bootstrap;
  std::vector<Side> sides;
  for (const Run& run : report.runs) {
    if (run.evaluations.empty()) continue;
    try {
      Side side = read_side(run.path, options);
      side.name = run.name;
      if (std::ranges::all_of(sides, [&](const Side& one) { return share_prompts(one, side); }))
        sides.push_back(std::move(side));
      else
        report.notes.push_back(cat(run.name,
                                   ": is not compared in pairs: it was evaluated on other ",
                                   "prompts than ", sides.front().name));
    } catch (const UsageError& problem) {
      report.notes.push_back(cat(run.name, ": is not compared in pairs: ", problem.what()));
    }
  }
  if (sides.size() > 1)
    report.pairs = comparison_json(compare_sides(std::move(sides), false, options));
}

// Rollouts of step 0 or 1 were drawn from the start policy as well.
bool from_start(const Answers& rollouts) { return rollouts.step >= 0 && rollouts.step <= 1; }

bool has_groups(std::span<const JudgedAnswer> answers) {
  std::set<int64_t> seen;
  return std::any_of(answers.begin(), answers.end(), [&](const JudgedAnswer& answer) {
    return answer.correct && !seen.insert(answer.group).second;
  });
}

// The length of highest accuracy of each difficulty, and the law of those that have one for sure.
void find_law(StartPolicy& start, std::span<const JudgedAnswer> answers,
              const Bootstrap& bootstrap) {
  std::map<double, std::vector<JudgedAnswer>> by_difficulty;
  for (const JudgedAnswer& answer : answers)
    if (answer.difficulty) by_difficulty[*answer.difficulty].push_back(answer);
  std::vector<CurvePoint> points;
  if (by_difficulty.size() <= kMaxDifficulties)
    for (const auto& [difficulty, rows] : by_difficulty) {
      const LengthOptimum optimum = length_optimum(rows, false, bootstrap);
      start.by_difficulty.push_back({difficulty, optimum});
      if (optimum.is_certain()) points.push_back({difficulty, optimum.length.value});
    }
  start.law = fit_optimal_lengths(points);
}

std::vector<StartPolicy> find_starts(const std::vector<Run>& runs, const Bootstrap& bootstrap) {
  std::vector<StartPolicy> out;
  std::vector<const Answers*> known;
  for (const Run& run : runs) {
    const bool rolled = from_start(run.sampled.first);
    const bool evaluated = run.first.step == 0;
    if (!rolled && !evaluated) continue;
    const Answers& pooled = evaluated ? run.first : run.sampled.first;
    if (pooled.rows.empty()) continue;
    const auto same = std::find_if(known.begin(), known.end(), [&](const Answers* other) {
      return other->rows == pooled.rows;
    });
    if (same != known.end()) {
      out[static_cast<size_t>(same - known.begin())].runs.push_back(run.name);
      continue;
    }
    known.push_back(&pooled);
    StartPolicy& start = out.emplace_back();
    start.runs = {run.name};
    start.source = pooled.source;
    start.pooled = length_curve("all answers", pooled.rows, bootstrap);
    start.bands = difficulty_curves(pooled.rows, bootstrap);
    const Answers& grouped = has_groups(pooled.rows) || !rolled ? pooled : run.sampled.first;
    start.within_source = grouped.source;
    start.within = within_question_curve(grouped.rows, bootstrap);
    start.optimum = length_optimum(pooled.rows, false, bootstrap);
    start.within_optimum = length_optimum(grouped.rows, true, bootstrap);
    find_law(start, pooled.rows, bootstrap);
  }
  return out;
}

LengthHistogram make_histogram(const Answers& answers, double width, size_t num_bins) {
  LengthHistogram out;
  for (auto* counts : {&out.right, &out.wrong, &out.unjudged}) counts->assign(num_bins, 0);
  for (const JudgedAnswer& answer : answers.rows) {
    const auto bin = static_cast<size_t>(static_cast<double>(answer.num_tokens) / width);
    ++(!answer.correct ? out.unjudged : *answer.correct ? out.right : out.wrong)[bin];
  }
  return out;
}

// One width for all runs, of the form 1, 2 or 5 times a power of ten, for 16 to 40 bins or fewer.
void make_histograms(Report& report) {
  int64_t longest = 0;
  for (const Run& run : report.runs)
    for (const Answers* answers : {&run.first, &run.last})
      for (const JudgedAnswer& answer : answers->rows)
        longest = std::max(longest, answer.num_tokens);
  const double wanted = std::max(1.0, static_cast<double>(longest) / 40);
  const double power = std::pow(10.0, std::floor(std::log10(wanted)));
  const double lead = wanted / power;
  report.bin_width = power * (lead <= 1 ? 1 : lead <= 2 ? 2 : lead <= 5 ? 5 : 10);
  const auto num_bins = static_cast<size_t>(static_cast<double>(longest) / report.bin_width) + 1;
  for (Run& run : report.runs) {
    run.first_histogram = make_histogram(run.first, report.bin_width, num_bins);
    run.last_histogram = make_histogram(run.last, report.bin_width, num_bins);
  }
}

bool is_run(const fs::path& folder) {
  std::error_code missing;
  return fs::is_regular_file(folder / "metrics.jsonl", missing);
}

// Folder names as names of runs; the whole path where two folders have the same name.
std::vector<std::string> run_names(std::span<const std::string> folders) {
  std::map<std::string, int> uses;
  std::set<fs::path> seen;
  std::vector<std::string> names;
  std::string problems;
  for (const std::string& folder : folders) {
    std::error_code missing;
    const fs::path full = fs::weakly_canonical(folder, missing);
    if (!fs::is_directory(full, missing))
      problems += cat("\n", folder, ": is not a folder; a run folder with metrics.jsonl is wanted");
    else if (!is_run(full))
      problems += cat("\n", folder, ": is not a run: it has no metrics.jsonl");
    else if (!seen.insert(full).second)
      problems += cat("\n", folder, ": is given twice");
    names.push_back(full.filename().string());
    ++uses[names.back()];
  }
  if (!problems.empty()) fail(problems.substr(1));
  for (size_t i = 0; i < names.size(); ++i)
    if (uses[names[i]] > 1) names[i] = folders[i];
  return names;
}

}  // namespace

std::vector<std::string> find_runs(const std::vector<std::string>& folders) {
  std::vector<std::string> out;
  for (const std::string& folder : folders) {
    if (is_run(folder)) {
      out.push_back(folder);
      continue;
    }
    std::error_code missing;
    std::set<std::string> inside;
    for (fs::directory_iterator entry(folder, missing), end; !missing && entry != end;
         entry.increment(missing))
      if (std::error_code gone;
          !entry->is_symlink(gone) && entry->is_directory(gone) && is_run(entry->path()))
        inside.insert(entry->path().string());
    out.insert(out.end(), inside.begin(), inside.end());
  }
  // One may be named beside the folder that it is in.
  std::set<fs::path> seen;
  std::erase_if(out, [&](const std::string& run) {
    std::error_code missing;
    return !seen.insert(fs::weakly_canonical(run, missing)).second;
  });
  return out;
}

Report make_report(std::span<const std::string> folders, const ReportSettings& settings) {
  if (folders.empty()) fail("report: no run folder given");
  Report report;
  report.settings = settings;
  const std::vector<std::string> names = run_names(folders);
  for (size_t i = 0; i < folders.size(); ++i) {
    try {
      report.runs.push_back(read_run(folders[i], to_valid_utf8(names[i]), settings, report.notes));
    } catch (const UsageError& problem) {
      if (!settings.tolerant || folders.size() == 1) throw;
      report.notes.push_back(cat(names[i], ": is left out: ", problem.what()));
    }
  }
  if (report.runs.empty()) fail("none of the runs can be read: ", join(report.notes, "; "));
  report.frontier = find_frontier(report.runs);
  measure_areas(report);
  compare_runs(report);
  report.starts = find_starts(report.runs, settings.bootstrap);
  make_histograms(report);
  for (const Run& run : report.runs)
    report.running_steps = std::max(report.running_steps, 2 * (run.train.size() / 40) + 1);
  return report;
}

std::vector<double> running_column(const Report& report, const Run& run, double TrainRow::*column) {
  std::vector<double> values;
  for (const TrainRow& row : run.train) values.push_back(row.*column);
  return running_mean(values, report.running_steps);
}

std::string inverted_u_statement(const StartPolicy& start) {
  const auto range = [](const LengthBin& bin) {
    return cat(static_cast<int64_t>(bin.low), "–", static_cast<int64_t>(bin.high), " tokens");
  };
  std::vector<std::string> yes, no, unknown;
  std::vector<const LengthCurve*> curves = {&start.pooled};
  for (const LengthCurve& band : start.bands) curves.push_back(&band);
  for (const LengthCurve* curve : curves) {
    if (curve->bins.size() < 3)
      unknown.push_back(curve->label);
    else if (curve->inverted_u)
      yes.push_back(cat(curve->label, " (peak at ", range(curve->bins[curve->peak]), ")"));
    else
      no.push_back(cat(curve->label, " (highest at ", range(curve->bins[curve->peak]), ")"));
  }
  if (start.within.bins.size() < 3)
    unknown.push_back(start.within.label);
  else
    (start.within.inverted_u ? yes : no).push_back(start.within.label);
  std::string out = cat("Inverted U flagged: ", yes.empty() ? "for no curve" : join(yes), ".");
  if (!no.empty()) out += cat(" Not flagged: ", join(no), ".");
  if (!unknown.empty()) out += cat(" Too few answers to say: ", join(unknown), ".");
  return out;
}

}  // namespace vernier
