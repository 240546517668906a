// Accuracy and length on fixed prompts, at one or several budgets.
#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "core/metrics/metrics.h"
#include "core/metrics/statistics.h"
#include "rollout/engine.h"

namespace vernier {

/// What an evaluation found, with 95 % intervals from a bootstrap over prompts.
struct Evaluation {
  Estimate accuracy;     // avg@n
  Estimate mean_length;  // tokens
  Estimate correct_length, wrong_length;
  double pass_at_n = 0;      // share of prompts with a right answer among n
  double majority_at_n = 0;  // share of prompts whose most frequent answer is right; ties share
  double clipped = 0;        // share of responses that ended at their limit
  int64_t num_prompts = 0, num_samples = 0;
};

/// Verdicts of one group's responses by its prompt's rule.
void judge_group(Group& group);

/// What one prompt's judged responses add to the summary. Responses that the policy did not end are
/// left out.
struct PromptSummary {
  Tally accuracy, length, correct_length, wrong_length;
  double clipped = 0;  // responses
  int64_t samples = 0;
  bool passed = false;
  double majority = 0;  // share of the most frequent answers that are right
};
PromptSummary summary_of(const Group& group);

/// Summary of prompts, in their order.
Evaluation summarize(const std::vector<PromptSummary>& prompts);
Evaluation summarize(const std::vector<Group>& groups);

/// The same responses cut to `budget` tokens and judged again: equal, sample by sample, to a run
/// with that limit and the same seed.
std::vector<Group> cut_groups(const std::vector<Group>& groups, int64_t budget,
                              const Tokenizer& tokenizer);

/// Draws n responses to every prompt and judges them. The draws depend on `seed` and the weights
/// only, so that two checkpoints are compared on common random numbers.
std::vector<Group> draw_evaluation(Engine& engine, std::vector<Prompt> prompts,
                                   const RolloutConfig& config, uint64_t seed,
                                   const std::atomic<bool>* stop, EngineStats* stats = nullptr,
                                   const PromptShare& share = {});

/// Adds the summary under eval/ names.
void add_evaluation(const Evaluation& evaluation, Metrics& metrics);

/// As one JSON object, under the keys of `vernier report --json`.
Json evaluation_json(const Evaluation& evaluation);

}  // namespace vernier
