#include "rollout/rollout_config.h"

#include <algorithm>
#include <array>

#include "core/base/errors.h"
#include "core/base/step_values.h"

namespace vernier {

using kernels::WeightFormat;

namespace {
// In the order of WeightFormat.
constexpr std::array<const char*, 4> kFormats = {"fp32", "bf16", "int8", "bf16"};
}  // namespace

void RolloutConfig::bind(Binder& config) {
  config.number("num_generations", num_generations, 1, 4096, "responses a prompt");
  config.number("prompts_per_step", prompts_per_step, 1, 1000000, "prompts a step");
  config.number("max_completion_length", max_completion_length, 1, 1 << 24,
                "tokens of a response, end token included");
  config.number("temperature", sampling.temperature, 0.0, 100.0,
                "divides the logits; 0 takes the most probable token");
  if (const std::string problem = temperature_problem(sampling.temperature); !problem.empty())
    config.error("temperature", problem);
  config.number("top_k", sampling.top_k, 0, 1 << 24, "keep the k most probable tokens; 0: all");
  config.number("top_p", sampling.top_p, 1e-6, 1.0, "keep the fewest tokens with this probability");
  config.number("min_p", sampling.min_p, 0.0, 1.0,
                "keep tokens of at least this share of the top token's probability");
  config.number("repetition_penalty", sampling.repetition_penalty, 0.01, 100.0,
                "divides positive and multiplies negative logits of the ids that prompt and "
                "response have, before logit_bias and temperature; 1: none");
  config.by_id("logit_bias", sampling.logit_bias, -100.0, 100.0,
               "is added to the logits of token ids, before the temperature");
  config.texts("record_logprobs", record_logprobs, {"sampled", "plain"},
               "log-probabilities that rows have besides those under logits / temperature: of the "
               "distribution that was drawn from, and of the model at temperature 1");
  config.number("max_running", max_running, 1, 1 << 20, "responses that are decoded together");
  config.number("max_step_tokens", max_step_tokens, 1, 1 << 24,
                "tokens of one forward pass; a longer prompt comes in chunks");
  if (max_step_tokens < max_running)
    config.error("max_step_tokens", cat(max_step_tokens, " is less than max_running = ",
                                        max_running, ": every response takes one token a pass"));
  config.number("kv_cache_gb", kv_cache_gb, 0.0, 1e6,
                "most memory of the key-value cache in GB; 0: half of what the machine has free");
  std::string format = kFormats[static_cast<size_t>(weights)];
  config.choice("weights", format, {kFormats.begin(), kFormats.begin() + 3},
                "format of the weights that responses are drawn with; with bf16, a processor that "
                "multiplies pairs of bf16 numbers rounds what they multiply too");
  weights = static_cast<WeightFormat>(std::ranges::find(kFormats, format) - kFormats.begin());
  if (weights == WeightFormat::bf16) weights = kernels::bf16_format();
  config.number("draft_tokens", draft_tokens, 0, 32,
                "tokens of a response that are guessed from the texts of its group and computed "
                "together; the responses stay the same; 0: none");
  config.number("draft_ngram", draft_ngram, 1, 64,
                "tokens that must have stood together before, for what followed to be a guess");
  config.number("draft_rows", draft_rows, 1, 1 << 16,
                "guesses fill a pass up to so many tokens: where a pass is small they cost little");
  for (const char* key : {"draft_ngram", "draft_rows"})
    config.only_if(key, draft_tokens > 0, "draft_tokens = 0");
  if (draft_tokens > 0 && draft_rows > max_step_tokens)
    config.error("draft_rows",
                 cat(draft_rows, " is more than max_step_tokens = ", max_step_tokens));
  config.text("think_start", think_start,
              "tag that opens the thinking, one token; empty: the response starts inside it");
  config.text("think_end", think_end, "tag that ends the thinking, one token; empty: no thinking");
  config.only_if("think_start", !think_end.empty(), "think_end = \"\"");
  ending.bind(config, max_completion_length, think_end);
  bind_limits(config);
}

void RolloutConfig::bind_limits(Binder& config) {
  bool taken = config.list("length_steps", length_steps, 1, int64_t{1} << 40,
                           "training steps from which on the limits of length_limits hold");
  taken &= config.list("length_limits", length_limits, 1, int64_t{1} << 30,
                       "completion tokens, one for each of length_steps");
  if (taken && length_steps.size() != length_limits.size()) {
    config.error("length_steps", cat(length_steps.size(), " steps, but length_limits has ",
                                     length_limits.size(), " numbers"));
    taken = false;
  }
  for (size_t k = 0; taken && k < length_limits.size(); ++k) {
    if (length_limits[k] > max_completion_length)
      config.error(
          "length_limits",
          cat(length_limits[k], " is more than max_completion_length = ", max_completion_length));
    if (k > 0 && length_steps[k] <= length_steps[k - 1])
      config.error("length_steps", "has to rise");
  }
  if (!taken) length_steps = length_limits = {};
}

int64_t RolloutConfig::limit_at(int64_t step) const {
  return value_at(length_steps, length_limits, step, max_completion_length);
}

bool RolloutConfig::records(const std::string& kind) const {
  return std::find(record_logprobs.begin(), record_logprobs.end(), kind) != record_logprobs.end();
}

void check_fits(const Prompt& prompt, const std::string& where, const RolloutConfig& config,
                const ModelSpec& spec) {
  const auto length = static_cast<int64_t>(prompt.ids.size());
  const int64_t limit = completion_limit(prompt, config);
  if (limit > config.max_completion_length)
    fail(where, ": its max_completion_length: ", limit, " is outside the allowed range, 1 to ",
         config.max_completion_length, " (the configured max_completion_length)");
  if (length + limit > spec.longest())
    fail(where, ": its ", length, " tokens and max_completion_length = ", limit,
         " do not fit the model's ", spec.longest(), " positions");
}

void check_ids(const RolloutConfig& config, const ModelSpec& spec) {
  const auto check = [&](std::string_view key, int64_t id) {
    if (id >= spec.vocab_size)
      fail("rollout.", key, ": token id ", id, " is outside the model's vocabulary, 0 to ",
           spec.vocab_size - 1);
  };
  for (const auto& [id, bias] : config.sampling.logit_bias) check("logit_bias", id);
  for (const int64_t id : config.ending.stop_token_ids) check("stop_token_ids", id);
}

std::vector<KeyProblem> device_draw_problems(const RolloutConfig& config) {
  const SamplingParams& sampling = config.sampling;
  std::vector<KeyProblem> problems;
  const auto refuse = [&](bool asked, const std::string& key, const std::string& value,
                          const std::string& instead) {
    if (asked)
      problems.push_back({key, cat(value, value.empty() ? "" : ": ",
                                   "a GPU does not draw with it yet; use the CPU, or ", instead)});
  };
  refuse(sampling.repetition_penalty != 1.0, "repetition_penalty", cat(sampling.repetition_penalty),
         "1");
  refuse(!sampling.logit_bias.empty(), "logit_bias", "", "no bias");
  refuse(config.top_logprobs > 0, "top_logprobs", cat(config.top_logprobs), "0");
  refuse(config.records("sampled"), "record_logprobs", "\"sampled\"", "\"plain\"");
  refuse(config.ending.thinking_budget > 0, "thinking_budget", cat(config.ending.thinking_budget),
         "0");
  refuse(config.draft_tokens > 0, "draft_tokens", cat(config.draft_tokens), "0");
  refuse(config.weights == WeightFormat::int8, "weights", "\"int8\"", "\"bf16\" or \"fp32\"");
  return problems;
}

void check_device_draw(const RolloutConfig& config) {
  std::string all;
  for (const KeyProblem& one : device_draw_problems(config))
    all += cat(all.empty() ? "" : "\n", "rollout.", one.key, ": ", one.text);
  if (!all.empty()) fail(all);
}

}  // namespace vernier
