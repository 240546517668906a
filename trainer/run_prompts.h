// The prompts of a run, looked at before it begins and not hours later when the long one is drawn.
#pragma once

#include <memory>

#include "rollout/prompts.h"
#include "trainer/run_config.h"

namespace vernier {

/// Where the prompts come from; null where the run has no use for them.
struct RunPrompts {
  std::unique_ptr<PromptSource> training, evaluation;
};

/// Opens them, and looks at every row of a file and the first prompts of a task: whether it fits
/// the model with the longest text that data.length_request may give it, and, where it is trained
/// on, what the rewards say of it. Throws UsageError on what would end the run later, and where
/// there is nothing to learn from; warns of rows that a reward has no value for.
RunPrompts open_prompts(const RunConfig& config, const ChatFormat& chat_format,
                        const Tokenizer& tokenizer, const ModelSpec& spec);

}  // namespace vernier
