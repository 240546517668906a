#include "trainer/collector.h"

#include <algorithm>
#include <cmath>

#include "core/base/clock.h"
#include "core/base/errors.h"
#include "core/base/log.h"
#include "core/base/pulse.h"
#include "core/metrics/statistics.h"
#include "trainer/group_scorer.h"
#include "trainer/sharing.h"

namespace vernier {
namespace {

constexpr int64_t kBatchesOfConcern = 10;  // generation batches without an end in sight

const MetricDocs docs{
    {"num_tokens", "tokens", "sft: trained in the step; rl: sampled in the step"},
    {"time/rollout", "s", "of sampling"},
    {"time/score", "s",
     "of rewards and transforms; where rewards are outside, of the wait for them after sampling"},
    {"perf/rollout_tokens_per_s", "tokens/s", "sampled, scoring included"},
    {"perf/rollout_passes", "passes", "of the model over the responses that were in the making"},
    {"perf/rollout_computed_tokens", "tokens", "rows of these passes, prompts included"},
    {"perf/rollout_shared_tokens", "tokens", "of prompts, that the cache held already"},
    {"perf/rollout_preemptions", "responses",
     "gave their place in the cache up for a while; more than a few: raise kv_cache_gb"},
    {"perf/rollout_draft_acceptance", "share", "of the guessed tokens (draft_tokens) that came"},
    {"plan/monitor_responses", "responses", "of the rewards' monitoring set, not trained on"},
    {"plan/reference_responses", "responses",
     "of the start policy to prompts that the rewards had none for, not trained on"},
    {"plan/forced_responses", "responses", "that began with the text the rewards force"},
    {"plan/branches", "responses", "that went on from the thinking of another"},
    {"rewards/<name>/<number>", "", "what a reward has learned from the steps before"},
    {"rewards/<name>/failed/<cause>", "responses",
     "of the step that a reward from outside did not score, and why"},
    {"rewards/<name>/<component>/mean", "", "of a number that a reward from outside gives beside"},
    {"staleness/mean", "steps",
     "rollout.max_staleness > 0: how old the weights are that a token was drawn with, mean"},
    {"staleness/max", "steps", "of the oldest token"},
    {"staleness/several_versions", "share",
     "of the responses, that were in the making when the weights changed"},
    {"staleness/groups_ahead", "groups", "begun for later steps when the step had its own"},
    {"workers/count", "workers", "that have weights to draw with"},
    {"workers/groups", "groups", "that have come from workers in the step"},
    {"workers/reissued_groups", "groups",
     "that were issued again since the job began, since their worker was gone"},
    {"workers/late_groups", "groups", "that came from a worker after that, and were not used"},
    {"greedy/reward", "", "advantage = \"remax\": mean reward of the greedy responses"},
    {"filter/sampled_groups", "groups", "drawn in the step"},
    {"filter/pass_rate", "share", "of them that rollout.filter lets through"},
    {"filter/dropped/flat", "groups", "left out: the metric is the same for all responses"},
    {"filter/dropped/outside", "groups", "left out: the mean of the metric is not between the two"},
    {"filter/dropped/empty", "groups",
     "left out: nothing would enter the loss, or no response has the metric"},
    {"filter/dropped/surplus", "groups", "let through, but more than prompts_per_step"},
    {"filter/missing_groups", "groups", "that the step has less than prompts_per_step"},
    {"filter/generation_batches", "batches", "of prompts that the step drew"},
    {"filter/predicted_factor", "",
     "prompts over prompts_per_step that refill = \"predict\" asked for"}};

void add_greedy(const std::vector<Group>& groups, Metrics& metrics) {
  std::vector<double> rewards;
  for (const Group& group : groups)
    if (group.greedy_reward && std::isfinite(*group.greedy_reward))
      rewards.push_back(*group.greedy_reward);
  metrics.set_finite("greedy/reward", mean_of(rewards));
}

// A row's own limit gives way to the step's.
void hold_to(int64_t limit, std::vector<Prompt>& prompts) {
  for (Prompt& prompt : prompts)
    if (prompt.max_completion_length > limit) prompt.max_completion_length = limit;
}

}  // namespace

void Collected::put_kept_first() {
  const auto end = std::stable_partition(groups.begin(), groups.end(),
                                         [](const Group& one) { return one.dropped.empty(); });
  kept = static_cast<size_t>(end - groups.begin());
}

void apply_filter(const FilterConfig& filter, bool by_channel, int64_t target, Collected& step,
                  Metrics& metrics) {
  std::sort(step.groups.begin(), step.groups.end(),
            [](const Group& a, const Group& b) { return a.id < b.id; });
  std::map<std::string, int64_t> dropped{{"flat", 0}, {"outside", 0}, {"empty", 0}, {"surplus", 0}};
  int64_t passed = 0;
  for (Group& group : step.groups) {
    group.dropped = filter.drop_cause(group, by_channel);
    if (group.dropped.empty() && ++passed > target) group.dropped = "surplus";
    if (!group.dropped.empty()) ++dropped.at(group.dropped);
  }
  step.put_kept_first();
  step.pass_rate = static_cast<double>(passed) / static_cast<double>(step.groups.size());
  if (filter.rule == "all") return;
  metrics.set("filter/sampled_groups", Json(step.groups.size()));
  metrics.set("filter/pass_rate", step.pass_rate);
  for (const auto& [cause, count] : dropped) metrics.set("filter/dropped/" + cause, Json(count));
  metrics.set("filter/missing_groups", Json(target - static_cast<int64_t>(step.kept)));
}

Collected Collector::collect(Engine& engine, Metrics& metrics) const {
  const Clock clock;
  const FilterConfig& filter = config_.filter;
  const bool by_channel = config_.algorithm->uses_channels();
  const Progress& progress = trainee_.progress;
  const int64_t target = config_.rollout.prompts_per_step;
  const EngineStats before = engine.stats();
  if (stream_ != nullptr) stream_->begin_step(progress.step, progress.next_prompt);
  Collected step;
  step.next_prompt = progress.next_prompt;
  Numbers numbers;
  double scoring_s = 0;
  int64_t batches = 0, passed = 0;
  if (plan_.monitor_every > 0 && progress.step % plan_.monitor_every == 0)
    measure(engine, prompts_at(0, plan_.monitor_prompts), "monitor",
            config_.rollout.num_generations, step);
  while (const int64_t count = filter.next_batch(target, passed, batches, progress.pass_rates)) {
    draw(engine, count, step, numbers, scoring_s);
    passed = std::count_if(step.groups.begin(), step.groups.end(), [&](const Group& group) {
      return filter.drop_cause(group, by_channel).empty();
    });
    if (++batches % kBatchesOfConcern == 0 && passed < target)
      log::warn(cat("step ", progress.step + 1, ": rollout.filter let ", passed, " of ",
                    step.groups.size(), " groups through, after ", batches,
                    " generation batches; the step wants ", target));
  }
  if (stream_ != nullptr) stream_->end_step(step.next_prompt);
  finish_step(step);
  for (const auto& [name, value] : config_.chain.memory_numbers()) metrics.set(name, value);
  const auto counted = config_.chain.take_counters();
  for (const auto& [name, count] : sum_counts(ranks_, {counted.begin(), counted.end()}))
    metrics.set(name, Json(count));
  if (plan_.measures() || plan_.forced_share > 0 || plan_.branches != SamplingPlan::Branches::none)
    add_plan_metrics(step, metrics);
  apply_filter(filter, by_channel, target, step, metrics);
  if (step.kept == 0)
    log::warn(cat("step ", progress.step + 1, ": rollout.filter left out all of ",
                  step.groups.size(), " groups, so nothing is learned"));
  if (filter.rule != "all") metrics.set("filter/generation_batches", Json(batches));
  if (filter.refill == "predict")
    metrics.set("filter/predicted_factor", filter.predicted_factor(progress.pass_rates));
  add_completion_metrics(step.groups, metrics);
  if (config_.algorithm->needs_greedy()) add_greedy(step.groups, metrics);
  share_map(ranks_, numbers, "numbers of transforms");
  std::map<std::string, double> sums;
  for (const auto& [group, found] : numbers)
    for (const auto& [name, value] : found) sums[name] += value;
  for (const auto& [name, value] : sums) metrics.set(name, value);
  metrics.set("time/rollout", clock.seconds() - scoring_s);
  metrics.set("time/score", scoring_s);
  if (stream_ != nullptr) add_staleness(step, metrics);
  // Some draw while others learn, and are idle while they do not.
  const double stream_s = stream_ != nullptr ? stream_->take_seconds() : 0;
  const bool ahead = stream_ != nullptr && (team_.separate() || config_.cluster.workers.on());
  EngineStats drawn = stream_ != nullptr ? stream_->take_stats() : engine.stats() - before;
  if (team_.follows()) drawn = {};  // another one counts them
  add_engine_metrics(drawn, ahead ? stream_s : clock.seconds(), metrics);
  return step;
}

// What the rewards learn of the groups, and the values of those that span the step.
void Collector::finish_step(Collected& step) const {
  const auto others =
      std::stable_partition(step.groups.begin(), step.groups.end(),
                            [&](const Group& group) { return group.rank == ranks_.rank(); });
  const std::span here(step.groups.begin(), others);
  for (const Group& group : here) config_.chain.observe(group, step.notes);
  share_notes(ranks_, step.notes);
  config_.chain.finish_step(here, step.notes);
  if (config_.chain.spans_step()) share_groups(ranks_, step.groups);
}

RolloutConfig Collector::drawing_of_step() const {
  RolloutConfig drawing = config_.rollout;
  drawing.max_completion_length = drawing.limit_at(trainee_.progress.step + 1);
  return drawing;
}

std::vector<Prompt> Collector::prompts_at(int64_t first, int64_t count) const {
  std::vector<Prompt> prompts = prompts_.take(first, count);
  for (Prompt& prompt : prompts)
    render_prompt(prompt, config_.data, trainee_.chat_format, *trainee_.model.tokenizer);
  return prompts;
}

// Draws groups that the rewards only learn from, and lets them. Their numbers are below 0, so that
// those of the step's own groups do not depend on them.
void Collector::measure(Engine& engine, std::vector<Prompt> prompts, const std::string& role,
                        int64_t num_generations, Collected& step) const {
  constexpr uint64_t kMeasuredSamples = uint64_t{1} << 40;  // apart from what is trained on
  const int64_t done = trainee_.progress.step, before = std::ssize(step.measured);
  RolloutConfig drawing = role == "monitor" ? drawing_of_step() : config_.rollout;
  drawing.num_generations = num_generations;
  hold_to(drawing.max_completion_length, prompts);
  std::vector<Group> groups;
  StepNotes notes;
  const EngineStats engine_before = engine.stats();
  draw_together(team_, [&](const PromptShare& share) {
    engine.generate(
        std::move(prompts), drawing,
        {.seed = static_cast<uint64_t>(config_.run.seed),
         .step = static_cast<uint64_t>(done + 1),
         .first_sample = kMeasuredSamples},
        role == "reference" ? 0 : done, stop_,
        [&](Group&& group) {
          group.id = -1 - before - group.id;
          group.step = done + 1;
          group.role = role;
          group.rank = ranks_.rank();
          config_.chain.measure(group);
          config_.chain.observe(group, notes);
          groups.push_back(std::move(group));
        },
        share);
  });
  if (stream_ != nullptr && role == "monitor") stream_->add_stats(engine.stats() - engine_before);
  share_notes(ranks_, notes);
  config_.chain.learn(notes);
  share_groups(ranks_, groups);
  // Ids fall from -1.
  for (auto group = groups.rbegin(); group != groups.rend(); ++group)
    step.measured.push_back(std::move(*group));
}

void Collector::add_plan_metrics(const Collected& step, Metrics& metrics) const {
  int64_t monitor = 0, reference = 0, forced = 0, branches = 0;
  for (const Group& group : step.measured)
    (group.role == "monitor" ? monitor : reference) += std::ssize(group.responses);
  for (const Group& group : step.groups)
    for (const Response& response : group.responses) {
      forced += std::ranges::count(response.flags, kForcedTextFlag);
      branches += response.branch.thought >= 0;
    }
  if (plan_.monitor_every > 0) metrics.set("plan/monitor_responses", Json(monitor));
  if (plan_.reference_generations > 0) metrics.set("plan/reference_responses", Json(reference));
  if (plan_.forced_share > 0) metrics.set("plan/forced_responses", Json(forced));
  if (plan_.branches != SamplingPlan::Branches::none) metrics.set("plan/branches", Json(branches));
}

void Collector::draw(Engine& engine, int64_t count, Collected& step, Numbers& numbers,
                     double& scoring_s) const {
  const int64_t done = trainee_.progress.step, first_id = std::ssize(step.groups);
  const bool greedy = config_.algorithm->needs_greedy();
  std::vector<Prompt> prompts;  // a stream takes its own
  if (stream_ == nullptr || greedy || plan_.reference_generations > 0)
    prompts = prompts_at(step.next_prompt, count);
  if (plan_.reference_generations > 0) {
    std::vector<Prompt> unknown;
    for (const Prompt& prompt : prompts)
      if (config_.chain.lacks_reference(prompt)) unknown.push_back(prompt);
    if (!unknown.empty())
      measure(reference_(), std::move(unknown), "reference", plan_.reference_generations, step);
  }
  const RolloutConfig drawing = drawing_of_step();
  hold_to(drawing.max_completion_length, prompts);
  std::vector<Prompt> again;
  if (greedy) again = prompts;
  const auto scored = [&](Group&& group, GroupScorer::Numbers found) {
    numbers[group.id] = std::move(found);
    group.rank = ranks_.rank();
    step.groups.push_back(std::move(group));
  };
  GroupScorer scorer(config_.chain, scored, stop_);
  std::function<void(const Group&, size_t)> ended;
  if (config_.chain.asks_outside() && stream_ == nullptr)
    ended = [&scorer](const Group& group, size_t response) { scorer.ended(group, response); };
  if (stream_ != nullptr)
    draw_stream(step, count, first_id, scorer, scoring_s);
  else
    draw_together(team_, [&](const PromptShare& share) {
      draw_groups({.engine = engine,
                   .tokenizer = *trainee_.model.tokenizer,
                   .spec = trainee_.model.decoder->spec(),
                   .config = drawing,
                   .plan = plan_,
                   .key = {.seed = static_cast<uint64_t>(config_.run.seed),
                           .step = static_cast<uint64_t>(done + 1)},
                   .weight_version = done,
                   .first_id = first_id,
                   .stop = stop_,
                   .ended = ended,
                   .share = share},
                  std::move(prompts), [&](Group&& group) { scorer.take(std::move(group)); });
      const Clock clock;
      scorer.finish();
      scoring_s += config_.chain.asks_outside() ? clock.seconds() : scorer.seconds();
    });
  share_groups(ranks_, step.groups);
  step.next_prompt += count;
  if (!again.empty()) draw_greedy(engine, std::move(again), step, scoring_s);
}

// The next `count` groups of the stream.
void Collector::draw_stream(const Collected& step, int64_t count, int64_t first_id,
                            GroupScorer& scorer, double& scoring_s) const {
  const int64_t first = step.next_prompt;
  draw_together_ahead(team_, [&](const PromptShare& share, const OthersDraw& others) {
    const auto done = [&](Group&& group) {
      if (share.follows) return;
      group.id += first_id - first;
      group.step = trainee_.progress.step + 1;
      scorer.take(std::move(group));
    };
    stream_->draw(first + count, stop_, done, others, share);
    const Clock clock;
    scorer.finish();
    scoring_s += config_.chain.asks_outside() ? clock.seconds() : scorer.seconds();
  });
}

// How old the weights are that the step's tokens were drawn with.
void Collector::add_staleness(const Collected& step, Metrics& metrics) const {
  const int64_t now = trainee_.progress.step;
  double sum = 0, tokens = 0;
  int64_t oldest = 0, several = 0, responses = 0;
  for (const Group& group : step.groups)
    for (const Response& response : group.responses) {
      ++responses;
      several += response.versions.size() > 1;
      for (const auto& [version, drawn] : response.versions) {
        const int64_t age = now - version;
        ensure(age >= 0 && age <= config_.max_staleness, "tokens no older than max_staleness");
        oldest = std::max(oldest, age);
        sum += static_cast<double>(age) * drawn;
        tokens += drawn;
      }
    }
  metrics.set_finite("staleness/mean", sum / tokens);
  metrics.set("staleness/max", Json(oldest));
  metrics.set("staleness/several_versions",
              static_cast<double>(several) / static_cast<double>(responses));
  const IssueQueue& queue = stream_->queue();
  ensure(queue.balanced(), "every group that was issued");
  const auto sums = sum_counts(ranks_, {{"open", team_.follows() ? 0 : stream_->open_groups()},
                                        {"reissued", queue.counts().reissued},
                                        {"late", stream_->late()},
                                        {"elsewhere", stream_->take_elsewhere()}});
  metrics.set("staleness/groups_ahead", Json(sums.at("open")));
  if (!config_.cluster.workers.on()) return;
  metrics.set("workers/groups", Json(sums.at("elsewhere")));
  metrics.set("workers/reissued_groups", Json(sums.at("reissued")));
  metrics.set("workers/late_groups", Json(sums.at("late")));
}

// One greedy response to each of the prompts of the groups drawn last.
void Collector::draw_greedy(Engine& engine, std::vector<Prompt> prompts, Collected& step,
                            double& scoring_s) const {
  if (stream_ != nullptr) stream_->interrupt();
  const EngineStats engine_before = engine.stats();
  RolloutConfig drawing = drawing_of_step();
  drawing.num_generations = 1;
  drawing.sampling = {.temperature = 0};
  drawing.record_logprobs.clear();
  const int64_t first_id = std::ssize(step.groups) - std::ssize(prompts);
  std::map<int64_t, double> rewards;
  draw_together(team_, [&](const PromptShare& share) {
    engine.generate(
        std::move(prompts), drawing, {}, trainee_.progress.step, stop_,
        [&](Group&& group) {
          const Clock clock;
          const pulse::Slow slow("scoring");  // here, and not beside sampling
          group.step = trainee_.progress.step + 1;
          config_.chain.score(group, false);
          rewards[first_id + group.id] = group.responses.front().reward.value_or(std::nan(""));
          scoring_s += clock.seconds();
        },
        share);
  });
  if (stream_ != nullptr) stream_->add_stats(engine.stats() - engine_before);
  share_map(ranks_, rewards, "greedy rewards");
  for (Group& group : step.groups)
    if (const auto found = rewards.find(group.id); found != rewards.end())
      group.greedy_reward = found->second;
}

void Collector::add_engine_metrics(const EngineStats& stats, double seconds,
                                   Metrics& metrics) const {
  const auto sums = sum_counts(ranks_, {{"new", stats.new_tokens},
                                        {"passes", stats.passes},
                                        {"computed", stats.scheduler.computed_tokens},
                                        {"shared", stats.scheduler.shared_tokens},
                                        {"preemptions", stats.scheduler.preemptions},
                                        {"drafted", stats.drafted_tokens},
                                        {"accepted", stats.accepted_tokens}});
  metrics.set("num_tokens", Json(sums.at("new")));
  metrics.set("perf/rollout_tokens_per_s", static_cast<double>(sums.at("new")) / seconds);
  metrics.set("perf/rollout_passes", Json(sums.at("passes")));
  metrics.set("perf/rollout_computed_tokens", Json(sums.at("computed")));
  metrics.set("perf/rollout_shared_tokens", Json(sums.at("shared")));
  metrics.set("perf/rollout_preemptions", Json(sums.at("preemptions")));
  if (config_.rollout.draft_tokens == 0) return;
  const auto drafted = static_cast<double>(sums.at("drafted"));
  if (drafted > 0)
    metrics.set("perf/rollout_draft_acceptance",
                static_cast<double>(sums.at("accepted")) / drafted);
  else
    metrics.set_undefined("perf/rollout_draft_acceptance");
}

}  // namespace vernier
