// What a report says: run folders, read and summed up. Nothing is written here.
//
// Lengths are in tokens, times in seconds, accuracies are shares of 1. NaN stands for "undefined".
// Only answers that ended by `stop` or `length` are looked at: a deadline or an abort says
// something about the machine, not about the policy.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tools/report_stats.h"

namespace vernier {

/// The measured responses of one file.
struct Answers {
  std::string source;  // "eval/step_0.jsonl"; "" where there is none
  int64_t step = -1;
  std::vector<JudgedAnswer> rows;
  int64_t num_clipped = 0;     // of `rows`, ended by `length`
  int64_t num_unmeasured = 0;  // ended by deadline or abort; not in `rows`
};

/// One row of phase `rl`.
struct TrainRow {
  int64_t step = 0;
  double reward = kUndefined, accuracy = kUndefined;
  double mean_length = kUndefined, clipped_ratio = kUndefined;
  double right_mean = kUndefined, right_p50 = kUndefined, right_p90 = kUndefined;
  double wrong_mean = kUndefined, wrong_p50 = kUndefined, wrong_p90 = kUndefined;
  double loss = kUndefined, grad_norm = kUndefined, time_s = kUndefined, dot_cut = kUndefined;
};

/// One evaluation.
struct Checkpoint {
  int64_t step = 0;
  Estimate accuracy, mean_length;
  double right_length = kUndefined, wrong_length = kUndefined;
  double clipped_ratio = kUndefined;  // only where the responses were read
  int64_t num_prompts = 0, num_answers = 0;

  /// Tokens spent for each right answer: mean length over accuracy.
  double tokens_per_correct() const;
};

/// Tokens that were sampled in training, from the index files of the rollouts.
struct SampledTokens {
  int64_t num_steps = 0, num_answers = 0, num_right = 0;
  int64_t tokens = 0, right_tokens = 0;
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
  Answers first_rollouts;
  SampledTokens sampled;
  LengthHistogram first_histogram, last_histogram;

  /// Time of the RL steps; NaN where no row states it.
  double wall_s() const;
  int64_t num_steps() const;
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
};

/// Place of a checkpoint in a report.
struct CheckpointPlace {
  size_t run = 0, checkpoint = 0;
};

struct Report {
  Bootstrap bootstrap;
  std::vector<Run> runs;
  std::vector<CheckpointPlace> frontier;  // by length
  std::vector<StartPolicy> starts;        // each distinct start policy once
  double bin_width = 1;                   // tokens, of every histogram
  size_t running_steps = 1;               // width of the running means over steps
  std::vector<std::string> notes;         // what was left out, and what does not agree
};

/// Reads run folders and computes everything above. Throws UsageError: one line for each folder
/// that is not a run; the first damaged row with file and line; a folder given twice.
Report make_report(std::span<const std::string> folders, const Bootstrap& bootstrap = {});

/// One column of the training rows as means over `running_steps` steps. Right and wrong answers
/// need it: a late step has few wrong ones.
std::vector<double> running_column(const Report& report, const Run& run, double TrainRow::*column);

/// One sentence: for which curves of a start policy an inverted U is flagged.
std::string inverted_u_statement(const StartPolicy& start);

}  // namespace vernier
