// What a report says: run folders, read and summed up. Nothing is written here.
//
// Lengths are in tokens, times in seconds, accuracies are shares of 1. NaN stands for "undefined".
// Only answers that ended by `stop` or `length` are looked at: a deadline or an abort says
// something about the machine, not about the policy.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/base/json.h"
#include "core/metrics/curve_fits.h"
#include "tools/report_prompts.h"
#include "tools/report_stats.h"
#include "tools/report_training.h"

namespace vernier {

/// Points of a run that a curve over steps is drawn with; of a longer run each is a block of steps.
inline constexpr size_t kMaxDrawnSteps = 400;

/// One row of phase `rl`.
struct TrainRow {
  int64_t step = 0;
  double reward = kUndefined, accuracy = kUndefined;
  double mean_length = kUndefined, clipped_ratio = kUndefined;
  double right_mean = kUndefined, right_p50 = kUndefined, right_p90 = kUndefined;
  double wrong_mean = kUndefined, wrong_p50 = kUndefined, wrong_p90 = kUndefined;
  double loss = kUndefined, grad_norm = kUndefined, time_s = kUndefined, dot_cut = kUndefined;
  double rollout_s = kUndefined, score_s = kUndefined, credit_s = kUndefined, update_s = kUndefined;
};

/// Accuracy and length if every answer of an evaluation had been cut at a budget.
struct BudgetPoint {
  int64_t budget = 0;  // tokens
  Estimate accuracy, mean_length;
};

/// One evaluation.
struct Checkpoint {
  int64_t step = 0;
  Estimate accuracy, mean_length;
  double right_length = kUndefined, wrong_length = kUndefined;
  double clipped_ratio = kUndefined;  // only where the responses were read
  int64_t num_prompts = 0, num_answers = 0;
  double time_s = kUndefined;
  std::vector<BudgetPoint> budgets;  // ascending; eval.budgets

  /// Tokens spent for each right answer: mean length over accuracy.
  double tokens_per_correct() const;
};

/// Numbers of answers by length, in bins of `Report::bin_width` from 0 on.
struct LengthHistogram {
  std::vector<int64_t> right, wrong, unjudged;
};

struct Run {
  std::string name, path;
  std::string config;  // text of config.toml; "" where there is none
  int64_t num_sft_steps = 0;
  std::vector<TrainRow> train;          // by step
  std::vector<Checkpoint> checkpoints;  // by step
  Answers first, last;  // of the evaluations, or of the rollouts where there are none
  std::vector<TalliedStep> evaluations;  // by step, those whose responses are there
  Sampled sampled;
  LengthHistogram first_histogram, last_histogram;
  PowerLaw learning;  // of the share of wrong answers over steps, of its evaluations
  Estimate area;      // under the frontier of its evaluations, between the bounds of the report
  DifficultyPanel difficulty;
  std::vector<PushShare> pushes;      // of some stored steps
  std::string pushes_obstacle;        // why there are none
  std::vector<int64_t> stored_steps;  // of rollouts with their texts
  Json samples, lengths;  // of the last stored step (report_samples.h); null without one

  /// Time of the RL steps; NaN where no row states it.
  double wall_s() const;
  /// Of sampling: what it would have taken at the mean length of the first step, in proportion to
  /// the tokens, less what it took. Negative where answers got longer. NaN where no row states it.
  double saved_s() const;
  int64_t num_steps() const;
  /// The first and the last evaluation; undefined numbers where there is none.
  std::pair<Checkpoint, Checkpoint> ends() const;
  /// The last evaluation's share of cut answers, else the last training step's.
  double clipped_ratio() const;
};

/// The start policy of one or more runs: does accuracy rise and fall with length?
struct StartPolicy {
  std::vector<std::string> runs;
  std::string source;
  LengthCurve pooled;
  std::vector<LengthCurve> bands;  // of difficulty, least first; empty without difficulties
  std::string within_source;
  LengthCurve within;  // x: rank of the length in its question, centred; y: accuracy, centred
  LengthOptimum optimum, within_optimum;
  /// Of each difficulty where there are several, and the law that their lengths follow; NaN where
  /// fewer than three difficulties have one.
  struct OfDifficulty {
    double difficulty = 0;
    LengthOptimum optimum;
  };
  std::vector<OfDifficulty> by_difficulty;
  OptimalLengthLaw law;
};

/// Place of a checkpoint in a report.
struct CheckpointPlace {
  size_t run = 0, checkpoint = 0;
};

struct Report {
  ReportSettings settings;
  std::vector<Run> runs;
  std::vector<CheckpointPlace> frontier;               // by length
  double shortest = kUndefined, longest = kUndefined;  // evaluations: bounds of all areas
  Json pairs;  // comparison_json() of the last evaluations; null where fewer than two share prompts
  std::vector<StartPolicy> starts;  // each distinct start policy once
  double bin_width = 1;             // tokens, of every histogram
  size_t running_steps = 1;         // width of the running means over steps
  std::vector<std::string> notes;   // what was left out, and what does not agree
};

/// Reads one run folder, into what does not depend on other runs. Notes say what was left out.
/// Throws UsageError for a damaged row, with file and line.
Run read_run(const std::string& path, std::string name, const ReportSettings& settings,
             std::vector<std::string>& notes);

/// The folders themselves where they are runs (or nothing at all), else the runs in them, by name;
/// no link to one. Each once.
std::vector<std::string> find_runs(const std::vector<std::string>& folders);

/// Reads run folders and computes everything above. Throws UsageError: one line for each folder
/// that is not a run; the first damaged row with file and line (of a tolerant report of several
/// runs a note: the run is left out); a folder given twice. Interrupted where it is to stop.
Report make_report(std::span<const std::string> folders, const ReportSettings& settings = {});

/// One column of the training rows as means over `running_steps` steps. Right and wrong answers
/// need it: a late step has few wrong ones.
std::vector<double> running_column(const Report& report, const Run& run, double TrainRow::*column);

/// One sentence: for which curves of a start policy an inverted U is flagged.
std::string inverted_u_statement(const StartPolicy& start);

}  // namespace vernier
