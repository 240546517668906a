// [rollout]: how responses are drawn.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/base/config.h"
#include "core/kernels/kernels.h"
#include "core/kernels/sample.h"
#include "core/model/spec.h"
#include "core/types.h"
#include "rollout/ending.h"

namespace vernier {

struct RolloutConfig {
  int64_t num_generations = 8;
  int64_t prompts_per_step = 24;
  int64_t max_completion_length = 120;
  SamplingParams sampling;
  int64_t max_running = 256;
  int64_t max_step_tokens = 512;
  double kv_cache_gb = 0;
  bool ignore_eos = false;  // for benchmarks: responses of one length
  kernels::WeightFormat weights = kernels::WeightFormat::fp32;
  int64_t draft_tokens = 0, draft_ngram = 3, draft_rows = 16;
  std::string think_start, think_end;
  EndingConfig ending;
  std::vector<std::string> record_logprobs;  // "sampled", "plain"
  int64_t top_logprobs = 0;  // most probable tokens that are recorded beside each drawn one

  // Limits that hold from a step on, each at most max_completion_length.
  std::vector<int64_t> length_steps, length_limits;

  void bind(Binder& config);
  /// Tokens that a response of a step (from 1 on) has at most.
  int64_t limit_at(int64_t step) const;
  void bind_limits(Binder& config);
  bool records(const std::string& kind) const;
};

/// Tokens that a response to the prompt has at most: the row's own limit, else the configured one.
inline int64_t completion_limit(const Prompt& prompt, const RolloutConfig& config) {
  return prompt.max_completion_length.value_or(config.max_completion_length);
}

/// Throws UsageError, opened by `where`, where a rendered prompt with the longest response does not
/// fit the model's positions, or asks for a longer response than the configuration allows.
void check_fits(const Prompt& prompt, const std::string& where, const RolloutConfig& config,
                const ModelSpec& spec);

/// Throws UsageError where the configuration names a token id that the model does not have.
void check_ids(const RolloutConfig& config, const ModelSpec& spec);

/// What is wrong with a key of [rollout].
struct KeyProblem {
  std::string key, text;
};
/// What a GPU does not draw with.
std::vector<KeyProblem> device_draw_problems(const RolloutConfig& config);
/// Throws UsageError on any of it: one line for each key.
void check_device_draw(const RolloutConfig& config);

/// Why a temperature is refused; "" where it is not. Near to 0 the scaled logits overflow.
std::string temperature_problem(double temperature);

}  // namespace vernier
