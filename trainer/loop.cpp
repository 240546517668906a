#include "trainer/loop.h"

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <set>

#include "core/base/clock.h"
#include "core/base/errors.h"
#include "core/base/log.h"
#include "core/base/rng.h"
#include "core/kernels/threads.h"
#include "rollout/rows.h"
#include "trainer/checkpoint.h"
#include "trainer/evaluate.h"
#include "trainer/run_config.h"
#include "trainer/run_folder.h"
#include "trainer/step.h"

namespace vernier {
namespace {

const MetricDocs docs{
    {"step", "", "the step, from 1; of an evaluation the steps done before it"},
    {"phase", "", "sft, rl or eval: what the row is of"},
    {"num_tokens", "tokens", "sft: trained in the step; rl: sampled in the step"},
    {"samples/trained", "responses", "that entered the loss"},
    {"updates", "updates", "optimizer steps of the RL step; what follows is their mean"},
    {"time/step", "s", "of the whole step"},
    {"time/rollout", "s", "of sampling"},
    {"time/score", "s", "of rewards and transforms"},
    {"time/update", "s", "of forward, backward and optimizer"},
    {"time/eval", "s", "of the evaluation"},
    {"perf/rollout_tokens_per_s", "tokens/s", "sampled, scoring included"},
    {"perf/rollout_passes", "passes", "of the model over the responses that were in the making"},
    {"perf/rollout_computed_tokens", "tokens", "rows of these passes, prompts included"},
    {"perf/rollout_shared_tokens", "tokens", "of prompts, that the cache held already"},
    {"perf/rollout_preemptions", "responses",
     "gave their place in the cache up for a while; more than a few: raise kv_cache_gb"},
    {"perf/rollout_draft_acceptance", "share", "of the guessed tokens (draft_tokens) that came"}};

std::atomic<bool> stop_requested{false};

// The first signal asks to save and leave, the second leaves.
extern "C" void on_signal(int) {
  if (stop_requested.exchange(true)) _exit(128 + SIGINT);
}

void install_signal_handlers() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  for (const int signal : {SIGTERM, SIGINT, SIGUSR1}) sigaction(signal, &action, nullptr);
}

// Adds up what the transforms report of each group.
void add_numbers(const std::vector<std::pair<std::string, double>>& numbers,
                 std::map<std::string, double>& sums) {
  for (const auto& [name, value] : numbers) sums[name] += value;
}

class Run {
 public:
  Run(RunConfig& config, RunFolder& folder, const TrainOptions& options)
      : config_(config), folder_(folder) {
    start_ = start_point(options);
    const auto& found = start_;
    if (found)
      model_ = load_model(found->string(), {.trained = true, .max_length = config.max_length});
    else if (config.new_model)
      model_ = new_model(*config.new_model, static_cast<uint64_t>(config.run.seed), true);
    else
      model_ = load_model(config.model_path, {.trained = true, .max_length = config.max_length});
    *config.decode = [tokenizer = model_.tokenizer](std::span<const int32_t> ids) {
      return tokenizer->decode(ids);
    };
    chat_format_ = choose_chat_format(config.chat_format, model_.tokenizer->chat_template(),
                                      found              ? found->string()
                                      : config.new_model ? "model.new"
                                                         : config.model_path);
    optimizer_ = std::make_unique<OptimizerState>(*model_.decoder);
    if (found) progress_ = load_trainer_state(*found, *optimizer_);
    if (!progress_.algorithm.is_null()) config_.algorithm->restore(progress_.algorithm);
    if (found)
      progress_.last_eval = folder_.last_evaluation(progress_);
    else if (config.sft.steps == 0)
      progress_.phase = "rl";
    if (found)
      log::info(
          cat("resuming from ", found->string(), ": ", progress_.phase, " step ", progress_.step));
    // Names what the model does not have now, and not after the warm start.
    const DrawRules rules(config.rollout, *model_.tokenizer, model_.decoder->spec());
    log::info(cat("model: ", model_.decoder->num_parameters(), " parameters, tokenizer ",
                  model_.tokenizer->kind(), " of ", model_.tokenizer->size(), " ids, chat format ",
                  chat_format_.name));
  }

  bool finished() const {
    return progress_.phase == "rl" && progress_.step >= config_.run.steps &&
           fs::exists(folder_.path() / checkpoint_name(progress_)) &&
           (!eval_due() || progress_.last_eval == progress_.step);
  }

  /// True where it goes on from a checkpoint of its own folder.
  bool resumes() const {
    return start_ && fs::equivalent(fs::absolute(*start_).parent_path(), folder_.path());
  }

  /// Opens the prompts and checks that they fit the model, every row of a file and the first of a
  /// task: before the warm start, and not hours later when the long one is drawn.
  void open_prompts() {
    const PromptCheck fits = [this](Prompt&& prompt, const std::string& where) {
      placed(where, [&] { render_prompt(prompt, config_.data, chat_format_, *model_.tokenizer); });
      check_fits(prompt, where, config_.rollout, model_.decoder->spec());
    };
    if (config_.run.steps > 0)
      prompts_ = training_prompts(config_.data, static_cast<uint64_t>(config_.run.seed), fits);
    if (config_.run.eval_every > 0) eval_prompts_ = evaluation_prompts(config_.data, fits);
    if (progress_.phase == "sft") check_demonstrations();
  }

  void go() {
    clear_after(folder_.path(), start_ ? &*start_ : nullptr);
    folder_.open_metrics(progress_);
    try {
      warm_start();
      learn();
    } catch (const Interrupted&) {
      save();
      log::info(cat("saved ", checkpoint_name(progress_),
                    " on a signal; run the same command to go on",
                    rewinds_ ? ", without --resume: with it the run starts there again" : ""));
      throw;
    }
  }

 private:
  std::optional<fs::path> start_point(const TrainOptions& options) {
    if (options.resume == "auto") return find_checkpoint(folder_.path());
    if (options.resume == "never") {
      if (!list_checkpoints(folder_.path()).empty())
        fail("--resume never: ", folder_.path().string(),
             " already holds checkpoints of a run; "
             "remove them or choose another folder with --run");
      return std::nullopt;
    }
    if (!fs::is_directory(options.resume))
      fail("--resume ", options.resume, ": is neither auto, never, nor the folder of a checkpoint");
    const fs::path chosen = fs::canonical(options.resume);
    const bool own = fs::equivalent(chosen.parent_path(), folder_.path());
    rewinds_ = own;
    // The same command again goes on from what this run has saved since.
    if (!own && folder_.origin() == chosen.string())
      if (const auto newest = find_checkpoint(folder_.path())) return newest;
    if (!own && !list_checkpoints(folder_.path()).empty())
      fail("--resume ", options.resume, ": ", folder_.path().string(),
           " already holds checkpoints of "
           "another run; choose a new folder with --run");
    if (!own && config_.algorithm->reference_kl() > 0)
      fail("--resume ", options.resume,
           ": algo.beta needs the start policy of that run, which is not in ",
           folder_.path().string(), "; resume it in its own folder");
    const std::string problem = check_checkpoint(chosen);
    if (!problem.empty()) fail("--resume ", options.resume, ": ", problem);
    if (!own) folder_.set_origin(chosen.string());
    return chosen;
  }

  void check_stop() const {
    if (stop_requested.load()) throw Interrupted();
  }

  void save() {
    folder_.sync_metrics();
    save_checkpoint(folder_.path(), *model_.decoder, *model_.tokenizer, *optimizer_, progress_);
    prune_checkpoints(folder_.path(), config_.run.keep_checkpoints, config_.run.steps);
  }

  void count_update(const UpdateResult& result) {
    progress_.nonfinite_in_a_row = result.applied ? 0 : progress_.nonfinite_in_a_row + 1;
    if (result.applied) return;
    log::warn(
        cat("step ", progress_.step + 1, ": the gradient is not finite; the update was skipped"));
    if (progress_.nonfinite_in_a_row > config_.max_nonfinite_updates)
      fail_run(progress_.nonfinite_in_a_row,
               " updates in a row were not finite (guard."
               "max_nonfinite_updates = ",
               config_.max_nonfinite_updates,
               "); the weights are those of "
               "the last good update");
  }

  // ---- warm start

  using Pairs = std::vector<std::pair<std::vector<int32_t>, std::vector<int32_t>>>;

  // Batches whose demonstrations are sorted by length together. One ends where the curriculum does.
  struct Bucket {
    int64_t number, first_step, batches;
    bool early;
  };
  Bucket bucket_at(int64_t step) const {
    const SftConfig& sft = config_.sft;
    const int64_t size = sft.bucket_batches, end = sft.curriculum.empty() ? 0 : sft.curriculum[0];
    const bool early = step < end;
    const int64_t place = early ? step / size : (step - end) / size;
    const int64_t first = (early ? 0 : end) + place * size;
    return {.number = early ? place : (end + size - 1) / size + place,
            .first_step = first,
            .batches = early ? std::min(size, end - first) : size,
            .early = early};
  }

  void fill_demonstrations(const Bucket& bucket) {
    if (bucket.number == bucket_) return;
    const SftConfig& sft = config_.sft;
    const int64_t whole = sft.batch_sequences * sft.bucket_batches;
    demonstrations_.clear();
    for (int64_t i = 0; i < sft.batch_sequences * bucket.batches; ++i)
      demonstrations_.push_back(config_.data.family->demonstrate(
          static_cast<uint64_t>(config_.run.seed), bucket.number * whole + i,
          bucket.early ? sft.curriculum[1] : 0));
    std::stable_sort(demonstrations_.begin(), demonstrations_.end(),
                     [](const Demonstration& a, const Demonstration& b) {
                       return a.prompt.size() + a.response.size() <
                              b.prompt.size() + b.response.size();
                     });
    bucket_ = bucket.number;
  }

  // A demonstration's prompt as a rollout would be given it.
  std::vector<int32_t> prompt_ids(const Demonstration& one) const {
    Prompt prompt;
    prompt.id = "of a demonstration";
    prompt.text = one.prompt;
    render_prompt(prompt, config_.data, chat_format_, *model_.tokenizer);
    return std::move(prompt.ids);
  }

  void check_demonstrations() {
    fill_demonstrations(bucket_at(progress_.step));
    const Demonstration& longest = demonstrations_.back();
    const auto tokens = static_cast<int64_t>(prompt_ids(longest).size() +
                                             model_.tokenizer->encode(longest.response).size());
    const int64_t room = model_.decoder->spec().longest();
    if (tokens - 1 > room)
      fail("sft: a demonstration of data.task = \"", config_.data.task, "\" has ", tokens,
           " tokens, the model only ", room, " positions");
  }

  // The batch of step `step`; the batches of a bucket come in shuffled order.
  Pairs batch_of(int64_t step) {
    const Bucket bucket = bucket_at(step);
    fill_demonstrations(bucket);
    const int64_t batch = config_.sft.batch_sequences;
    const int64_t place =
        Permutation(static_cast<uint64_t>(config_.run.seed), static_cast<uint64_t>(bucket.number),
                    bucket.batches)(step - bucket.first_step);
    Pairs pairs;
    for (int64_t i = place * batch; i < (place + 1) * batch; ++i) {
      const Demonstration& one = demonstrations_[static_cast<size_t>(i)];
      pairs.emplace_back(prompt_ids(one), model_.tokenizer->encode(one.response));
    }
    return pairs;
  }

  void warm_start() {
    if (progress_.phase != "sft") return;
    if (config_.data.family == nullptr || !config_.data.family->demonstrate)
      fail("sft.steps: a warm start needs a data.task with demonstrations; data.task = \"",
           config_.data.task, "\" has none");
    const Clock clock;
    const int64_t first = progress_.step;
    double tokens = 0;  // trained since then: batches differ in length
    for (int64_t step = first; step < config_.sft.steps; ++step) {
      check_stop();
      const Clock step_clock;
      Metrics metrics;
      metrics.set("step", Json(step + 1));
      metrics.set("phase", Json("sft"));
      const UpdateResult result =
          sft_step(*model_.decoder, *optimizer_, batch_of(step), config_.sft.loss_divisor,
                   config_.max_tokens_per_microbatch, config_.sft.optimizer,
                   config_.sft.optimizer.rate(step, config_.sft.steps), metrics);
      count_update(result);
      metrics.set("time/step", step_clock.seconds());
      folder_.write_metrics(metrics);
      progress_.step = step + 1;
      tokens += metrics.get("num_tokens");
      show_sft(metrics, clock, first, tokens);
      if (config_.sft.save_every > 0 && progress_.step % config_.sft.save_every == 0 &&
          progress_.step < config_.sft.steps)
        save();
    }
    progress_ = {.phase = "rl"};
    optimizer_ = std::make_unique<OptimizerState>(*model_.decoder);
    log::end_progress();
  }

  void show_sft(const Metrics& metrics, const Clock& clock, int64_t first, double tokens) const {
    const int64_t every =
        isatty(STDERR_FILENO) != 0 ? 10 : std::max<int64_t>(config_.sft.steps / 20, 1);
    if (progress_.step % every != 0 && progress_.step != config_.sft.steps) return;
    const double each = clock.seconds() / static_cast<double>(progress_.step - first);
    log::progress(
        cat("sft ", progress_.step, "/", config_.sft.steps, "  nll ", fixed(metrics.get("nll"), 4),
            "  ", fixed(tokens / clock.seconds(), 0), " tok/s  ETA ",
            human_seconds(each * static_cast<double>(config_.sft.steps - progress_.step))));
  }

  // ---- RL

  bool due(int64_t every) const {
    return progress_.step == 0 || progress_.step == config_.run.steps ||
           (every > 0 && progress_.step % every == 0);
  }
  bool eval_due() const { return config_.run.eval_every > 0 && due(config_.run.eval_every); }

  void learn() {
    const Clock clock;
    const int64_t first = progress_.step;
    if (config_.run.steps > 0) prepare_reference();
    while (true) {
      if (eval_due() && progress_.last_eval < progress_.step) evaluate();
      if (due(config_.run.save_every)) save();
      if (progress_.step >= config_.run.steps) break;
      check_stop();
      rl_step(clock, first);
    }
    log::end_progress();
  }

  // The start policy, frozen, where the loss holds on to it. After a restart it comes from the
  // first checkpoint, which is never pruned.
  void prepare_reference() {
    if (config_.algorithm->reference_kl() <= 0) return;
    const fs::path start = folder_.path() / "checkpoint-0";
    if (progress_.step == 0) {
      reference_.decoder = std::make_unique<Decoder>(model_.decoder->spec(), false);
      reference_.decoder->weights().copy_(model_.decoder->weights());
      reference_.decoder->weights_changed();
    } else {
      const std::string problem = check_checkpoint(start);
      if (!problem.empty())
        fail_run(start.string(), ": the reference policy cannot be read: ", problem);
      reference_ = load_model(start.string(), {.max_length = config_.max_length});
    }
  }

  // One for the whole run: its cache keeps its memory.
  Engine& engine() {
    if (engine_ == nullptr) engine_ = std::make_unique<Engine>(*model_.decoder, *model_.tokenizer);
    return *engine_;
  }

  std::vector<Prompt> rendered(std::vector<Prompt> prompts) const {
    for (Prompt& prompt : prompts)
      render_prompt(prompt, config_.data, chat_format_, *model_.tokenizer);
    return prompts;
  }

  void evaluate() {
    const Clock clock;
    RolloutConfig drawing = config_.rollout;
    drawing.num_generations = config_.eval.n;
    drawing.sampling = {.temperature = config_.eval.temperature};
    drawing.record_logprobs.clear();  // its rows have none
    const int64_t count = std::min(eval_prompts_->size(), config_.data.eval_prompts);
    EngineStats stats;
    std::vector<Group> groups =
        draw_evaluation(engine(), rendered(eval_prompts_->take(0, count)), drawing,
                        static_cast<uint64_t>(config_.data.eval_seed), &stop_requested, &stats);
    for (Group& group : groups) group.step = progress_.step;
    const Evaluation found = summarize(groups);
    std::string rows;
    for (const Group& group : groups)
      for (const Response& response : group.responses)
        rows += dump_json(rollout_row(group, response, false, "tempered")) + "\n";
    fs::create_directories(folder_.path() / "eval");
    write_file(folder_.path() / "eval" / cat("step_", progress_.step, ".jsonl"), rows);
    Metrics metrics;
    metrics.set("step", Json(progress_.step));
    metrics.set("phase", Json("eval"));
    add_evaluation(found, metrics);
    metrics.set("time/eval", clock.seconds());
    folder_.write_metrics(metrics);
    progress_.last_eval = progress_.step;
    log::end_progress();
    log::info(cat("eval at step ", progress_.step, ": accuracy ", fixed(found.accuracy.value, 3),
                  " [", fixed(found.accuracy.low, 3), ", ", fixed(found.accuracy.high, 3),
                  "], length ", fixed(found.mean_length.value, 1), " [",
                  fixed(found.mean_length.low, 1), ", ", fixed(found.mean_length.high, 1),
                  "] tokens, ", found.num_samples, " samples"));
  }

  // Responses of one step, scored and with their advantages.
  std::vector<Group> collect(Metrics& metrics) {
    const Clock clock;
    const int64_t step = progress_.step, count = config_.rollout.prompts_per_step;
    std::vector<Group> groups;
    std::map<std::string, double> numbers;
    double scoring = 0;
    const EngineStats stats = engine().generate(
        rendered(prompts_->take(step * count, count)), config_.rollout,
        {.seed = static_cast<uint64_t>(config_.run.seed), .step = static_cast<uint64_t>(step + 1)},
        step, &stop_requested, [&](Group&& group) {
          const Clock scoring_clock;
          group.step = step + 1;
          add_numbers(config_.chain.score(group, false), numbers);
          scoring += scoring_clock.seconds();
          groups.push_back(std::move(group));
        });
    std::sort(groups.begin(), groups.end(),
              [](const Group& a, const Group& b) { return a.id < b.id; });
    assign_credit(*config_.algorithm, groups,
                  {.policy = model_.decoder.get(),
                   .reference = reference_.decoder.get(),
                   .temperature = config_.rollout.sampling.temperature,
                   .max_tokens = config_.max_tokens_per_microbatch},
                  metrics);
    add_completion_metrics(groups, metrics);
    for (const auto& [name, value] : numbers) metrics.set(name, value);
    metrics.set("num_tokens", Json(stats.new_tokens));
    metrics.set("time/rollout", clock.seconds() - scoring);
    metrics.set("time/score", scoring);
    metrics.set("perf/rollout_tokens_per_s",
                static_cast<double>(stats.new_tokens) / clock.seconds());
    metrics.set("perf/rollout_passes", Json(stats.passes));
    metrics.set("perf/rollout_computed_tokens", Json(stats.scheduler.computed_tokens));
    metrics.set("perf/rollout_shared_tokens", Json(stats.scheduler.shared_tokens));
    metrics.set("perf/rollout_preemptions", Json(stats.scheduler.preemptions));
    if (config_.rollout.draft_tokens > 0) {
      const auto drafted = static_cast<double>(stats.drafted_tokens);
      if (drafted > 0)
        metrics.set("perf/rollout_draft_acceptance",
                    static_cast<double>(stats.accepted_tokens) / drafted);
      else
        metrics.set_undefined("perf/rollout_draft_acceptance");
    }
    return groups;
  }

  void update(const std::vector<Group>& groups, Metrics& metrics) {
    const Clock clock;
    const double temperature = config_.rollout.sampling.temperature;
    const int64_t budget = config_.max_tokens_per_microbatch;
    const auto per_update =
        config_.samples_per_update == 0
            ? groups.size()
            : static_cast<size_t>(config_.samples_per_update / config_.rollout.num_generations);
    std::vector<Update> updates;
    for (size_t first = 0; first < groups.size(); first += per_update)
      updates.push_back(make_update(groups, first, std::min(groups.size(), first + per_update),
                                    config_.rollout.max_completion_length,
                                    config_.algorithm->uses_channels()));
    int64_t trained = 0;
    for (Update& one : updates) {
      trained += one.totals.sequences;
      // With one update the current policy is the old one; later ones need it written down first.
      if (updates.size() > 1) fill_logprobs(*model_.decoder, one, temperature, budget, false);
      if (config_.algorithm->loss_reads_reference())
        fill_logprobs(*reference_.decoder, one, temperature, budget, true);
    }
    metrics.set("samples/trained", Json(trained));
    if (trained == 0)
      log::warn(cat("step ", progress_.step + 1,
                    ": no response has a reward, so nothing is learned",
                    "; samples/abstained counts them"));
    // Once an update of this step is in the weights, the step has to be finished: there is no
    // saving half of one.
    const std::atomic<bool>* stop = &stop_requested;
    std::vector<Metrics> found;
    for (Update& one : updates) {
      if (one.samples.empty()) continue;
      count_update(optimizer_step(*model_.decoder, *optimizer_, *config_.algorithm, one,
                                  temperature, budget, config_.optimizer,
                                  config_.optimizer.rate(progress_.step, config_.run.steps), stop,
                                  found.emplace_back()));
      stop = nullptr;
    }
    add_means(found, metrics);
    metrics.set("updates", Json(found.size()));
    metrics.set("time/update", clock.seconds());
  }

  void store_rollouts(const std::vector<Group>& groups) const {
    const LogConfig& log = config_.log;
    const int64_t step = progress_.step + 1;
    const fs::path folder = folder_.path() / "rollouts";
    if (log.rollouts_every == 0 || step % log.rollouts_every != 0) return;
    write_rollout_files(folder, step, groups, log.token_fields, "tempered");
    const int64_t old = step - log.rollouts_keep * log.rollouts_every;
    if (log.rollouts_keep == 0 || old < 1) return;
    fs::remove(folder / cat("step_", old, ".jsonl.zst"));
    fs::remove(folder / cat("step_", old, ".idx"));
  }

  void rl_step(const Clock& clock, int64_t first) {
    const Clock step_clock;
    Metrics metrics;
    metrics.set("step", Json(progress_.step + 1));
    metrics.set("phase", Json("rl"));
    const std::vector<Group> groups = collect(metrics);
    store_rollouts(groups);
    update(groups, metrics);
    metrics.set("time/step", step_clock.seconds());
    folder_.write_metrics(metrics);
    ++progress_.step;
    progress_.algorithm = config_.algorithm->state();
    show_rl(metrics, clock, first);
  }

  void show_rl(const Metrics& metrics, const Clock& clock, int64_t first) const {
    const int64_t done = progress_.step - first, left = config_.run.steps - progress_.step;
    const auto number = [&](const std::string& name, int digits) {
      const double value = metrics.get(name);
      return std::isfinite(value) ? fixed(value, digits) : std::string("-");
    };
    log::progress(cat(
        "step ", progress_.step, "/", config_.run.steps, "  accuracy ", number("accuracy", 3),
        "  length right ", number("length/correct/mean", 1), " wrong ",
        number("length/wrong/mean", 1), "  reward ", number("reward", 3), "  ",
        number("perf/rollout_tokens_per_s", 0), " tok/s  ETA ",
        human_seconds(clock.seconds() / static_cast<double>(done) * static_cast<double>(left))));
  }

  RunConfig& config_;
  RunFolder& folder_;
  Model model_, reference_;
  std::unique_ptr<Engine> engine_;  // of model_
  ChatFormat chat_format_;
  std::unique_ptr<OptimizerState> optimizer_;
  std::unique_ptr<PromptSource> prompts_, eval_prompts_;  // null where the run has no use for them
  bool rewinds_ = false;  // --resume names a checkpoint of this run's own folder
  Progress progress_;
  std::optional<fs::path> start_;              // the checkpoint it goes on from
  std::vector<Demonstration> demonstrations_;  // of bucket_
  int64_t bucket_ = -1;
};

}  // namespace

void train(const TrainOptions& options) {
  ConfigFile file = ConfigFile::load(options.config_path, options.overrides);
  const std::unique_ptr<RunConfig> config = RunConfig::load(file);
  std::string dir = options.run_dir.empty() ? config->run.dir : options.run_dir;
  if (dir.empty() && !config->run.name.empty()) dir = "runs/" + config->run.name;
  if (dir.empty())
    fail(options.config_path,
         ": run.dir: no folder is given; set it or run.name, or use --run DIR");
  set_threads(config->run.threads);
  RunFolder folder(dir);
  fs::create_directories(folder.path() / "logs");
  log::open_file((folder.path() / "logs" / "rank_0.log").string());
  install_signal_handlers();
  Run run(*config, folder, options);
  folder.compare_config(file.effective(), run.resumes());
  if (run.finished()) {
    log::info(cat(dir, ": the run is finished; nothing to do"));
    return;
  }
  run.open_prompts();
  folder.write_config(file.effective());
  run.go();
}

}  // namespace vernier
