#include "trainer/loop.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "core/base/buffer.h"
#include "core/base/clock.h"
#include "core/base/errors.h"
#include "core/base/log.h"
#include "core/base/pulse.h"
#include "core/comm/local_ranks.h"
#include "core/comm/nccl_environment.h"
#include "core/kernels/threads.h"
#include "rollout/rows.h"
#include "trainer/collector.h"
#include "trainer/evaluated_prompt.h"
#include "trainer/job_ranks.h"
#include "trainer/learner.h"
#include "trainer/publisher.h"
#include "trainer/run_folder.h"
#include "trainer/run_prompts.h"
#include "trainer/run_stream.h"
#include "trainer/sharing.h"
#include "trainer/signals.h"
#include "trainer/step.h"
#include "trainer/warm_start.h"
#include "trainer/worker_host.h"

namespace vernier {
namespace {

const MetricDocs docs{{"step", "", "the step, from 1; of an evaluation the steps done before it"},
                      {"phase", "", "sft, rl or eval: what the row is of"},
                      {"time/step", "s", "of the whole step"},
                      {"time/eval", "s", "of the evaluation"},
                      {"memory/rollout_peak_mb", "MB",
                       "most that a process held while sampling; of ranks the largest"},
                      {"memory/update_peak_mb", "MB", "most that one held while learning"}};

class Run {
 public:
  Run(RunConfig& config, RunFolder& folder, const Team& team, const TrainOptions& options)
      : config_(config),
        folder_(folder),
        team_(team),
        ranks_(team.ranks),
        start_(shared_start(options)),
        trainee_(load_trainee(config, start_, team)),
        warm_start_(config, trainee_, team),
        learner_(config, trainee_, team, &stop_requested()),
        publisher_(config, trainee_, team) {
    if (!start_) {
      if (config.sft.steps == 0) progress_.phase = "rl";
      progress_.algorithm = config.algorithm->state();
    }
    open_guard();
    // What the guard made of an evaluation is in the checkpoint: one that it does not know is done
    // again.
    if (start_ && !guard_)
      progress_.last_eval =
          ranks_.gather_numbers(folder_.last_evaluation(progress_), "last evaluation").front();
  }

  bool finished() const {
    const bool here = progress_.phase == "rl" && over() &&
                      fs::exists(folder_.path() / checkpoint_name(progress_)) &&
                      (!eval_due() || !look_is_due());
    // Nobody writes to the folder before all have read it.
    return ranks_.any(ranks_.first() && here, "start");
  }

  /// True where it goes on from a checkpoint of its own folder.
  bool resumes() const {
    return start_ && fs::equivalent(fs::absolute(*start_).parent_path(), folder_.path());
  }

  /// Before the warm start.
  void open_prompts() {
    const Model& model = trainee_.model;
    prompts_ = vernier::open_prompts(config_, trainee_.chat_format, *model.tokenizer,
                                     model.decoder->spec());
    if (prompts_.training) prompts_.training->restore(progress_.data);
    if (guard_)  // a file may have fewer than it may take
      if (const auto problem = config_.guard_problem(num_eval_prompts()); !problem.empty())
        fail("guard.max_accuracy_loss: ", problem);
    if (progress_.phase == "sft") warm_start_.check();
    if (config_.cluster.workers.on() && config_.run.steps > 0 && ranks_.first())
      workers_ = std::make_unique<WorkerHost>(config_, trainee_);
  }

  void go() {
    if (ranks_.first()) clear_after(folder_.path(), start_ ? &*start_ : nullptr);
    folder_.mark_requeue(false);
    folder_.open_metrics(progress_);
    if (config_.log.tensorboard) folder_.open_board(progress_, config_.log.metric_names);
    try {
      if (progress_.phase == "sft") {
        warm_start_.run(folder_, stop_requested(), [this] { save(); });
        progress_.algorithm = config_.algorithm->state();
        publisher_.changed();
      }
      learn();
      if (workers_) workers_->end_with(0);
    } catch (const Interrupted&) {
      save();
      if (workers_) workers_->end_with(kRequeueCode);
      folder_.mark_requeue(true);
      log::info(cat("saved ", checkpoint_name(progress_),
                    " on a signal; run the same command to go on",
                    rewinds_ ? ", without --resume: with it the run starts there again" : ""));
      throw;
    }
  }

 private:
  // Where rank 0 finds that the run goes on from: the others may see the folder later than it does.
  std::optional<fs::path> shared_start(const TrainOptions& options) {
    std::string found;
    if (ranks_.first()) found = start_point(options).value_or(fs::path()).string();
    found = ranks_.from_first(std::move(found), "checkpoint to start from");
    return found.empty() ? std::nullopt : std::optional<fs::path>(found);
  }

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
    if (!own && config_.needs_reference())
      fail("--resume ", options.resume,
           ": algo.beta or a reward needs the start policy of that run, which is not in ",
           folder_.path().string(), "; resume it in its own folder");
    const std::string problem = check_checkpoint(chosen);
    if (!problem.empty()) fail("--resume ", options.resume, ": ", problem);
    if (!own) folder_.set_origin(chosen.string());
    return chosen;
  }

  // The guard of another run, or one that was off in between, would go back to what is not there.
  void open_guard() {
    if (!guard_given() || !resumes()) progress_.guard = nullptr;
    if (!guard_given()) return;
    guard_.emplace(config_.guard, *config_.knob, config_.evaluations());
    for (const std::string& other : config_.other_knobs)
      log::warn(cat("guard: ", other,
                    " keeps its strength throughout, before the peak too; what is "
                    "turned is ",
                    config_.knob->name));
    if (progress_.guard.is_null()) {
      progress_.last_eval = std::min(progress_.last_eval, progress_.step - 1);
      return;
    }
    guard_->restore(progress_.guard);
    if (guard_->best_step() < 0) return;
    const fs::path best = folder_.path() / cat("checkpoint-", guard_->best_step());
    if (const std::string problem = check_checkpoint(best); !problem.empty())
      fail(best.string(), ": the guard may have to go back to it, and ", problem,
           "; begin in another folder, or go on from a checkpoint before it");
  }
  bool guard_given() const { return config_.knob.has_value() && config_.run.steps > 0; }

  void check_stop() const {
    if (ranks_.any(stop_requested().load(), "stop of the run")) throw Interrupted();
  }

  void save() {
    progress_.rewards = config_.chain.state();
    const pulse::Slow slow("saving");
    folder_.sync_metrics();
    if (progress_.phase == "sft") publisher_.changed();  // nobody draws during the warm start
    publisher_.publish_for_checkpoint();
    save_checkpoint(folder_.path(), *trainee_.model.decoder, *trainee_.model.tokenizer,
                    *trainee_.optimizer, progress_, ranks_);
    if (!ranks_.first()) return;
    std::vector<int64_t> kept = {config_.run.steps};
    if (guard_) {
      for (const int64_t step : guard_->kept()) kept.push_back(step);
      if (guard_->stopped()) kept.push_back(progress_.step);
    }
    prune_checkpoints(folder_.path(), config_.run.keep_checkpoints, kept);
  }

  // No step follows.
  bool over() const { return progress_.step >= config_.run.steps || (guard_ && guard_->stopped()); }

  bool due(int64_t every) const {
    return progress_.step == 0 || progress_.step >= config_.run.steps ||
           (every > 0 && progress_.step % every == 0);
  }
  // Of a step whose evaluation is due: one that was not the last becomes it where steps were taken
  // off the configuration.
  bool look_is_due() const {
    return progress_.last_eval < progress_.step ||
           (guard_ && !guard_->ended() && progress_.step >= config_.run.steps);
  }
  bool eval_due() const {
    const bool fresh = guard_ && progress_.guard.is_null();  // it begins with a look
    return config_.run.eval_every > 0 && (fresh || due(config_.run.eval_every));
  }

  void learn() {
    const Clock clock;
    const int64_t first = progress_.step;
    publisher_.publish();  // the start policy is what all ranks have now
    if (config_.run.steps > 0) prepare_reference();
    open_stream();
    while (true) {
      const bool keep = eval_due() && look_is_due() && evaluate();
      if (keep || over() || due(config_.run.save_every)) save();
      if (over()) break;
      check_stop();
      config_.chain.mark();
      try {
        rl_step(clock, first);
      } catch (const Interrupted&) {
        config_.chain.roll_back();  // what is saved is the last whole step
        throw;
      }
    }
    log::end_progress();
    if (!peaks_.empty())
      log::info(cat("peak memory: ", fixed(peaks_["memory/rollout_peak_mb"], 0),
                    " MB while sampling, ", fixed(peaks_["memory/update_peak_mb"], 0),
                    " MB while learning"));
  }

  // After a restart the start policy comes from the first checkpoint, which is never pruned.
  void prepare_reference() {
    if (progress_.step == 0)
      learner_.freeze_reference();
    else
      learner_.load_reference(folder_.path() / "checkpoint-0");
  }

  void open_stream() {
    if (config_.run.steps > 0)
      stream_ = make_stream(config_, trainee_, *prompts_.training, team_, engine(), workers_.get());
    wait_for_workers();
    if (!stream_ || !team_.separate()) return;
    learner_.meanwhile = [this](const std::function<bool()>& they_learn) {
      stream_->draw_ahead(they_learn);
    };
    stream_->before_pass = [this] {
      if (!publisher_.here()) return;
      stream_->interrupt();
      publisher_.take();
      stream_->new_weights(publisher_.version());
    };
  }

  void wait_for_workers() {
    if (!config_.cluster.workers.on() || over()) return;
    bool interrupted = false;
    const pulse::Slow slow("waiting for workers");
    try {
      if (workers_) workers_->wait_at_start(stop_requested());
    } catch (const Interrupted&) {
      interrupted = true;
    }
    if (ranks_.any(interrupted, "workers at the start")) throw Interrupted();
  }

  // One for the whole run: its cache keeps its memory.
  Engine& engine() {
    const Model& model = trainee_.model;
    if (engine_ == nullptr) {
      share_memory(config_, team_);
      engine_ = std::make_unique<Engine>(*model.decoder, *model.tokenizer);
    }
    return *engine_;
  }

  // Of the start policy.
  Engine& reference_engine() {
    if (reference_engine_ == nullptr)
      reference_engine_ =
          std::make_unique<Engine>(*learner_.reference(), *trainee_.model.tokenizer);
    return *reference_engine_;
  }

  int64_t group_size() const {
    return config_.chain.plan().group_size(config_.rollout.num_generations);
  }

  void render(Prompt& prompt) const {
    render_prompt(prompt, config_.data, trainee_.chat_format, *trainee_.model.tokenizer);
  }

  int64_t num_eval_prompts() const {
    return std::min(prompts_.evaluation->size(), config_.data.eval_prompts);
  }

  struct Measured {
    Scores scores;
    Metrics metrics;
  };

  // Draws and judges the answers to the evaluation's prompts and stores them.
  Measured measure() {
    const Clock clock;
    Engine& drawer = engine();  // which shares out the memory
    RolloutConfig drawing = config_.rollout;
    drawing.num_generations = config_.eval.n;
    drawing.sampling = {.temperature = config_.eval.temperature};
    drawing.record_logprobs.clear();  // its rows have none
    pulse::enter("evaluating");
    std::vector<Prompt> prompts = prompts_.evaluation->take(0, num_eval_prompts());
    for (Prompt& prompt : prompts) render(prompt);
    std::vector<Group> groups;
    if (stream_) stream_->interrupt();
    publisher_.publish();
    draw_together(team_, [&](const PromptShare& share) {
      draw_evaluation(
          drawer, std::move(prompts), drawing, static_cast<uint64_t>(config_.data.eval_seed),
          &stop_requested(), [&](Group&& group) { groups.push_back(std::move(group)); }, share);
    });
    std::ranges::sort(groups, {}, &Group::id);
    std::map<int64_t, EvaluatedPrompt> by_prompt;
    for (Group& group : groups) {
      group.step = progress_.step;
      group.rank = ranks_.rank();
      const std::vector<Candidate> candidates = judge_group(group);
      EvaluatedPrompt& one = by_prompt[group.id];
      one = {summary_of(group, candidates), score_of(group), {}};
      for (const int64_t budget : config_.eval.budgets)
        at_budget(group, candidates, budget, *trainee_.model.tokenizer,
                  [&](const Group& cut, const std::vector<Candidate>& anew) {
                    one.at_budgets.push_back(summary_of(cut, anew));
                  });
    }
    share_map(ranks_, by_prompt, "prompts of an evaluation");
    share_groups(ranks_, groups);
    store_evaluation(groups);
    std::vector<PromptScore> scores;
    for (const auto& [id, one] : by_prompt) scores.push_back(one.score);
    Metrics metrics;
    metrics.set("step", Json(progress_.step));
    metrics.set("phase", Json("eval"));
    const Evaluation found = add_evaluated(by_prompt, config_.eval.budgets, metrics);
    metrics.set("time/eval", clock.seconds());
    log::end_progress();
    log::info(cat("eval at step ", progress_.step, ": accuracy ", fixed(found.accuracy.value, 3),
                  " [", fixed(found.accuracy.low, 3), ", ", fixed(found.accuracy.high, 3),
                  "], length ", fixed(found.mean_length.value, 1), " [",
                  fixed(found.mean_length.low, 1), ", ", fixed(found.mean_length.high, 1),
                  "] tokens, ", found.num_samples, " samples"));
    return {scores_of(std::move(scores), progress_.step), std::move(metrics)};
  }

  void store_evaluation(std::span<const Group> groups) {
    std::string rows, index = cat(kIndexHeader, "\n");
    collect_rows(
        ranks_, groups, [](const Group& group) { return row_texts(group, false, "tempered"); },
        [&](const Group& group, const std::vector<std::string>& own) {
          for (size_t i = 0; i < own.size(); ++i) {
            index += index_line(group, group.responses[i], rows.size());
            rows += own[i] + "\n";
          }
        });
    if (!ranks_.first()) return;
    if (Board* board = folder_.board()) board->samples(progress_.step, groups);
    fs::create_directories(folder_.path() / "eval");
    const fs::path file = folder_.path() / "eval" / cat("step_", progress_.step, ".jsonl");
    write_file(file, rows);
    write_file(fs::path(file).replace_extension(".idx"), index);
  }

  // Evaluates, and does what the guard makes of it; true where it wants the policy to be kept.
  bool evaluate() {
    Measured found = measure();
    const Move move = guard_ ? judge(found) : Move();
    folder_.write_metrics(found.metrics);
    if (move.restore) {
      const pulse::Slow slow("going back");
      go_back(trainee_, config_, folder_.path() / cat("checkpoint-", *move.restore));
      publisher_.changed();
      if (stream_) stream_->clear(progress_.next_prompt);
      if (over()) {  // what is measured now is what the run ends with
        Measured end = measure();
        guard_->write(move, end.metrics);
        folder_.write_metrics(end.metrics);
      }
    }
    progress_.last_eval = progress_.step;
    return move.keep && !move.restore;
  }

  Move judge(Measured& found) {
    try {
      const bool last = progress_.step >= config_.run.steps;
      const Move move =
          guard_->looked_at(progress_.step) ? guard_->finish() : guard_->look(found.scores, last);
      guard_->write(move, found.metrics);
      progress_.guard = guard_->state();
      log::info(cat("guard at step ", progress_.step, ": ", move.name, ": ", move.reason));
      return move;
    } catch (const UsageError&) {
      save();  // with other settings it goes on from here
      throw;
    }
  }

  void store_rollouts(const Collected& done) const {
    const LogConfig& log = config_.log;
    const int64_t step = progress_.step + 1;
    const fs::path folder = folder_.path() / "rollouts";
    if (log.rollouts_every == 0 || step % log.rollouts_every != 0) return;
    std::optional<RolloutWriter> writer;
    if (ranks_.first()) writer.emplace(folder, step);
    for (const std::vector<Group>* groups : {&done.measured, &done.groups})
      collect_rows(
          ranks_, *groups,
          [&](const Group& group) { return row_texts(group, log.token_fields, "tempered"); },
          [&](const Group& group, const std::vector<std::string>& rows) {
            writer->add(group, rows);
          });
    if (!writer) return;
    writer->commit();
    const int64_t old = step - log.rollouts_keep * log.rollouts_every;
    if (log.rollouts_keep == 0 || old < 1) return;
    fs::remove(folder / cat("step_", old, ".jsonl.zst"));
    fs::remove(folder / cat("step_", old, ".idx"));
  }

  // Runs a phase of the step and notes what it held at most; nothing where the system does not say.
  template <class Body>
  void phase(const std::string& name, Metrics& metrics, const Body& body) {
    const bool knows = reset_peak_memory();
    body();
    const std::vector<int64_t> peaks =
        ranks_.gather_numbers(knows ? static_cast<int64_t>(peak_memory()) : 0, "peak memory");
    if (!knows) return metrics.set_undefined(name);
    const double mb =
        static_cast<double>(*std::max_element(peaks.begin(), peaks.end())) / (1 << 20);
    metrics.set(name, mb);
    peaks_[name] = std::max(peaks_[name], mb);
  }

  void rl_step(const Clock& clock, int64_t first) {
    const Clock step_clock;
    Metrics metrics;
    metrics.set("step", Json(progress_.step + 1));
    metrics.set("phase", Json("rl"));
    if (guard_) {
      guard_->apply();
      metrics.set_finite("guard/pressure", guard_->pressing() ? guard_->pressure() : std::nan(""));
    }
    const Collector collector(
        config_, trainee_, *prompts_.training, team_,
        [this]() -> Engine& { return reference_engine(); }, stream_.get(), &stop_requested());
    Collected step;
    pulse::enter("sampling");
    publisher_.begin();
    if (stream_) stream_->new_weights(publisher_.version());
    if (config_.cluster.workers.on()) {
      if (workers_) workers_->publish(progress_.step);
      const int64_t count =
          ranks_.gather_numbers(workers_ ? workers_->count() : 0, "workers").front();
      stream_->share_with(count);
      metrics.set("workers/count", Json(count));
    }
    phase("memory/rollout_peak_mb", metrics, [&] { step = collector.collect(engine(), metrics); });
    pulse::enter("learning");
    phase("memory/update_peak_mb", metrics, [&] {
      learner_.credit(std::span(step.groups).first(step.kept), metrics);
      store_rollouts(step);
      if (stream_) stream_->hand_out();
      publisher_.let_go();
      if (workers_) workers_->let_go();
      learner_.update(step.groups, step.kept, metrics);
      publisher_.changed();
    });
    account(step.groups, (step.next_prompt - progress_.next_prompt) * group_size(),
            config_.algorithm->uses_channels(), metrics);
    config_.chain.learn(step.notes);
    follow(step, metrics);
    metrics.set("time/step", step_clock.seconds());
    folder_.write_metrics(metrics);
    if (Board* board = folder_.board()) board->lengths(progress_.step + 1, step.groups);
    ++progress_.step;
    progress_.algorithm = config_.algorithm->state();
    progress_.next_prompt = step.next_prompt;
    if (config_.filter.refill == "predict")
      config_.filter.remember(step.pass_rate, progress_.pass_rates);
    show_rl(metrics, clock, first);
  }

  // What the sources of prompts learn from a step.
  void follow(const Collected& step, Metrics& metrics) {
    std::vector<SourceOutcome> outcomes;
    for (const Group& group : step.groups) {
      double right = 0, judged = 0;
      for (const Response& response : group.responses) {
        if (!response.sampled_correct) continue;
        right += *response.sampled_correct ? 1 : 0;
        judged += 1;
      }
      if (judged > 0) outcomes.push_back({group.prompt.source, right / judged});
    }
    prompts_.training->learn(step.next_prompt, outcomes);
    for (const auto& [name, value] : prompts_.training->numbers()) metrics.set_finite(name, value);
    progress_.data = prompts_.training->state();
  }

  void show_rl(const Metrics& metrics, const Clock& clock, int64_t first) const {
    const int64_t done = progress_.step - first, left = config_.run.steps - progress_.step;
    const auto number = [&](const std::string& name, int digits) {
      const double value = metrics.get(name);
      return std::isfinite(value) ? fixed(value, digits) : std::string("-");
    };
    log::progress(cat(
        "step ", progress_.step, "/", config_.run.steps, "  samples ", number("samples/issued", 0),
        " = ", number("samples/trained", 0), " trained + ", number("samples/masked", 0),
        " masked + ", number("samples/dropped", 0), " dropped  accuracy ", number("accuracy", 3),
        "  length right ", number("length/correct/mean", 1), " wrong ",
        number("length/wrong/mean", 1), "  reward ", number("reward", 3), "  ",
        number("perf/rollout_tokens_per_s", 0), " tok/s, ",
        training_speed(trainee_.trained(), metrics), "  ETA ",
        human_seconds(clock.seconds() / static_cast<double>(done) * static_cast<double>(left))));
  }

  RunConfig& config_;
  RunFolder& folder_;
  const Team& team_;
  Ranks& ranks_;
  bool rewinds_ = false;           // --resume names a checkpoint of this run's own folder
  std::optional<fs::path> start_;  // the checkpoint it goes on from
  Trainee trainee_;
  Progress& progress_ = trainee_.progress;
  WarmStart warm_start_;
  Learner learner_;
  Publisher publisher_;
  std::optional<Guard> guard_;
  std::map<std::string, double> peaks_;  // MB, of all steps
  std::unique_ptr<Engine> reference_engine_;
  std::unique_ptr<Engine> engine_;  // of the trainee's model
  RunPrompts prompts_;
  std::unique_ptr<WorkerHost> workers_;  // that have joined; null: nobody may
  std::unique_ptr<GroupStream> stream_;  // null: each step draws its own groups
};

void run_job(RunConfig& config, const std::string& effective, const std::string& dir, Ranks& ranks,
             RankGroups& groups, const TrainOptions& options) {
  check_ranks(config, effective, dir, ranks);
  if (config.device().is_cuda()) ranks.use_gpu();
  const Identity& identity = ranks.identity();
  set_threads(config.run.threads,
              {.processes = identity.local_world_size, .may_be_bound = identity.may_be_bound()});
  RunFolder folder(dir, ranks.first());
  fs::create_directories(folder.path() / "logs");
  log::open_file((folder.path() / "logs" / cat("rank_", ranks.rank(), ".log")).string());
  if (!ranks.alone()) log::info(description_of(ranks.identity()));
  const Team team = team_of(config, ranks, groups);
  if (team.separate())
    log::info(cat(team.trainers.size(), " ranks train, ", config.rollout_ranks, " sample",
                  team.together > 1 ? cat(", each ", team.together, " of them as one") : ""));
  Run run(config, folder, team, options);
  folder.compare_config(effective, run.resumes());
  if (run.finished()) {
    log::info(cat(dir, ": the run is finished; nothing to do"));
    return;
  }
  run.open_prompts();
  folder.write_config(effective);
  run.go();
}

}  // namespace

void train(const TrainOptions& options) {
  install_signal_handlers();
  const Identity identity = identity_from(process_environment());
  if (identity.rank > 0) log::quiet();
  ConfigFile file = ConfigFile::load(options.config_paths, options.overrides);
  const std::unique_ptr<RunConfig> config = RunConfig::load(file);
  const std::string dir = config->folder(file, options.run_dir);
  if (identity.world_size > 1 && config->device().is_cuda()) set_nccl_environment(config->cluster);
  Ranks ranks(identity, config->cluster, &stop_requested());
  RankGroups groups;  // that are there as long as somebody has to be told of an error
  ranks.run_job([&] { run_job(*config, file.effective(), dir, ranks, groups, options); });
}

}  // namespace vernier
