#include "trainer/learner.h"

#include <algorithm>

#include "core/base/buffer.h"
#include "core/base/clock.h"
#include "core/base/errors.h"
#include "core/base/log.h"
#include "trainer/credit.h"
#include "trainer/packing.h"
#include "trainer/sharing.h"
#include "trainer/step.h"

namespace vernier {
namespace {

const MetricDocs docs{
    {"samples/trained", "responses", "that entered the loss"},
    {"updates", "updates", "optimizer steps of the RL step; what follows is their mean"},
    {"time/credit", "s",
     "of the advantages, with the passes over the model that some of them need"},
    {"time/update", "s", "of forward, backward and optimizer"}};

// The engine's own log-probabilities in place of a pass over the model.
void take_recorded(Update& update) {
  for (Sample& sample : update.samples) {
    const Response& response = *sample.response;
    if (response.logprobs.empty())
      fail("trainer.old_logprobs = \"rollout\": sample ", response.sample,
           " has no logprobs; use \"recompute\"");
    sample.old_is_recorded = true;
    sequence_of(response, nullptr).for_drawn([&](int64_t t) {
      sample.old.push_back(response.logprobs[static_cast<size_t>(t)]);
    });
  }
}

}  // namespace

void Learner::freeze_reference() {
  if (!config_.needs_reference() || base_is_reference() || trainee_.whole) return;
  if (!trainee_.sharded) {
    reference_ = trainee_.model.decoder->frozen_copy();
    return;
  }
  Decoder& now = trainee_.trained();
  reference_ = std::make_unique<Decoder>(now.spec(), false, at::kFloat, at::kMeta);
  reference_->training = now.training;
  reference_weights_ = sharded_copy(*reference_, team_, now);
}

void Learner::load_reference(const fs::path& checkpoint) {
  if (!config_.needs_reference() || base_is_reference() || trainee_.whole) return;
  const std::string problem = check_checkpoint(checkpoint);
  if (!problem.empty())
    fail_run(checkpoint.string(), ": the reference policy cannot be read: ", problem);
  const ModelSource source(checkpoint.string());
  if (trainee_.sharded) {
    reference_ = std::make_unique<Decoder>(
        read_head(source, config_.max_length, config_.reach).spec, false, at::kFloat, at::kMeta);
    reference_weights_ = std::make_unique<ShardedWeights>(
        *reference_, team_.trainers, config_.device(),
        [&](int64_t unit) { read_weights(source, *reference_, reference_->slices_of(unit)); });
  } else {
    reference_ = load_model(source, {.max_length = config_.max_length,
                                     .device = config_.device(),
                                     .reach = config_.reach})
                     .decoder;
  }
  reference_->training = config_.training;
}

// RL begins with adapters that say nothing: the start policy is what they lie on.
bool Learner::base_is_reference() const { return config_.lora && config_.sft.steps == 0; }

Decoder* Learner::reference() {
  return base_is_reference() ? trainee_.model.decoder.get() : reference_.get();
}

void Learner::credit(std::span<Group> groups, Metrics& metrics) {
  const Clock clock;
  assign_credit(*config_.algorithm, groups,
                {.policy = trainee_.model.decoder.get(),
                 .reference = reference(),
                 .temperature = config_.rollout.sampling.temperature,
                 .max_tokens = config_.max_tokens_per_microbatch},
                metrics, team_);
  if (trainee_.apart) trainee_.model.decoder->release_training_memory();  // that trains elsewhere
  metrics.set("time/credit", clock.seconds());
}

void Learner::fill_old(std::vector<Update>& updates) {
  const double temperature = config_.rollout.sampling.temperature;
  const int64_t budget = config_.max_tokens_per_microbatch;
  for (Update& one : updates) {
    // With one update the current policy is the old one; later ones need it written down first.
    if (config_.old_logprobs == "rollout")
      take_recorded(one);
    else if (updates.size() > 1)
      fill_logprobs(trainee_.trained(), one, temperature, budget, false, team_);
    if (config_.algorithm->loss_reads_reference())
      fill_logprobs(*reference(), one, temperature, budget, true, team_);
  }
}

void Learner::update(const std::vector<Group>& groups, size_t count, Metrics& metrics) {
  const Clock clock;
  const auto per_update =
      config_.samples_per_update == 0
          ? count
          : static_cast<size_t>(config_.samples_per_update /
                                config_.chain.plan().group_size(config_.rollout.num_generations));
  std::vector<Update> updates;
  for (size_t first = 0; first < count; first += per_update)
    updates.push_back(make_update(groups, first, std::min(count, first + per_update),
                                  config_.rollout.max_completion_length,
                                  config_.algorithm->uses_channels()));
  share_samples(team_, groups, updates);
  if (!team_.trainers.member()) return hear_trainers();
  try {
    learn(updates, count, metrics);
  } catch (const Interrupted&) {
    tell_samplers(true);
    throw;
  }
  tell_samplers(false);
  metrics.set("time/update", clock.seconds());
}

// On the ranks that train.
void Learner::learn(std::vector<Update>& updates, size_t count, Metrics& metrics) {
  int64_t trained = 0;
  for (const Update& one : updates) trained += one.totals.sequences;
  fill_old(updates);
  metrics.set("samples/trained", Json(trained));
  if (trained == 0 && count > 0)
    log::warn(cat("step ", trainee_.progress.step + 1,
                  ": no response has a reward, so nothing is learned",
                  "; samples/abstained counts them"));
  // Once an update of this step is in the weights, the step has to be finished: there is no
  // saving half of one.
  const std::atomic<bool>* stop = stop_;
  std::vector<Metrics> found;
  for (Update& one : updates) {
    if (one.totals.sequences == 0) continue;
    const UpdateResult result = optimizer_step(
        trainee_.trained(), *trainee_.optimizer, *config_.algorithm, one,
        config_.rollout.sampling.temperature, config_.max_tokens_per_microbatch, config_.optimizer,
        config_.optimizer.rate(trainee_.progress.step, config_.run.steps), stop,
        found.emplace_back(), on_gradient, team_);
    count_update(result, config_, trainee_.progress);
    stop = nullptr;
  }
  // Rollouts come next. Memory that was written once is worth keeping, unless they will need it.
  Decoder& decoder = trainee_.trained();
  if (available_memory() < decoder.training_memory()) decoder.release_training_memory();
  add_means(found, metrics);
  metrics.set("updates", Json(found.size()));
}

namespace {

std::string learned_counter(const Trainee& trainee) {
  return cat("learned at step ", trainee.progress.step);
}

constexpr const char* kOutcome = "what the updates of a step did";

}  // namespace

// How the updates ended, and the algorithm's state, which credit depends on.
void Learner::tell_samplers(bool interrupted) {
  if (!team_.separate()) return;
  if (meanwhile && team_.ranks.first()) team_.ranks.count(learned_counter(trainee_), 1);
  team_.ranks.from_first(
      team_.ranks.first() ? cat(interrupted ? '1' : '0', config_.algorithm->state().dump()) : "",
      kOutcome);
}

void Learner::hear_trainers() {
  const auto learned = [this] { return team_.ranks.count(learned_counter(trainee_), 0); };
  if (meanwhile)
    meanwhile([&] { return team_.asked_once(learned, "whether the others learn") == 0; });
  const std::string heard = team_.ranks.from_first("", kOutcome);
  ensure(!heard.empty(), "the outcome of a step");
  if (heard.front() == '1') throw Interrupted();
  if (const Json state = Json::parse(heard.substr(1)); !state.is_null())
    config_.algorithm->restore(state);
}

}  // namespace vernier
