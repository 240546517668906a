// An engine with a thread of its own: requests from any thread, what becomes of them as it comes.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/text/tokenizer.h"
#include "core/types.h"
#include "rollout/response_draw.h"
#include "rollout/rollout_config.h"

namespace vernier {

class Decoder;

/// Prompts whose responses are drawn alike. The responses depend on nothing but this and the
/// weights: not on what else runs.
struct Generation {
  std::vector<Prompt> prompts;  // index: place in this list; part of the random key
  std::shared_ptr<const DrawRules> rules;
  uint64_t seed = 0;
  bool stepwise = false;  // hear of every pass, not only of the first and the last
};

/// What is new of one response.
struct News {
  int64_t choice = 0;  // place of its prompt times num_generations, plus its sample
  std::vector<int32_t> ids;
  std::vector<float> logprobs;
  std::vector<std::vector<std::pair<int32_t, float>>> top_logprobs;
  bool ended = false;
  // Where it has ended:
  FinishReason finish_reason = FinishReason::length;
  std::vector<std::string> flags;
  std::vector<int32_t> forced;  // of the whole response
};

/// Why a generation came to no end: the request was wrong, a pass failed, the service stops.
enum class Failure { usage, machine, stopping };

/// Who waits for a generation. Called on the engine's thread.
struct Listener {
  std::function<void(News&&)> progress;
  /// It is over, and not finished.
  std::function<void(Failure failure, const std::string& message)> failed;
};

struct ServiceConfig {
  RolloutConfig engine;  // max_running, max_step_tokens, kv_cache_gb, weights, drafts; the longest
                         // response
  int64_t max_queue = 256;  // responses that wait beside the max_running that run
  int64_t weight_version = 0;
};

struct ServiceStats {
  int64_t open = 0;  // responses that were taken in and have not ended
  int64_t running = 0, waiting = 0;
  int64_t new_tokens = 0, computed_tokens = 0, shared_tokens = 0;
  int64_t passes = 0, preemptions = 0, drafted_tokens = 0, accepted_tokens = 0;
};

class Service {
 public:
  /// Both must outlive it; the decoder belongs to its thread meanwhile.
  Service(Decoder& decoder, const Tokenizer& tokenizer, const ServiceConfig& config);
  ~Service();
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  /// The number of the generation; none where it would have to wait behind a full queue.
  std::optional<int64_t> submit(Generation generation, Listener listener);
  /// Frees its places. Its listener may still hear what was under way. Nothing happens where it is
  /// over.
  void cancel(int64_t number);
  /// Responses that are open at the most.
  int64_t capacity() const;

  ServiceStats stats() const;
  /// Ends the thread; what is open fails. After this, submit() takes nothing in.
  void stop();

 private:
  struct Worker;
  std::unique_ptr<Worker> worker_;
};

}  // namespace vernier
