// What was sampled in training, read from the index files of the rollouts: one pass, and of a step
// only a few numbers are kept.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/base/files.h"
#include "tools/report_stats.h"

namespace vernier {

/// How runs are read.
struct ReportSettings {
  Bootstrap bootstrap = {};
  bool tolerant = false;                    // a run that cannot be read is left out, with a note
  const std::atomic<bool>* stop = nullptr;  // where it becomes true the reading is given up
};

/// The measured responses of one file.
struct Answers {
  std::string source;  // "eval/step_0.jsonl"; "" where there is none
  int64_t step = -1;
  std::vector<JudgedAnswer> rows;
  int64_t num_clipped = 0;                  // of `rows`, ended by `length`
  int64_t num_unmeasured = 0;               // ended by deadline or abort; not in `rows`
  std::map<int64_t, std::string> problems;  // by group, where the file names them
};

/// Tokens that were sampled in training.
struct SampledTokens {
  int64_t num_steps = 0, num_answers = 0, num_right = 0;
  int64_t tokens = 0, right_tokens = 0;
};

/// Quantiles of the lengths sampled in blocks of steps.
struct LengthFan {
  static constexpr std::array<double, 5> kShares = {0.1, 0.25, 0.5, 0.75, 0.9};
  std::vector<int64_t> step;                                  // last of each block
  std::array<std::vector<double>, kShares.size()> quantiles;  // [share][block], tokens
};

/// Where accuracy is highest, among the answers of a range of steps.
struct TrainingOptimum {
  int64_t first_step = 0, last_step = 0;
  double mean_length = kUndefined;
  LengthOptimum pooled, within;
  LengthCurve curve;  // pooled
};

/// What of a step's advantages is due to length: A, and A less A0, the advantage with every length
/// of a group set to their mean and no transform that depends on length.
struct PushShare {
  int64_t step = 0, num_responses = 0;
  double push = 0, due_to_length = 0;  // sums of absolute values
};

struct Sampled {
  SampledTokens tokens;
  int64_t num_unmeasured = 0;  // ended by deadline or abort, and nowhere else in this
  LengthFan fan;
  std::vector<TrainingOptimum> optima;  // by step
  Answers first, last;                  // the first and the last step that is stored
};

/// The measured responses of a step_N.idx; `source`: its name in the run. Those of older runs do
/// not say how a response ended: all count as ended by themselves. Throws UsageError for a damaged
/// line, with file and line.
Answers read_index(const fs::path& path, std::string source, int64_t step);

/// Reads rollouts/step_N.idx of a run; nothing where there is none. Blocks of the fan are so long
/// that there are at most `max_blocks`. Throws UsageError as read_index().
Sampled read_sampled(const fs::path& run, size_t max_blocks, const ReportSettings& settings);

}  // namespace vernier
