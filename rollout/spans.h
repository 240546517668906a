// Where a response thinks, where it answers, and from where on it is right.
#pragma once

#include <cstdint>
#include <vector>

#include "core/text/tokenizer.h"
#include "core/types.h"
#include "rollout/rollout_config.h"

namespace vernier {

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
