#include "trainer/evaluate.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/base/errors.h"
#include "core/base/text.h"
#include "rewards/verify/judge.h"
#include "rollout/thinking_cut.h"

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
    {"eval/num_samples", "responses", "evaluated"},
    {"eval/budget/<tokens>/accuracy", "share",
     "right responses if every one had been cut at so many tokens (eval.budgets); with _low, "
     "_high"},
    {"eval/budget/<tokens>/mean_length", "tokens", "their mean length; with _low, _high"}};

void set_estimate(Metrics& metrics, const std::string& name, const Estimate& value) {
  metrics.set_finite(name, value.value);
  metrics.set_finite(name + "_low", value.low);
  metrics.set_finite(name + "_high", value.high);
}

}  // namespace

std::vector<Candidate> judge_group(Group& group) {
  std::vector<Candidate> out;
  const bool by_rule = has_rule(group.prompt);
  for (size_t i = 0; i < group.responses.size(); ++i) {
    Response& response = group.responses[i];
    std::optional<Verdict> verdict = judge(group.prompt, response);
    if (by_rule) {
      response.correct = verdict ? std::optional(verdict->correct) : std::nullopt;
      response.sampled_correct = response.correct;
    } else if (response.correct && policy_ended(response)) {
      verdict = Verdict{*response.correct, ""};
    }
    if (verdict)
      out.push_back({response.num_tokens, std::move(verdict->found), verdict->correct,
                     static_cast<int64_t>(i), by_rule});
  }
  return out;
}

PromptSummary summary_of(const Group& group, std::span<const Candidate> candidates) {
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
  if (out.accuracy.count > 0) out.majority = majority(candidates);
  return out;
}

void at_budget(const Group& group, const std::vector<Candidate>& candidates, int64_t budget,
               const Tokenizer& tokenizer,
               const std::function<void(const Group&, const std::vector<Candidate>&)>& use) {
  const auto is_longer = [&](const Response& response) { return response.num_tokens > budget; };
  if (std::ranges::none_of(group.responses, is_longer)) return use(group, candidates);
  Group cut = group;
  for (Response& response : cut.responses) cut_response(response, cut.prompt, budget, tokenizer);
  const std::vector<Candidate> anew = judge_group(cut);
  use(cut, anew);
}

Evaluation summarize(const std::vector<PromptSummary>& prompts) {
  Evaluation out;
  std::vector<std::vector<Tally>> rows;
  double clipped = 0, counted = 0, judged_prompts = 0, voted_prompts = 0;
  for (const PromptSummary& one : prompts) {
    rows.push_back({one.accuracy, one.length, one.correct_length, one.wrong_length});
    clipped += one.clipped;
    counted += one.length.count;
    ++out.num_prompts;
    out.num_samples += one.samples;
    if (one.accuracy.count == 0) continue;
    judged_prompts += 1;
    out.pass_at_n += one.passed ? 1 : 0;
    if (std::isnan(one.majority)) continue;
    voted_prompts += 1;
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
  out.majority_at_n = voted_prompts > 0 ? out.majority_at_n / voted_prompts : kUndefined;
  out.clipped = counted > 0 ? clipped / counted : kUndefined;
  return out;
}

DrawKey evaluation_key(uint64_t seed) { return {.seed = seed, .step = ~uint64_t{0}}; }

EngineStats draw_evaluation(Engine& engine, std::vector<Prompt> prompts,
                            const RolloutConfig& config, uint64_t seed,
                            const std::atomic<bool>* stop, const std::function<void(Group&&)>& done,
                            const PromptShare& share) {
  return engine.generate(std::move(prompts), config, evaluation_key(seed), 0, stop, done, share);
}

void add_evaluation(const Evaluation& evaluation, Metrics& metrics) {
  set_estimate(metrics, "eval/accuracy", evaluation.accuracy);
  set_estimate(metrics, "eval/mean_length", evaluation.mean_length);
  metrics.set_finite("eval/length/correct/mean", evaluation.correct_length.value);
  metrics.set_finite("eval/length/wrong/mean", evaluation.wrong_length.value);
  metrics.set_finite("eval/pass_at_n", evaluation.pass_at_n);
  metrics.set_finite("eval/majority_at_n", evaluation.majority_at_n);
  metrics.set_finite("eval/clipped_ratio", evaluation.clipped);
  metrics.set("eval/num_prompts", Json(evaluation.num_prompts));
  metrics.set("eval/num_samples", Json(evaluation.num_samples));
}

void add_budget(int64_t budget, const Evaluation& evaluation, Metrics& metrics) {
  const std::string prefix = cat("eval/budget/", budget, "/");
  set_estimate(metrics, prefix + "accuracy", evaluation.accuracy);
  set_estimate(metrics, prefix + "mean_length", evaluation.mean_length);
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
