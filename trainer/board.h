// TensorBoard's view of a run: metrics, lengths, samples.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "core/base/files.h"
#include "core/base/json.h"
#include "core/metrics/event_file.h"
#include "core/types.h"

namespace vernier {

/// Event files in the folder of a run: tensorboard/rl, and tensorboard/sft for the warm start,
/// whose steps count by themselves.
class Board {
 public:
  /// `names`: trl, as in metrics.jsonl, or verl. The last steps that are done are those of a phase
  /// that the run goes on after; what older files say of later ones is forgotten.
  Board(const fs::path& run, std::string names, int64_t sft_step, int64_t rl_step);

  /// Every number of a row of metrics.jsonl.
  void row(const Json& row);
  /// Lengths of the responses of RL step `step`, as sampled: all, right ones, wrong ones.
  void lengths(int64_t step, std::span<const Group> groups);
  /// The first right and the first wrong response of an evaluation that are here.
  void samples(int64_t step, std::span<const Group> groups);
  void sync();

 private:
  EventFile& of(const std::string& phase);

  fs::path folder_;
  std::string names_;
  int64_t sft_step_, rl_step_;
  std::optional<EventFile> sft_, rl_;  // once there is something to say
};

}  // namespace vernier
