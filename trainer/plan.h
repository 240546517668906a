// What a job takes before it runs: memory by kind and phase, and what would make it fit.
//
// The formulas of sizes lie beside the code that allocates; here they are added up.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/model/memory.h"
#include "core/text/tokenizer.h"
#include "trainer/packing.h"
#include "trainer/run_config.h"

namespace vernier {

/// Keys of a configuration that trade memory for time.
struct PlanSettings {
  TrainingOptions training;
  bool moments_in_bytes = false;
  WeightFormat weights = WeightFormat::fp32;  // that responses are drawn with
  int64_t max_running = 0, max_step_tokens = 0;
  int64_t max_tokens = 0;      // of a micro-batch
  std::string shard = "none";  // of several ranks, as the next one
  int64_t rollout_ranks = 0;   // that only sample
  double kv_cache_gb = 0;

  explicit PlanSettings(const RunConfig& config);
};

/// What a batch of responses is to the engine.
struct PlannedDraw {
  int64_t sequences = 0, longest_prompt = 0;
  double mean_prompt = 0, mean_length = 0;  // tokens
  double mean_drawn = 0;  // those of mean_length that are drawn, not kept of another's thinking
  int64_t num_generations = 1;   // of a group
  int64_t of_configuration = 1;  // rollout.num_generations, by which the engine sizes its cache
};

/// A job as far as its sizes go: the model's header, the prompts of the first step, no weights.
class PlannedJob {
 public:
  /// Reads files as `train` does, and raises its UsageErrors. Responses are taken to have
  /// `mean_length` tokens each (0: rollout.max_completion_length), or their row's limit. UsageError
  /// where the job is not one process's on a CPU, unless it is planned `for_cluster`.
  PlannedJob(const RunConfig& config, double mean_length, bool for_cluster = false);

  const RunConfig& config() const { return config_; }
  const Decoder& model() const { return *model_; }  // on at::kMeta
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  /// Of a step and of an evaluation; nothing where the job has none.
  const std::optional<PlannedDraw>& rollout() const { return rollout_; }
  const std::optional<PlannedDraw>& evaluation() const { return evaluation_; }
  /// Of the start policy before a step, to those of its prompts that a reward asks it for; nothing
  /// where there are none in the first step.
  const std::optional<PlannedDraw>& reference() const { return reference_; }
  double mean_length() const { return mean_length_; }
  int64_t threads() const { return threads_; }
  int64_t file_bytes() const { return file_bytes_; }

  /// Optimizer steps of an RL step, and how often the tokens of the first one it has.
  int64_t updates() const;
  double share_of_first_update() const;
  /// The micro-batches of the first one. Nothing where there are no RL steps.
  std::vector<PackedBatch> microbatches(int64_t max_tokens) const;
  /// About so many tokens of it, of responses that are cut to fit.
  PackedBatch some_tokens(int64_t tokens) const;
  /// Tokens of it or of a batch of the warm start, which one micro-batch would have to hold, and of
  /// the longest sequence; 0 where the job trains nothing.
  int64_t update_tokens() const { return update_tokens_; }
  int64_t longest_sequence() const { return longest_sequence_; }
  /// The largest micro-batch of RL steps, where an update is computed in so many parts: where there
  /// are several, one of real lengths is as full as the budget allows.
  BatchSize largest(int64_t max_tokens, int64_t parts = 1) const;
  /// The same of the warm start.
  BatchSize largest_demonstrations(int64_t max_tokens, int64_t parts = 1) const;

 private:
  void read_rollouts();
  void read_demonstrations();
  void check_alone() const;
  PlannedDraw draw_of(const std::vector<Prompt>& prompts, int64_t num_generations) const;
  PlannedDraw draw_of_step(const std::vector<Prompt>& prompts) const;
  std::vector<int64_t> lengths_of_group(const Prompt& prompt) const;
  std::vector<Sequence> part_of_update(int64_t parts) const;
  int64_t group_size() const { return plan_.group_size(config_.rollout.num_generations); }

  const RunConfig& config_;
  SamplingPlan plan_;
  int64_t exit_tokens_ = 0;  // of the text that closes a thought which is cut
  std::unique_ptr<Decoder> model_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  ChatFormat chat_format_;
  double mean_length_;
  int64_t threads_, file_bytes_ = 0;
  std::vector<Prompt> prompts_;    // of an update
  std::vector<int32_t> response_;  // ids that stand for those of any response
  std::vector<Sequence> sequences_;
  int64_t update_tokens_ = 0, longest_sequence_ = 0;
  std::vector<std::pair<std::vector<int32_t>, std::vector<int32_t>>> demonstrations_;
  std::optional<PlannedDraw> rollout_, evaluation_, reference_;
};

enum Phase { kLoading, kWarmStart, kSampling, kLearning };
inline constexpr std::array<const char*, 4> kPhaseNames = {"loading", "warm_start", "sampling",
                                                           "learning"};

/// Bytes of one kind in each phase, when that holds most.
struct MemoryKind {
  std::string name;
  std::array<int64_t, kPhaseNames.size()> bytes{};
};

struct MemoryPlan {
  std::vector<MemoryKind> kinds;
  std::array<bool, kPhaseNames.size()> has{};  // phases of the job
  bool releases_activations = false;           // after every step, since the rollouts lack memory
  int64_t cache_pages = 0;                     // of the key-value cache
  int64_t cache_pages_wanted = 0;  // with which every response that may run could be the longest
  int64_t cache_pages_in_use = 0;  // by the responses of a step that run together, at their mean

  /// Share of those responses that the cache has pages for.
  double cache_room() const;
  int64_t of(Phase phase) const;
  /// Of the phase that holds most.
  int64_t peak() const;
};

/// Memory of a job from its second step on, on a machine that gives it `budget` bytes. `base` is
/// what the process holds without a model: program, libraries, tokenizer.
MemoryPlan plan_memory(const PlannedJob& job, const PlanSettings& settings, int64_t base,
                       int64_t budget);

/// The largest max_tokens_per_microbatch within `budget`, at most the tokens of an update: more
/// changes nothing. Nothing where not even the longest sequence fits.
std::optional<int64_t> largest_microbatch(const PlannedJob& job, const PlanSettings& settings,
                                          int64_t base, int64_t budget);

/// Another value of a key, or of several.
struct PlanChange {
  std::string keys;  // as --set takes them
  PlanSettings settings;
};

/// Settings that may take less memory than those given, each alone; of number keys the value
/// halved until one fits.
std::vector<PlanChange> smaller_settings(const PlannedJob& job, const PlanSettings& settings,
                                         int64_t base, int64_t budget);

}  // namespace vernier
