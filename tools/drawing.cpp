#include "tools/drawing.h"

#include <algorithm>
#include <set>

#include "core/base/errors.h"
#include "core/base/log.h"
#include "core/comm/identity.h"
#include "core/kernels/threads.h"
#include "rollout/prompts.h"
#include "rollout/rows.h"
#include "trainer/evaluate.h"
#include "trainer/signals.h"

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

Drawing prepare(const DrawOptions& options, std::shared_ptr<Model> model) {
  if (const Identity identity = identity_from(process_environment()); identity.world_size > 1)
    fail("eval, generate and compare draw in one process, and this is rank ", identity.rank, " of ",
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
  out.model = model != nullptr ? std::move(model)
                               : std::make_shared<Model>(load_model(
                                     options.model, {.max_length = options.max_length,
                                                     .device = at::Device(options.device)}));
  const ChatFormat format = choose_chat_format(
      {.name = options.raw ? "none" : options.chat_format, .date = options.chat_date},
      out.model->tokenizer->chat_template(), options.model);
  for (Prompt& prompt : out.prompts) render_prompt(prompt, data, format, *out.model->tokenizer);
  size_t longest = 0;
  for (const Prompt& prompt : out.prompts) longest = std::max(longest, prompt.ids.size());
  const int64_t room = out.model->decoder->spec().longest() - static_cast<int64_t>(longest);
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

namespace {

// What the rows of a part were drawn with: all that another draw would have other rows by. Files
// are known by name, size and time.
Json fingerprint(const DrawOptions& o, const Drawing& drawing) {
  Json files = Json::array();
  const auto add_file = [&](const fs::path& path) {
    files.push_back({path.filename().string(), fs::file_size(path),
                     fs::last_write_time(path).time_since_epoch().count()});
  };
  if (fs::is_directory(o.model)) {
    std::set<fs::path> inside;
    for (const auto& entry : fs::directory_iterator(o.model))
      if (entry.is_regular_file()) inside.insert(entry.path());
    for (const fs::path& path : inside) add_file(path);
  } else {
    add_file(o.model);
  }
  std::string ids;
  for (const Prompt& prompt : drawing.prompts) {
    ids.append(reinterpret_cast<const char*>(prompt.ids.data()),
               prompt.ids.size() * sizeof(int32_t));
    ids += cat("|", prompt.index, "|", prompt.answer, "|", prompt.verify, "|", prompt.row, "\n");
  }
  const RolloutConfig& config = drawing.config;
  const SamplingParams& sampling = config.sampling;
  const EndingConfig& ending = config.ending;
  return {{"model", o.model},
          {"model_files", files},
          {"prompts", drawing.prompts.size()},
          {"prompts_hash", hash_bytes(ids.data(), ids.size())},
          {"max_length", o.max_length},
          {"device", o.device},
          {"weights", o.weights},
          {"n", o.n},
          {"seed", o.seed},
          {"max_completion_length", config.max_completion_length},
          {"temperature", sampling.temperature},
          {"top_k", sampling.top_k},
          {"top_p", sampling.top_p},
          {"min_p", sampling.min_p},
          {"repetition_penalty", sampling.repetition_penalty},
          {"logit_bias", o.logit_bias},
          {"stop", ending.stop},
          {"stop_token_ids", ending.stop_token_ids},
          {"thinking_budget", ending.thinking_budget},
          {"repetition_ngram", ending.repetition_ngram},
          {"repetition_limit", ending.repetition_limit},
          {"record_logprobs", o.record_logprobs},
          {"think_start", config.think_start},
          {"think_end", config.think_end}};
}

bool is_pipe(const std::string& out) {
  return out == "-" || (fs::exists(out) && !fs::is_regular_file(out));
}

}  // namespace

DrawnGroups::DrawnGroups(const DrawOptions& options, Drawing& drawing, bool keep)
    : options_(options),
      drawing_(drawing),
      kind_(drawing.config.sampling.temperature == 0 ? "plain" : "tempered"),
      keep_(keep) {
  if (options.out.empty()) return;
  if (is_pipe(options.out))
    pipe_.emplace(options.out);
  else
    store_.emplace(options.out, fingerprint(options, drawing), options.n);
}

EngineStats DrawnGroups::draw(Engine& engine, const Use& use) {
  if (store_) {
    install_signal_handlers();
    store_->each([&](Group&& group) { use(group, judge_group(group)); });
  }
  std::vector<Prompt> prompts;
  std::vector<int64_t> places;  // of those among all prompts
  for (int64_t i = 0; i < std::ssize(drawing_.prompts); ++i) {
    if (store_ && store_->has(i)) continue;
    places.push_back(i);
    prompts.push_back(std::move(drawing_.prompts[static_cast<size_t>(i)]));
  }
  if (prompts.empty()) return {};
  try {
    return draw_rest(engine, std::move(prompts), places, use);
  } catch (const Interrupted&) {
    log::info(cat("left; what is done is in ", options_.out,
                  ".part, and the same command goes on with it"));
    throw;
  }
}

EngineStats DrawnGroups::draw_rest(Engine& engine, std::vector<Prompt> prompts,
                                   const std::vector<int64_t>& places, const Use& use) {
  return draw_evaluation(engine, std::move(prompts), drawing_.config,
                         static_cast<uint64_t>(options_.seed), store_ ? &stop_requested() : nullptr,
                         [&](Group&& group) {
                           group.id = places[static_cast<size_t>(group.id)];
                           group.step = 0;
                           const std::vector<Candidate> judged = judge_group(group);
                           pass_on(group);
                           use(group, judged);
                           if (keep_ && !store_) kept_.push_back(std::move(group));
                         });
}

void DrawnGroups::pass_on(const Group& group) {
  if (store_) store_->add(group, kind_);
  if (!pipe_) return;
  std::string& rows = early_[group.id];
  for (const std::string& row : row_texts(group, /*token_fields=*/true, kind_)) rows += row + "\n";
  for (auto first = early_.begin(); first != early_.end() && first->first == next_;
       first = early_.erase(first), ++next_)
    pipe_->write(first->second);
}

void DrawnGroups::each(const std::function<void(Group&&)>& use) const {
  if (store_) return store_->each(use);
  for (const Group& group : kept_) use(Group(group));
}

void DrawnGroups::finish() {
  if (store_) store_->finish();
  if (pipe_) pipe_->commit();
}

}  // namespace vernier
