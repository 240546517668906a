// Every section of a run's TOML file.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "algos/algorithm.h"
#include "core/base/config.h"
#include "core/comm/cluster_config.h"
#include "core/model/adapters.h"
#include "core/model/decoder.h"
#include "core/model/spec.h"
#include "rewards/reward.h"
#include "rollout/engine.h"
#include "rollout/group_draw.h"
#include "rollout/prompts.h"
#include "trainer/filter.h"
#include "trainer/guard.h"

namespace vernier {

/// AdamW and its learning rate over the steps.
struct OptimizerConfig {
  double learning_rate = 1e-6;
  std::string schedule = "constant";
  double final_ratio = 0.0;  // of the learning rate, where the schedule ends
  int64_t warmup_steps = 0;
  std::vector<double> betas = {0.9, 0.999};
  double eps = 1e-8;
  double weight_decay = 0;
  double grad_clip = 1.0;  // global norm; 0: none

  void bind(Binder& config);
  /// Learning rate of step `step` (from 0) out of `steps`.
  double rate(int64_t step, int64_t steps) const;
};

struct SftConfig {
  int64_t steps = 0;
  int64_t batch_sequences = 64;
  double loss_divisor = 1920;       // token losses are summed and divided by this constant
  int64_t bucket_batches = 16;      // batches that are sorted by length together
  std::vector<int64_t> curriculum;  // [steps, hardest]: difficulty at most `hardest` until then
  int64_t save_every = 500;
  int64_t rope_scale = 1, rope_offset = 0;  // the largest that are drawn
  OptimizerConfig optimizer;

  void bind(Binder& config);
};

struct RunSection {
  std::string name, dir;
  int64_t seed = 1, steps = 0, eval_every = 0, save_every = 0, keep_checkpoints = 2;
  int64_t threads = 0;
  bool deterministic = false;
  std::string device = "cpu";  // or "cuda"

  void bind(Binder& config);
};

struct EvalConfig {
  int64_t n = 1;
  double temperature = 1.0;
  std::vector<int64_t> budgets;  // tokens, ascending
};

struct LogConfig {
  int64_t rollouts_every = 0, rollouts_keep = 0;
  bool token_fields = false;
  bool tensorboard = false;
  std::string metric_names = "trl";  // there; or "verl"
};

struct RunConfig {
  RunSection run;
  bool needs_model = true;  // false: only scores; set it before bind()
  std::string model_path;
  std::optional<NewModel> new_model;
  int64_t max_length = 0;  // of a sequence, in tokens; 0: what the model was made for
  Reach reach;             // in place of the model's own
  ChatFormat chat_format;
  DataConfig data;
  SftConfig sft;
  RolloutConfig rollout;
  int64_t rollout_ranks = 0;         // the last ones of a job, that only sample
  int64_t tensor_parallel_size = 1;  // of these ranks draw as one
  int64_t max_staleness = 0;         // steps
  FilterConfig filter;
  ScoringContext scoring;  // its decode calls `decode` below; empty where no tokenizer will come
  ScoringChain chain;
  std::string algorithm_name = "grpo";
  std::unique_ptr<Algorithm> algorithm;
  OptimizerConfig optimizer;
  int64_t samples_per_update = 0, max_tokens_per_microbatch = 8192;
  std::string old_logprobs = "recompute";  // or "rollout"
  TrainingOptions training;                // of the policy and of the reference policy
  std::string shard = "none";              // or "optimizer", "full"
  bool moments_in_bytes = false;           // trainer.optimizer = "adamw_8bit"
  std::optional<LoraConfig> lora;          // [trainer.lora], unless its rank is 0
  int64_t max_nonfinite_updates = 3;
  GuardConfig guard;
  std::optional<Knob> knob;              // that the guard turns
  std::vector<std::string> other_knobs;  // that keep their value
  EvalConfig eval;
  LogConfig log;
  ClusterConfig cluster;

  /// Text of token ids once a tokenizer is there; the transforms and rewards hold a reference to
  /// it.
  std::shared_ptr<std::function<std::string(std::span<const int32_t>)>> decode =
      std::make_shared<std::function<std::string(std::span<const int32_t>)>>();

  /// Binds the whole file; throws UsageError with every mistake at once.
  static std::unique_ptr<RunConfig> load(ConfigFile& file);

  /// Where the policy, its reference and the engine compute.
  at::Device device() const { return at::Device(run.device); }

  /// Whether the run keeps a frozen copy of its start policy.
  bool needs_reference() const;

  /// Evaluations of the run, its first and last among them.
  int64_t evaluations() const;

  /// Why so many evaluation prompts are too few for the guard; "" where they are not.
  std::string guard_problem(int64_t prompts) const;

  /// The folder of the run: `given`, else run.dir, else runs/NAME. UsageError where there is none.
  std::string folder(const ConfigFile& file, const std::string& given) const;

  /// Binds the root table; mistakes are collected by the file.
  void bind(Binder& root);

 private:
  void bind_scoring(Binder& root);
  void bind_guard(Binder& config);
};

}  // namespace vernier
