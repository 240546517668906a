// The rollout engine: prompts in, finished groups of responses out.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/base/config.h"
#include "core/kernels/sample.h"
#include "core/model/model.h"
#include "core/types.h"
#include "rollout/ending.h"
#include "rollout/scheduler.h"

namespace vernier {

/// [rollout]: how responses are drawn.
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
  std::string think_start, think_end;
  EndingConfig ending;
  std::vector<std::string> record_logprobs;  // "sampled", "plain"

  void bind(Binder& config);
  bool records(const std::string& kind) const;
};

/// What fixes a response besides the weights: with the prompt's index and the sample's number this
/// is the whole key of its random numbers.
struct DrawKey {
  uint64_t seed = 0;
  uint64_t step = 0;
};

struct EngineStats {
  int64_t new_tokens = 0;
  SchedulerStats scheduler;  // of this call
};

/// Continuous batching over a paged key-value cache (scheduler.h): a response that ends leaves the
/// batch, the next one enters; a prompt is computed once for all its responses, and for later
/// prompts that begin alike. What a response becomes does not depend on its neighbours, on the size
/// of the cache, or on what was shared, bit for bit.
class Engine {
 public:
  Engine(Decoder& decoder, const Tokenizer& tokenizer);
  ~Engine();

  /// Draws `num_generations` responses to every prompt and hands each group over when its last
  /// response ends. Throws Interrupted soon after `stop` (which may be null) becomes true, and
  /// UsageError where a prompt with its response may not fit the model's positions.
  EngineStats generate(std::vector<Prompt> prompts, const RolloutConfig& config, DrawKey key,
                       int64_t weight_version, const std::atomic<bool>* stop,
                       const std::function<void(Group&&)>& done);

 private:
  class Batch;

  void prepare(const std::vector<Prompt>& prompts, const RolloutConfig& config);

  Decoder& decoder_;
  const Tokenizer& tokenizer_;
  std::unique_ptr<Scheduler> scheduler_;
  std::unique_ptr<KvCache> cache_;
  SchedulerLimits limits_;
  int64_t version_ = -1;  // of the weights that made what the cache holds
};

/// Throws UsageError, opened by `where`, where a rendered prompt with the longest response does not
/// fit the model's positions, or asks for a longer response than the configuration allows.
void check_fits(const Prompt& prompt, const std::string& where, const RolloutConfig& config,
                const ModelSpec& spec);

/// Throws UsageError where the configuration names a token id that the model does not have.
void check_ids(const RolloutConfig& config, const ModelSpec& spec);

/// Why a temperature is refused; "" where it is not. Near to 0 the scaled logits overflow.
std::string temperature_problem(double temperature);

/// The tags around the thinking, as token ids; negative where there is none.
struct ThinkTags {
  int32_t start = -1, end = -1;

  /// Throws UsageError where a tag is not one token of this tokenizer.
  ThinkTags(const RolloutConfig& config, const Tokenizer& tokenizer);
};

/// Sets Response::first_correct by the row's rule.
void set_first_correct(Response& response, const Prompt& prompt, const Tokenizer& tokenizer);

/// Sets the spans of a response. Thinking runs from the start of the response where the prompt ends
/// inside it (or where there is no start tag), else from the start tag, up to the end tag; never
/// closed means all thinking and an empty answer. Without an end tag all of it is answer.
void set_spans(Response& response, const std::vector<int32_t>& prompt_ids, const ThinkTags& tags);

}  // namespace vernier
