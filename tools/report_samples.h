// The stored rollouts of a run, for looking at: texts, lengths of whole groups, and what of each
// push is due to length.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/base/files.h"
#include "core/base/json.h"
#include "tools/report_training.h"
#include "tools/scorer.h"

namespace vernier {

/// Stored steps of one run. Nothing that the configuration names is started or opened, but the
/// model's tokenizer. Damaged rows are UsageErrors, as read_rollouts() has them. What its
/// configuration cannot tell stays empty, with a note of why.
class StoredRollouts {
 public:
  explicit StoredRollouts(const fs::path& run);

  /// Ascending.
  const std::vector<int64_t>& steps() const { return steps_; }

  /// At most `count` steps, evenly, the last one among them.
  std::vector<int64_t> evenly(size_t count) const;

  /// Groups `from` to `from + count` of a step: prompt, and its samples with text, rewards,
  /// advantage and, where the rows have token ids, the text of each token with its log-probability
  /// and weight version. Texts are cut after some thousand bytes, and say so.
  ///
  ///   {"step", "source", "from", "num_groups", "groups": [{"group", "problem", "prompt", "answer",
  ///    "difficulty", "samples": [{"sample", "num_tokens", "raw_num_tokens", …}]}]}
  Json groups(int64_t step, int64_t from, int64_t count) const;

  /// Of up to `max_groups` groups, evenly over the step: what the length rules look at.
  ///
  ///   {"step", "source", "max_completion_length", "num_groups", "groups": [{"group", "problem",
  ///    "sample": [], "length": [], "correct": [], "ended": [], "first_correct": [],
  ///    "advantage": [], "kept": [], "correct_after": []}]}
  ///
  /// "length" and "correct" are as sampled, "kept" and "correct_after" those of after the run's own
  /// transforms.
  Json lengths(int64_t step, int64_t max_groups) const;

  /// Throws UsageError where the rows lack what the algorithm's advantages need.
  PushShare pushes(int64_t step) const;

  /// Why pushes are not told; "" where they are.
  const std::string& obstacle() const { return obstacle_; }

 private:
  static std::string source(int64_t step);
  std::string file(int64_t step) const;

  fs::path run_;
  std::vector<int64_t> steps_;
  ScoringSetup setup_;
  std::string obstacle_;
};

}  // namespace vernier
