#include "tools/drawing.h"

#include <algorithm>
#include <set>

#include "core/base/errors.h"
#include "core/comm/identity.h"
#include "core/kernels/threads.h"
#include "rollout/prompts.h"
#include "rollout/rows.h"

namespace vernier {
namespace {

// The options of the command line as a [data] section, so that they are read and refused alike.
DataConfig data_of(const DrawOptions& options) {
  if (!options.data.empty() && !options.task.empty())
    fail("--task is given beside --data; choose one of them");
  if (options.data.empty() && options.task.empty()) fail("--data or --task is missing");
  if (!options.out.empty() && fs::exists(options.out) && fs::exists(options.data) &&
      fs::equivalent(options.out, options.data))
    fail("--out: ", options.out, ": is the file of the prompts");
  std::string keys;
  const auto give = [&](const char* flag, const std::string& key, const std::string& value,
                        bool of_rows) {
    if (value.empty()) return;
    if (of_rows && options.data.empty()) fail(flag, ": needs --data; a task has its own");
    keys += cat(key, " = ", dump_json(Json(value)), "\n");
  };
  give("--data", "eval", options.data, false);
  give("--task", "task", options.task, false);
  give("--prompt-template", "prompt_template", options.prompt_template, false);
  give("--prompt-field", "prompt_field", options.prompt_field, true);
  give("--answer-field", "answer_field", options.answer_field, true);
  give("--verify", "verify", options.verify, true);
  DataConfig data;
  ConfigFile file = ConfigFile::parse(keys, "command line");
  file.bind([&](Binder& root) { data.bind(root); });
  if (options.limit > 0) data.eval_prompts = options.limit;
  return data;
}

// The same for those that a [rollout] section has. `limit`: tokens of a response.
RolloutConfig rollout_of(const DrawOptions& options, int64_t limit) {
  std::string keys = cat("max_completion_length = ", limit, "\n");
  const auto give = [&](const char* key, const Json& value) {
    keys += cat(key, " = ", dump_json(value), "\n");
  };
  for (const std::string& text : options.stop)
    if (!is_utf8(text)) fail("--stop: '", to_valid_utf8(text), "' is not UTF-8");
  give("weights", options.weights);
  if (options.kv_cache_gb) give("kv_cache_gb", *options.kv_cache_gb);
  if (options.draft_tokens) give("draft_tokens", *options.draft_tokens);
  if (options.draft_ngram) give("draft_ngram", *options.draft_ngram);
  if (options.draft_rows) give("draft_rows", *options.draft_rows);
  if (!options.think_start.empty()) give("think_start", options.think_start);
  if (!options.think_end.empty()) give("think_end", options.think_end);
  if (!options.stop.empty()) give("stop", options.stop);
  if (!options.stop_token_ids.empty()) give("stop_token_ids", options.stop_token_ids);
  if (!options.record_logprobs.empty()) give("record_logprobs", options.record_logprobs);
  if (options.thinking_budget) give("thinking_budget", *options.thinking_budget);
  if (options.repetition_ngram) give("repetition_ngram", *options.repetition_ngram);
  if (options.repetition_limit) give("repetition_limit", *options.repetition_limit);
  std::string biases;
  std::set<std::string> ids;
  for (const std::string& pair : options.logit_bias) {
    const size_t equals = pair.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == pair.size() ||
        pair.find_first_not_of("+-.0123456789e", equals + 1) != std::string::npos)
      fail("--logit-bias: '", pair, "' is not ID=BIAS, as in 1234=-2.5");
    if (!ids.insert(pair.substr(0, equals)).second)
      fail("--logit-bias: '", pair, "': token ", pair.substr(0, equals), " has a bias already");
    biases += cat(biases.empty() ? "" : ", ", dump_json(Json(pair.substr(0, equals))), " = ",
                  pair.substr(equals + 1));
  }
  if (!biases.empty()) keys += cat("logit_bias = { ", biases, " }\n");
  RolloutConfig config;
  ConfigFile file = ConfigFile::parse(keys, "command line");
  file.bind([&](Binder& root) { config.bind(root); });
  return config;
}

}  // namespace

Drawing prepare(const DrawOptions& options) {
  if (const Identity identity = identity_from(process_environment()); identity.world_size > 1)
    fail("eval and generate draw in one process, and this is rank ", identity.rank, " of ",
         identity.world_size, " (", identity.launcher,
         "), which would each do all of it; start it without a launcher");
  set_threads(options.threads);
  Drawing out;
  if (const auto problem = temperature_problem(options.sampling.temperature); !problem.empty())
    fail("--temperature: ", problem);
  DataConfig data = data_of(options);
  const auto source = evaluation_prompts(data);
  int64_t count = source->size();
  if (options.limit > 0) count = std::min(count, options.limit);
  out.prompts = source->take(0, count);
  out.model = load_model(options.model,
                         {.max_length = options.max_length, .device = at::Device(options.device)});
  const ChatFormat format = choose_chat_format(
      {.name = options.raw ? "none" : options.chat_format, .date = options.chat_date},
      out.model.tokenizer->chat_template(), options.model);
  for (Prompt& prompt : out.prompts) render_prompt(prompt, data, format, *out.model.tokenizer);
  size_t longest = 0;
  for (const Prompt& prompt : out.prompts) longest = std::max(longest, prompt.ids.size());
  const int64_t room = out.model.decoder->spec().longest() - static_cast<int64_t>(longest);
  out.config =
      rollout_of(options, options.max_completion_length > 0 ? options.max_completion_length
                                                            : std::clamp<int64_t>(room, 1, 256));
  out.config.num_generations = options.n;
  out.config.max_running = options.max_running;
  out.config.max_step_tokens = std::max(out.config.max_step_tokens, options.max_running);
  const std::map<int64_t, double> biases = std::move(out.config.sampling.logit_bias);
  out.config.sampling = options.sampling;
  out.config.sampling.logit_bias = biases;
  if (options.greedy) out.config.sampling.temperature = 0;
  return out;
}

std::string kind_of(const RolloutConfig& config) {
  return config.sampling.temperature == 0 ? "plain" : "tempered";
}

std::string rows_of(const std::vector<Group>& groups, const std::string& kind) {
  std::string rows;
  for (const Group& group : groups)
    for (const Json& row : rollout_rows(group, true, kind)) rows += dump_json(row) + "\n";
  return rows;
}

}  // namespace vernier
