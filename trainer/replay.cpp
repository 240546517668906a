#include "trainer/replay.h"

#include <algorithm>
#include <array>
#include <limits>

#include "core/base/clock.h"
#include "core/base/errors.h"
#include "core/base/log.h"
#include "core/kernels/threads.h"
#include "core/model/adapters.h"
#include "rollout/rows.h"
#include "trainer/collector.h"
#include "trainer/learner.h"
#include "trainer/run_folder.h"

namespace vernier {
namespace {

const MetricDocs docs{{"replay/stored_step", "", "replay: step that the rollouts were drawn in"}};

// The gradient under the names of a checkpoint or of its adapter, fp32.
void save_gradient(Decoder& decoder, const fs::path& path) {
  if (const Adapters* adapters = decoder.adapters()) return adapters->save_gradient(path);
  std::vector<SafetensorsWriter::Planned> plan;
  for (const NamedSlice& slice : decoder.slices())
    plan.push_back({.name = slice.name, .shape = slice.shape, .dtype = DType::f32});
  SafetensorsWriter writer(path, plan, {});
  for (const NamedSlice& slice : decoder.slices()) {
    const at::Tensor& all = decoder.parameters()[slice.parameter].grad;
    const at::Tensor own =
        (slice.rows > 0 ? all.narrow(0, slice.first_row, slice.rows) : all).cpu();
    writer.write(own.const_data_ptr<float>());
  }
  writer.commit();
}

class Replay {
 public:
  Replay(RunConfig& config, const std::string& effective, RunFolder& folder,
         const ReplayOptions& options)
      : config_(config),
        effective_(effective),
        folder_(folder),
        options_(options),
        trainee_(load_trainee(config, std::nullopt, team_)),
        learner_(config, trainee_, team_, nullptr) {
    trainee_.progress.phase = "rl";
    if (config.algorithm->reference_kl() > 0) learner_.freeze_reference();  // it draws nothing
    if (config.guard.on())
      log::warn("[guard] has no part in a replay: its knob stays as the file sets it");
    if (options.save_gradients.empty()) return;
    learner_.on_gradient = [this](Decoder& decoder) {
      if (!gradient_saved_) save_gradient(decoder, options_.save_gradients);
      gradient_saved_ = true;
    };
  }

  void go() {
    for (const std::string& given : options_.rollouts) {
      for (const std::string& file : rollout_files(given))
        if (!full())
          read_rollouts(
              file, [&](Group&& group) { take(std::move(group), file); }, true);
    }
    learn();
    if (trainee_.progress.step == 0) fail(options_.rollouts.front(), ": has no row");
    folder_.sync_metrics();
    trainee_.progress.rewards = config_.chain.state();
    save_checkpoint(folder_.path(), *trainee_.model.decoder, *trainee_.model.tokenizer,
                    *trainee_.optimizer, trainee_.progress);
    log::info(cat("replayed ", trainee_.progress.step, " steps into ", folder_.path().string()));
  }

 private:
  bool full() const { return options_.steps > 0 && trainee_.progress.step >= options_.steps; }

  void take(Group&& group, const std::string& file) {
    if (!open_.groups.empty() && group.step != open_.groups.front().step) learn();
    if (full()) return;
    if (group.step <= last_step_)
      fail(file, ": step ", group.step, " comes after step ", last_step_,
           ", which was replayed already; give the files in order of their steps");
    if (!group.role.empty()) return measure(std::move(group));
    check(group, cat(file, ": group ", group.id, " of step ", group.step));
    if (!options_.rescore)  // the rows are large, and only scoring reads them
      for (Response& response : group.responses) response.row.clear();
    open_.groups.push_back(std::move(group));
  }

  // What a sampling plan only measured comes before the groups of its step.
  void measure(Group&& group) {
    if (!options_.rescore) return;
    config_.chain.measure(group);
    config_.chain.observe(group, measured_);
  }

  void check(const Group& group, const std::string& where) const {
    const ModelSpec& spec = trainee_.model.decoder->spec();
    for (const Response& response : group.responses) {
      // One that nothing could score says which part abstained; parts alone are enough for some.
      const bool told = std::ranges::any_of(response.rewards, [&](const RewardPart& part) {
        return !part.abstained.empty() || config_.algorithm->uses_channels();
      });
      if (!options_.rescore && !response.reward && !told)
        fail(where, ": sample ", response.sample, " has no stored reward; use --rescore");
      const int64_t tokens = std::ssize(group.prompt.ids) + response.num_tokens;
      if (tokens > spec.longest())
        fail(where, ": ", tokens, " tokens do not fit the model's ", spec.longest(), " positions");
      for (const auto* ids : {&group.prompt.ids, &response.ids})
        for (const int32_t id : *ids)
          if (id < 0 || id >= spec.vocab_size)
            fail(where, ": token id ", id, " is outside the model's vocabulary, 0 to ",
                 spec.vocab_size - 1);
    }
  }

  // One RL step on the groups that are there.
  void learn() {
    if (open_.groups.empty()) return;
    const Clock clock;
    Progress& progress = trainee_.progress;
    last_step_ = open_.groups.front().step;
    Metrics metrics;
    metrics.set("step", Json(progress.step + 1));
    metrics.set("phase", Json("rl"));
    metrics.set("replay/stored_step", Json(last_step_));
    config_.chain.learn(std::exchange(measured_, {}));
    select(metrics);
    learner_.credit(std::span(open_.groups).first(open_.kept), metrics);
    learner_.update(open_.groups, open_.kept, metrics);
    int64_t responses = 0;
    for (const Group& group : open_.groups) responses += std::ssize(group.responses);
    account(open_.groups, responses, config_.algorithm->uses_channels(), metrics);
    config_.chain.learn(open_.notes);
    metrics.set("time/step", clock.seconds());
    if (progress.step == 0) {  // not before: a call that fails leaves the folder to the next one
      folder_.write_config(effective_);
      folder_.open_metrics(progress);
      if (config_.log.tensorboard) folder_.open_board(progress, config_.log.metric_names);
    }
    folder_.write_metrics(metrics);
    if (Board* board = folder_.board()) board->lengths(progress.step + 1, open_.groups);
    ++progress.step;
    progress.algorithm = config_.algorithm->state();
    open_ = Collected();
    log::progress(cat("step ", progress.step, "  reward ", fixed(metrics.get("reward"), 3),
                      "  loss ", fixed(metrics.get("loss"), 6), "  grad_norm ",
                      fixed(metrics.get("grad_norm"), 6)));
  }

  // Puts those groups first that are trained on: as stored, or by what scoring them again says.
  void select(Metrics& metrics) {
    std::map<std::string, double> numbers;
    if (options_.rescore)
      for (Group& group : open_.groups) {
        group.dropped.clear();
        for (const auto& [name, value] : config_.chain.score(group, false)) numbers[name] += value;
        config_.chain.observe(group, open_.notes);
      }
    if (options_.rescore) config_.chain.finish_step(open_.groups, open_.notes);
    if (options_.rescore && config_.filter.rule != "all") {
      apply_filter(config_.filter, config_.algorithm->uses_channels(),
                   config_.rollout.prompts_per_step, open_, metrics);
    } else {
      open_.put_kept_first();
    }
    add_completion_metrics(open_.groups, metrics);
    for (const auto& [name, value] : numbers) metrics.set(name, value);
  }

  RunConfig& config_;
  const std::string& effective_;
  RunFolder& folder_;
  const ReplayOptions& options_;
  Ranks ranks_;
  const Team team_{.ranks = ranks_, .trainers = ranks_, .deterministic = config_.run.deterministic};
  Trainee trainee_;
  Learner learner_;
  StepNotes measured_;  // of the step that is being read, from before its groups
  Collected open_;      // of the step that is being read
  bool gradient_saved_ = false;
  int64_t last_step_ = std::numeric_limits<int64_t>::min();
};

}  // namespace

void replay(const ReplayOptions& options) {
  std::vector<std::string> overrides = options.overrides;
  if (!options.model.empty()) overrides.push_back(cat("model.path=", options.model));
  ConfigFile file = ConfigFile::load(options.config_paths, overrides);
  if (!options.model.empty()) file.remove("model", "new");
  const std::unique_ptr<RunConfig> config = RunConfig::load(file);
  set_threads(config->run.threads);
  RunFolder folder(config->folder(file, options.run_dir));
  if (fs::exists(folder.path() / "metrics.jsonl") || !list_checkpoints(folder.path()).empty())
    fail("replay: ", folder.path().string(),
         " already holds a run; choose a new folder with --run");
  const std::string effective = file.effective();
  Replay(*config, effective, folder, options).go();
  log::end_progress();
}

}  // namespace vernier
