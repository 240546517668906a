// Responses as smaller limits would have them, from those that were drawn with larger ones.
#pragma once

#include <atomic>
#include <functional>
#include <vector>

#include "rollout/engine.h"

namespace vernier {

/// Keeps the first `limit` tokens of a response, as a run with that limit and the same seed would
/// have it. Its verdict is left to the caller.
void cut_response(Response& response, const Prompt& prompt, int64_t limit,
                  const Tokenizer& tokenizer);

/// Hands over the same groups as drawing them with `config` would, whose thinking_budget is at most
/// the one they were drawn with and max_completion_length too, under the same key: equal, token by
/// token. What is computed anew is what comes after the forced end of a thinking alone; a response
/// that ended its thinking before stays, cut at the limit. Verdicts are left to the caller. Throws
/// Interrupted soon after `stop` (which may be null) becomes true.
void end_thinking(Engine& engine, const Tokenizer& tokenizer, const ModelSpec& spec,
                  const RolloutConfig& config, DrawKey key, std::vector<Group> groups,
                  const std::atomic<bool>* stop, const std::function<void(Group&&)>& done);

}  // namespace vernier
