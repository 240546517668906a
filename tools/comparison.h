// Models or runs on the same prompts: which is better, which is only longer?
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/base/json.h"
#include "core/metrics/paired.h"
#include "core/types.h"

namespace vernier {

/// How a comparison counts.
struct ComparisonOptions {
  std::string unit = "tokens", after;  // of lengths: units.h
  AesFactors aes;
  Bootstrap bootstrap;  // of intervals and of drawn signs
};

/// What one side made of one prompt.
struct SidePrompt {
  std::string answer;  // of the data
  Tally right, length;
};

/// One of those that are compared. Only the sums of each prompt are kept.
struct Side {
  std::string name;
  std::map<std::string, SidePrompt> prompts;  // by problem
  int64_t num_samples = 0;                    // measured and judged
  int64_t num_unjudged = 0;                   // without a verdict, left out
  int64_t num_unmeasured = 0;                 // ended by a deadline or aborted, left out

  /// As they were sampled, before any cut of a transform. A response without a verdict is judged by
  /// its row's rule, where it has one. Throws UsageError where a problem comes with two answers.
  void add(const Group& group, const ComparisonOptions& options);
};

/// Rollout rows of a file, of a rollouts folder, or of a run's last evaluation; groups that were
/// only measured for a reward are left out. Throws UsageError where there is none.
Side read_side(const std::string& path, const ComparisonOptions& options);

/// The second of two sides against the first.
struct PairComparison {
  size_t first = 0, second = 0;  // places among the sides
  int64_t num_prompts = 0;       // that both answered: all numbers below are of these
  int64_t only_first = 0, only_second = 0;
  Estimate accuracy, length;  // second less first
  Estimate length_ratio;      // second over first
  double accuracy_p = 1, length_p = 1;
  double accuracy_p_holm = 1, length_p_holm = 1;  // over all pairs
  LengthControlEstimate wins;                     // of the second
  double aes = kUndefined;                        // of the second, the first as the reference
};

/// How much of what training on hard prompts gains comes with training on easy ones: (easy -
/// untrained) / (hard - untrained), accuracies on prompts that all three answered. Hase et al.,
/// "The Unreasonable Effectiveness of Easy Training Data for Hard Tasks", arXiv:2401.06751.
struct SupervisionGap {
  int64_t num_prompts = 0;
  Estimate hard_gain;  // hard less untrained
  Estimate recovered;  // undefined where the gain's interval holds 0: a ratio to nothing
};

struct Comparison {
  ComparisonOptions options;
  std::vector<Side> sides;
  std::vector<PairComparison> pairs;
  std::optional<SupervisionGap> gap;
};

/// Compares every pair of sides. `gap`: the three sides are the untrained policy, the one that was
/// trained on easy prompts, and the one that was trained on hard ones. Throws UsageError where two
/// sides share no prompt, or answer the same problem with other right answers.
Comparison compare_sides(std::vector<Side> sides, bool gap, const ComparisonOptions& options);

Json comparison_json(const Comparison& comparison);
std::string comparison_text(const Comparison& comparison);

}  // namespace vernier
