// A request for completions as it comes in: OpenAI's JSON, and what Vernier adds to it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/base/json.h"
#include "core/text/chat_format.h"
#include "rollout/rollout_config.h"

namespace vernier {

/// What the fields of a request are held to.
struct ApiLimits {
  std::string model;  // the name that requests call it by
  int64_t vocabulary = 0;
  int64_t max_completion_length = 0;
  int64_t choices = 0;  // of one request: prompts times n
};

/// A prompt as text, or as token ids.
struct ApiPrompt {
  std::string text;
  std::vector<int32_t> ids;
  bool is_text = true;
};

struct ApiRequest {
  bool chat = false;
  std::vector<ApiPrompt> prompts;     // of /v1/completions
  std::vector<ChatMessage> messages;  // of /v1/chat/completions
  bool add_special_tokens = true;     // before a prompt that is text
  std::optional<int64_t> max_tokens;  // a chat's default depends on its prompt
  std::optional<uint64_t> seed;
  bool logprobs = false;  // how many alternatives: rollout.top_logprobs
  bool stream = false, include_usage = false;
  bool return_token_ids = false;
  RolloutConfig rollout;  // num_generations, sampling, ending, tags; not max_completion_length
};

/// Throws ApiError on what is wrong, unknown, or not supported: nothing is ignored, nothing is
/// bent. Fields that are null, and those of OpenAI's that have no effect at their neutral value,
/// are taken.
ApiRequest read_api_request(const Json& body, bool chat, const ApiLimits& limits);

}  // namespace vernier
