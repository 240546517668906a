// Checkpoints: a folder that `transformers` opens, with the trainer's state beside the weights.
//
//   checkpoint-N/      config.json, model.safetensors, tokenizer and generation files
//     adapter/         with LoRA: what PEFT opens; the weights above are merged with it
//     trainer/         optimizer.safetensors, state.json, manifest.json (sizes and hashes)
//
// Where ranks share the optimizer state, each writes its slice (core/comm/slices.h),
// optimizer-R-of-W.safetensors; any other number of ranks can read them.
//
// Committed means durable: every file is flushed, the manifest last, then the folder gets its name
// and its parent is flushed. A folder without a valid manifest does not count; the newest is found
// by looking, never from a pointer file.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/base/json.h"
#include "core/model/model.h"
#include "trainer/adamw.h"

namespace vernier {

/// Where a run stands.
struct Progress {
  std::string phase = "sft";  // "sft", then "rl"
  int64_t step = 0;           // completed in this phase
  int64_t last_eval = -1;     // step of the last finished evaluation
  int64_t nonfinite_in_a_row = 0;
  int64_t next_prompt = 0;  // place in the source of training prompts
  // Of the last steps, where rollout.filter predicts from them.
  std::vector<double> pass_rates = {};
  Json algorithm = nullptr;  // Algorithm::state() after the last finished step
  Json rewards = nullptr;    // ScoringChain::state() after the last finished step
  Json guard = nullptr;      // Guard::state() after the last evaluation
  Json data = nullptr;       // PromptSource::state() after the last finished step

  bool operator==(const Progress&) const = default;
};

/// Folder of the adapter in a checkpoint.
inline constexpr const char* kAdapterFolder = "adapter";

/// "checkpoint-40" or, during the warm start, "checkpoint-sft-500".
std::string checkpoint_name(const Progress& progress);

/// Writes a checkpoint into the run folder. Does nothing where it is there already with the same
/// state: then its weights are the same too.
void save_checkpoint(const fs::path& run, Decoder& decoder, const Tokenizer& tokenizer,
                     const OptimizerState& optimizer, const Progress& progress);
/// The same by all `ranks` together: the first one writes what all have.
void save_checkpoint(const fs::path& run, Decoder& decoder, const Tokenizer& tokenizer,
                     const OptimizerState& optimizer, const Progress& progress, Ranks& ranks);

/// Folders of checkpoints, oldest first; valid or not.
std::vector<fs::path> list_checkpoints(const fs::path& run);

/// What is wrong with a checkpoint, or "" where every file has the size and hash of the manifest.
std::string check_checkpoint(const fs::path& checkpoint);

/// The newest checkpoint that is whole. Warns of each that is passed over.
std::optional<fs::path> find_checkpoint(const fs::path& run);

/// Reads optimizer state, or the slice that it is of, and progress of a checkpoint of this model.
/// An older one that does not say which prompt is next has drawn `prompts_per_step` in every step.
Progress load_trainer_state(const fs::path& checkpoint, int64_t prompts_per_step,
                            OptimizerState& optimizer);

/// Makes way for a run that goes on from `start` (null: from the beginning): checkpoints that come
/// after it get the ending .superseded, damaged ones .damaged, and what a crash left half written
/// goes. Evaluations and rollouts of later steps get the ending .superseded too.
void clear_after(const fs::path& run, const fs::path* start);

/// Deletes all but the newest `keep` RL checkpoints, the first, and those at the steps `kept`; and
/// the warm start's once RL has begun.
void prune_checkpoints(const fs::path& run, int64_t keep, std::span<const int64_t> kept);

}  // namespace vernier
