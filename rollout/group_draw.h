// Groups as a sampling plan has them: drawn at once, with a forced beginning, or going on from the
// thinking of others.
#pragma once

#include <atomic>
#include <functional>
#include <vector>

#include "rewards/sampling.h"
#include "rollout/engine.h"

namespace vernier {

/// Of a response that began with SamplingPlan::forced_text.
inline constexpr const char* kForcedTextFlag = "forced_text";

/// What the groups of a draw have in common.
struct GroupDraw {
  Engine& engine;
  const Tokenizer& tokenizer;
  const ModelSpec& spec;
  const RolloutConfig& config;
  const SamplingPlan& plan;
  DrawKey key;
  int64_t weight_version = 0;
  int64_t first_id = 0;  // of the groups, in order of the prompts
  const std::atomic<bool>* stop = nullptr;
  /// When a response has ended, where its group is drawn at once. May be empty.
  std::function<void(const Group&, size_t)> ended = {};
  PromptShare share = {};
};

/// Draws the responses to every prompt and hands each group over when its last one ends. What is
/// drawn depends on key, prompt and weights alone. Throws Interrupted soon after `stop` becomes
/// true, and UsageError where something does not fit the model's positions or the plan cannot be
/// followed with this configuration (a branch needs rollout.think_end).
void draw_groups(const GroupDraw& draw, std::vector<Prompt> prompts,
                 const std::function<void(Group&&)>& done);

/// Tokens behind a prompt that a plan's responses may have: more than a response's limit where they
/// go on from a thought.
int64_t longest_response(const SamplingPlan& plan, const RolloutConfig& config,
                         const Tokenizer& tokenizer);

/// What is wrong with drawing a plan under a configuration; "" where nothing is.
std::string plan_problem(const SamplingPlan& plan, const RolloutConfig& config);

}  // namespace vernier
