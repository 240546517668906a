// generate, eval: responses of a model to prompts.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <set>

#include "core/base/clock.h"
#include "core/base/errors.h"
#include "core/base/log.h"
#include "core/kernels/threads.h"
#include "rollout/prompts.h"
#include "rollout/rows.h"
#include "tools/commands.h"
#include "tools/output.h"
#include "trainer/evaluate.h"

namespace vernier {
namespace {

struct Drawing {
  Model model;
  std::vector<Prompt> prompts;
  RolloutConfig config;
};

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

Drawing prepare(const DrawOptions& options) {
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

std::string shown(const Estimate& estimate, int digits) {
  if (!std::isfinite(estimate.value)) return "undefined";
  return cat(fixed(estimate.value, digits), " [", fixed(estimate.low, digits), ", ",
             fixed(estimate.high, digits), "]");
}

std::string share(double value) { return std::isfinite(value) ? fixed(value, 3) : "-"; }

void print_table(const std::vector<std::pair<int64_t, Evaluation>>& rows) {
  const auto line = [](const std::vector<std::string>& cells) {
    std::string out;
    for (size_t i = 0; i < cells.size(); ++i) {
      static constexpr std::array<size_t, 6> kWidths = {8, 24, 26, 10, 10, 10};
      out += cells[i] +
             std::string(cells[i].size() < kWidths[i] ? kWidths[i] - cells[i].size() : 1, ' ');
    }
    std::printf("%s\n", out.c_str());
  };
  const Evaluation& first = rows.front().second;
  std::printf("%lld prompts, %lld samples; 95 %% intervals, bootstrap over prompts\n",
              static_cast<long long>(first.num_prompts), static_cast<long long>(first.num_samples));
  line({"budget", "accuracy (avg@n)", "mean length (tokens)", "pass@n", "maj@n", "clipped"});
  for (const auto& [budget, e] : rows)
    line({cat(budget), shown(e.accuracy, 3), shown(e.mean_length, 1), share(e.pass_at_n),
          share(e.majority_at_n), share(e.clipped)});
}

}  // namespace

void generate_command(const DrawOptions& options) {
  Output output(options.out);
  Drawing drawing = prepare(options);
  Engine engine(*drawing.model.decoder, *drawing.model.tokenizer);
  const Clock clock;
  EngineStats stats;
  std::vector<Group> groups = draw_evaluation(engine, std::move(drawing.prompts), drawing.config,
                                              static_cast<uint64_t>(options.seed), nullptr, &stats);
  for (Group& group : groups) group.step = 0;
  const double seconds = clock.seconds();
  output.write(rows_of(groups, kind_of(drawing.config)));
  output.commit();
  std::string said = cat(stats.new_tokens, " tokens in ", fixed(seconds, 2), " s, ",
                         fixed(static_cast<double>(stats.new_tokens) / seconds, 0), " tok/s");
  if (drawing.config.draft_tokens > 0)
    said += cat("; of ", stats.drafted_tokens, " guessed tokens ", stats.accepted_tokens, " came");
  log::info(said);
}

void eval_command(const DrawOptions& options) {
  std::optional<Output> output;
  if (!options.out.empty()) output.emplace(options.out);
  DrawOptions largest = options;
  std::vector<int64_t> budgets = options.budgets;
  std::sort(budgets.begin(), budgets.end());
  budgets.erase(std::unique(budgets.begin(), budgets.end()), budgets.end());
  if (options.max_completion_length > 0) {
    if (!budgets.empty() && budgets.back() > options.max_completion_length)
      fail("--budgets: ", budgets.back(), " is above --max-completion-length ",
           options.max_completion_length);
    if (budgets.empty() || budgets.back() < options.max_completion_length)
      budgets.push_back(options.max_completion_length);
  }
  if (!budgets.empty()) largest.max_completion_length = budgets.back();
  Drawing drawing = prepare(largest);
  if (budgets.empty()) budgets.push_back(drawing.config.max_completion_length);
  Engine engine(*drawing.model.decoder, *drawing.model.tokenizer);
  std::vector<Group> groups = draw_evaluation(engine, std::move(drawing.prompts), drawing.config,
                                              static_cast<uint64_t>(options.seed), nullptr);
  for (Group& group : groups) group.step = 0;
  std::vector<std::pair<int64_t, Evaluation>> rows;
  for (const int64_t budget : budgets)
    rows.emplace_back(budget, summarize(cut_groups(groups, budget, *drawing.model.tokenizer)));
  if (output) {
    output->write(rows_of(groups, kind_of(drawing.config)));
    output->commit();
  }
  if (!options.json) return print_table(rows);
  Json out = evaluation_json(rows.back().second);
  out["n"] = options.n;
  out["seed"] = options.seed;
  out["bootstrap"] = bootstrap_json({});
  for (const auto& [budget, evaluation] : rows) {
    Json row = evaluation_json(evaluation);
    row["budget"] = budget;
    out["budgets"].push_back(row);
  }
  std::printf("%s\n", dump_json(out).c_str());
}

}  // namespace vernier
