#include "trainer/evaluate.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "core/base/errors.h"
#include "rewards/verify/judge.h"
#include "trainer/choices.h"

namespace vernier {
namespace {

const MetricDocs docs{
    {"eval/accuracy", "share", "right responses of the evaluation (avg@n)"},
    {"eval/accuracy_low", "share", "lower end of its 95 % interval, bootstrap over prompts"},
    {"eval/accuracy_high", "share", "upper end of the same"},
    {"eval/mean_length", "tokens", "mean length, end token included"},
    {"eval/mean_length_low", "tokens", "lower end of its 95 % interval, bootstrap over prompts"},
    {"eval/mean_length_high", "tokens", "upper end of the same"},
    {"eval/length/correct/mean", "tokens", "mean length of right responses"},
    {"eval/length/wrong/mean", "tokens", "mean length of wrong responses"},
    {"eval/pass_at_n", "share", "prompts with a right response among their n"},
    {"eval/majority_at_n", "share", "prompts whose most frequent answer is right; ties share"},
    {"eval/clipped_ratio", "share", "responses that ended at their limit"},
    {"eval/num_prompts", "prompts", "evaluated"},
    {"eval/num_samples", "responses", "evaluated"}};

constexpr uint64_t kEvaluationStep = ~uint64_t{0};  // apart from every training step

}  // namespace

void judge_group(Group& group) {
  for (Response& response : group.responses) {
    const std::optional<Verdict> verdict = judge(group.prompt, response);
    response.correct = verdict ? std::optional(verdict->correct) : std::nullopt;
    response.sampled_correct = response.correct;
  }
}

PromptSummary summary_of(const Group& group) {
  PromptSummary out;
  out.samples = std::ssize(group.responses);
  for (const Response& response : group.responses) {
    if (!policy_ended(response)) continue;
    const double length = response.num_tokens;
    out.clipped += response.finish_reason == FinishReason::length ? 1 : 0;
    out.length.sum += length;
    out.length.count += 1;
    if (!response.correct) continue;
    out.passed = out.passed || *response.correct;
    out.accuracy.sum += *response.correct ? 1 : 0;
    out.accuracy.count += 1;
    Tally& side = *response.correct ? out.correct_length : out.wrong_length;
    side.sum += length;
    side.count += 1;
  }
  if (out.accuracy.count > 0) out.majority = majority(candidates_of(group));
  return out;
}

Evaluation summarize(const std::vector<PromptSummary>& prompts) {
  Evaluation out;
  std::vector<std::vector<Tally>> rows;
  double clipped = 0, counted = 0, judged_prompts = 0;
  for (const PromptSummary& one : prompts) {
    rows.push_back({one.accuracy, one.length, one.correct_length, one.wrong_length});
    clipped += one.clipped;
    counted += one.length.count;
    ++out.num_prompts;
    out.num_samples += one.samples;
    if (one.accuracy.count == 0) continue;
    judged_prompts += 1;
    out.pass_at_n += one.passed ? 1 : 0;
    out.majority_at_n += one.majority;
  }
  const std::vector<Estimate> means = bootstrap_means(rows, {});
  if (!means.empty()) {
    out.accuracy = means[0];
    out.mean_length = means[1];
    out.correct_length = means[2];
    out.wrong_length = means[3];
  }
  out.pass_at_n = judged_prompts > 0 ? out.pass_at_n / judged_prompts : kUndefined;
  out.majority_at_n = judged_prompts > 0 ? out.majority_at_n / judged_prompts : kUndefined;
  out.clipped = counted > 0 ? clipped / counted : kUndefined;
  return out;
}

Evaluation summarize(const std::vector<Group>& groups) {
  std::vector<PromptSummary> prompts;
  for (const Group& group : groups) prompts.push_back(summary_of(group));
  return summarize(prompts);
}

std::vector<Group> cut_groups(const std::vector<Group>& groups, int64_t budget,
                              const Tokenizer& tokenizer) {
  std::vector<Group> out = groups;
  for (Group& group : out) {
    for (Response& response : group.responses) {
      if (response.num_tokens <= budget) continue;
      keep_tokens(response, static_cast<int32_t>(budget));
      response.num_tokens = static_cast<int32_t>(budget);
      // What ended it came later; what steered it may have come before.
      std::erase_if(response.flags, [&](const std::string& flag) {
        return flag != kThinkingBudgetFlag || response.forced.empty();
      });
      response.finish_reason = FinishReason::length;
      response.text = tokenizer.decode(response.ids);
      set_first_correct(response, group.prompt, tokenizer);
    }
    judge_group(group);
  }
  return out;
}

std::vector<Group> draw_evaluation(Engine& engine, std::vector<Prompt> prompts,
                                   const RolloutConfig& config, uint64_t seed,
                                   const std::atomic<bool>* stop, EngineStats* stats,
                                   const PromptShare& share) {
  std::vector<Group> groups;
  const EngineStats drawn = engine.generate(
      std::move(prompts), config, {.seed = seed, .step = kEvaluationStep}, 0, stop,
      [&](Group&& group) {
        judge_group(group);
        groups.push_back(std::move(group));
      },
      share);
  if (stats != nullptr) *stats = drawn;
  std::sort(groups.begin(), groups.end(),
            [](const Group& a, const Group& b) { return a.id < b.id; });
  return groups;
}

void add_evaluation(const Evaluation& evaluation, Metrics& metrics) {
  const auto estimate = [&](const std::string& name, const Estimate& value) {
    metrics.set_finite(name, value.value);
    metrics.set_finite(name + "_low", value.low);
    metrics.set_finite(name + "_high", value.high);
  };
  estimate("eval/accuracy", evaluation.accuracy);
  estimate("eval/mean_length", evaluation.mean_length);
  metrics.set_finite("eval/length/correct/mean", evaluation.correct_length.value);
  metrics.set_finite("eval/length/wrong/mean", evaluation.wrong_length.value);
  metrics.set_finite("eval/pass_at_n", evaluation.pass_at_n);
  metrics.set_finite("eval/majority_at_n", evaluation.majority_at_n);
  metrics.set_finite("eval/clipped_ratio", evaluation.clipped);
  metrics.set("eval/num_prompts", Json(evaluation.num_prompts));
  metrics.set("eval/num_samples", Json(evaluation.num_samples));
}

Json evaluation_json(const Evaluation& evaluation) {
  Json out;
  add_estimate(out, "accuracy", evaluation.accuracy);
  add_estimate(out, "mean_length", evaluation.mean_length);
  out["length_correct_mean"] = json_number(evaluation.correct_length.value);
  out["length_wrong_mean"] = json_number(evaluation.wrong_length.value);
  out["pass_at_n"] = json_number(evaluation.pass_at_n);
  out["majority_at_n"] = json_number(evaluation.majority_at_n);
  out["clipped_ratio"] = json_number(evaluation.clipped);
  out["num_prompts"] = evaluation.num_prompts;
  out["num_samples"] = evaluation.num_samples;
  return out;
}

}  // namespace vernier
