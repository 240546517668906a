// What an evaluation found for one prompt, as ranks share it.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "core/base/bytes.h"
#include "trainer/evaluate.h"
#include "trainer/guard.h"

namespace vernier {

struct EvaluatedPrompt {
  PromptSummary summary;
  PromptScore score;
  std::vector<PromptSummary> at_budgets;  // in the order of eval.budgets
};

template <class Archive, FieldsOf<PromptSummary> T>
void fields(Archive& archive, T& one) {
  for (auto* tally : {&one.accuracy, &one.length, &one.correct_length, &one.wrong_length})
    archive(tally->sum, tally->count);
  archive(one.clipped, one.samples, one.passed, one.majority);
}

template <class Archive, FieldsOf<EvaluatedPrompt> T>
void fields(Archive& archive, T& one) {
  auto& score = one.score;
  archive(one.summary, one.at_budgets);
  archive(score.prompt, score.content, score.right, score.judged, score.tokens, score.counted);
}

/// The metrics of an evaluation, from its prompts in their order.
inline Evaluation add_evaluated(const std::map<int64_t, EvaluatedPrompt>& prompts,
                                const std::vector<int64_t>& budgets, Metrics& metrics) {
  const auto summary = [&](auto&& of_prompt) {
    std::vector<PromptSummary> all;
    for (const auto& [id, one] : prompts) all.push_back(of_prompt(one));
    return summarize(all);
  };
  const Evaluation out = summary([](const EvaluatedPrompt& one) { return one.summary; });
  add_evaluation(out, metrics);
  for (size_t i = 0; i < budgets.size(); ++i)
    add_budget(budgets[i], summary([i](const auto& one) { return one.at_budgets[i]; }), metrics);
  return out;
}

}  // namespace vernier
