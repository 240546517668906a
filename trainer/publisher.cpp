#include "trainer/publisher.h"

#include <ATen/ATen.h>

#include <utility>
#include <vector>

#include "core/base/errors.h"

namespace vernier {
namespace {
constexpr const char* kWhat = "weights to the ranks that sample";

// Whether a step asks the policy itself for more than its groups, where these are drawn.
bool asks_the_newest(const RunConfig& config) {
  return config.algorithm != nullptr &&
         (config.algorithm->needs_greedy() || config.algorithm->credit_needs().any() ||
          config.chain.plan().monitor_every > 0);
}

}  // namespace

Publisher::Publisher(const RunConfig& config, Trainee& trainee, const Team& team)
    : config_(config),
      trainee_(trainee),
      team_(team),
      published_(config.tensor_parallel_size == 1),  // parts of a model read no files
      beside_(config.max_staleness > 0 && team.separate() && config.tensor_parallel_size == 1 &&
              !asks_the_newest(config)) {
  // Written to before a cache takes half of what memory there is.
  if (beside_ && receives()) room_ = at::zeros_like(trainee.model.decoder->trained_weights());
}

void Publisher::publish() {
  end_copy();
  version_ = trainee_.progress.step;
  if (std::exchange(published_, true)) return;
  if (team_.separate()) return send();
  if (!trainee_.sharded) return;
  trainee_.sharded->gather(trainee_.model.decoder->weights());
  trainee_.model.decoder->weights_changed();
}

void Publisher::begin() {
  if (!beside_) return publish();
  if (std::exchange(published_, true)) return;
  end_copy();
  begin_copy();
}

// Ranks that do not draw write their slices.
void Publisher::publish_for_checkpoint() {
  if (!team_.separate()) publish();
}

Ranks& Publisher::receivers() {
  if (!receivers_) {
    std::vector<int64_t> members = {0};
    for (int64_t r = team_.trainers.size(); r < team_.ranks.size(); ++r) members.push_back(r);
    receivers_.emplace(team_.ranks, "weights", members);
  }
  return *receivers_;
}

void Publisher::send() {
  if (config_.tensor_parallel_size > 1) return send_parts(*trainee_.model.decoder);
  begin_copy();
  end_copy();
}

// No rank that draws has all weights: it takes its part of a unit where that arrives.
void Publisher::send_parts(Decoder& decoder) {
  Ranks& receivers = this->receivers();
  Decoder& whole = trainee_.whole ? *trainee_.whole : decoder;
  for (int64_t unit = 0; unit < std::ssize(whole.units()); ++unit) {
    const Unit& place = whole.units()[static_cast<size_t>(unit)];
    at::Tensor weights = trainee_.whole
                             ? at::empty({place.end - place.begin}, decoder.weights().options())
                             : decoder.unit_weights(unit);
    if (!receivers.member()) continue;
    receivers.copy_from_first(weights, trainee_.progress.step, kWhat);
    if (trainee_.whole) take_part(trainee_.part, whole, unit, weights, decoder);
  }
  if (receives()) decoder.trained_weights_changed();
}

// Where no rank that trains has them all, they come together where they leave.
void Publisher::begin_copy() {
  Ranks& receivers = this->receivers();
  Decoder& decoder = *trainee_.model.decoder;
  coming_ = trainee_.progress.step;
  taken_ = false;
  if (!shares_weights(config_, team_)) {
    if (!receivers.member()) return;
    at::Tensor& weights = room_.defined() ? room_ : decoder.trained_weights();
    copy_ = receivers.begin_copy(weights, {}, coming_, kWhat);
    if (receivers.first()) copy_->send(0, weights);
    return;
  }
  at::Tensor& weights = room_.defined() ? room_ : decoder.weights();
  std::vector<int64_t> cuts;
  for (const Unit& unit : decoder.units()) cuts.push_back(unit.end);
  if (receivers.member()) copy_ = receivers.begin_copy(weights, std::move(cuts), coming_, kWhat);
  if (receives()) return;
  for (int64_t unit = 0; unit < std::ssize(decoder.units()); ++unit) {
    const at::Tensor values = decoder.unit_weights(unit);
    if (copy_ == nullptr) continue;
    copy_->send(decoder.units()[static_cast<size_t>(unit)].begin, values);
    let_go();  // before the next one comes
  }
}

void Publisher::let_go() const {
  if (copy_ != nullptr && !receives()) ensure(copy_->finish(), "weights that have left");
}

void Publisher::take() {
  if (!copy_->finish()) fail_run(kWhat, ": they have arrived otherwise than they were sent");
  Decoder& decoder = *trainee_.model.decoder;
  if (room_.defined()) decoder.trained_weights().copy_(room_);
  decoder.trained_weights_changed();
  taken_ = true;
  version_ = coming_;
}

void Publisher::end_copy() {
  if (copy_ == nullptr) return;
  receivers_->end_copy(*copy_, kWhat);
  if (receives() && !taken_) take();
  copy_.reset();
}

}  // namespace vernier
