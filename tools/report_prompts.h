// Evaluations prompt by prompt: areas under frontiers, and what easy and hard prompts do while the
// policy trains. Pure.
//
// Lengths are in tokens, accuracies are shares of 1. NaN stands for "undefined".
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tools/report_stats.h"

namespace vernier {

/// Sums over the measured answers to one prompt.
struct PromptTally {
  int64_t group = 0;
  std::optional<double> difficulty;
  Tally right, length;  // of those with a verdict; of all

  /// NaN without a verdict.
  double pass_rate() const { return right.count > 0 ? right.sum / right.count : kUndefined; }
};

/// One evaluation.
struct TalliedStep {
  int64_t step = 0;
  std::vector<PromptTally> prompts;  // by group
};

/// By group.
std::vector<PromptTally> tally_prompts(std::span<const JudgedAnswer> answers);

/// Area under the frontier of the evaluations of one run (frontier_area()), with an interval over
/// the prompts that all of them have. A draw of prompts with long answers moves all lengths, of
/// other runs too: the bounds move with it, by the mean change of the logarithms of the lengths.
Estimate area_of_steps(std::span<const TalliedStep> steps, double shortest, double longest,
                       const Bootstrap& bootstrap);

/// Prompts of like difficulty, over the evaluations of one run.
struct DifficultyBand {
  struct Point {
    int64_t step = 0;
    Estimate accuracy, mean_length;
  };
  std::string label;
  int64_t num_prompts = 0;
  std::vector<Point> points;  // by step
  /// Last evaluation less the first, prompts paired; of the length as a share of the first.
  Estimate accuracy_change, length_change;
};

struct DifficultyPanel {
  std::string source;                 // what the bands were made from; "" where there are none
  std::vector<DifficultyBand> bands;  // easiest first
  std::string alarm;                  // "" without one
  /// Mean lengths of the prompts that a step always and never solves. Which those are changes from
  /// step to step, with length: to look at beside the bands, not instead of them.
  struct Solved {
    int64_t step = 0;
    double always_length = kUndefined, never_length = kUndefined;
  };
  std::vector<Solved> solved;
};

/// Bands are fixed: by the data's difficulty where it has several values, else by the pass rate at
/// the first evaluation; a third of the prompts each, or each value where there are at most four.
/// The alarm is about the hardest band: its answers have become shorter (95 %), and not more often
/// right.
DifficultyPanel difficulty_panel(std::span<const TalliedStep> steps, const Bootstrap& bootstrap);

}  // namespace vernier
