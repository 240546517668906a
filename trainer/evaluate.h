// Accuracy and length on fixed prompts, at one or several budgets.
#pragma once

#include <atomic>
#include <functional>
#include <span>
#include <vector>

#include "core/metrics/metrics.h"
#include "core/metrics/selection.h"
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

/// Sets the verdicts of one group's responses by its prompt's rule and returns those that have one,
/// in order. Where the prompt has no rule they keep the verdicts that they came with, and their
/// answers are not known.
std::vector<Candidate> judge_group(Group& group);

/// What one prompt's judged responses add to the summary. Responses that the policy did not end are
/// left out.
struct PromptSummary {
  Tally accuracy, length, correct_length, wrong_length;
  double clipped = 0;  // responses
  int64_t samples = 0;
  bool passed = false;
  double majority = 0;  // share of the most frequent answers that are right; NaN: not known
};
PromptSummary summary_of(const Group& group, std::span<const Candidate> candidates);

/// Hands over a judged group as a run with this limit and the same seed would have drawn it, judged
/// again; the group itself where nothing in it is longer.
void at_budget(const Group& group, const std::vector<Candidate>& candidates, int64_t budget,
               const Tokenizer& tokenizer,
               const std::function<void(const Group&, const std::vector<Candidate>&)>& use);

/// Summary of prompts, in their order.
Evaluation summarize(const std::vector<PromptSummary>& prompts);

/// Random numbers of an evaluation's draws: apart from every training step.
DrawKey evaluation_key(uint64_t seed);

/// Draws n responses to every prompt and hands each group over when its last one has ended, without
/// verdicts. The draws depend on `seed` and the weights only, so that two checkpoints are compared
/// on common random numbers. A group's id is the place of its prompt.
EngineStats draw_evaluation(Engine& engine, std::vector<Prompt> prompts,
                            const RolloutConfig& config, uint64_t seed,
                            const std::atomic<bool>* stop, const std::function<void(Group&&)>& done,
                            const PromptShare& share = {});

/// Adds the summary under eval/ names.
void add_evaluation(const Evaluation& evaluation, Metrics& metrics);
/// Accuracy and length at a budget, under eval/budget/.
void add_budget(int64_t budget, const Evaluation& evaluation, Metrics& metrics);

/// As one JSON object, under the keys of `vernier report --json`.
Json evaluation_json(const Evaluation& evaluation);

}  // namespace vernier
