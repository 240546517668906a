#include "trainer/publisher.h"

#include <ATen/ATen.h>

#include <utility>
#include <vector>

namespace vernier {
namespace {
constexpr const char* kWhat = "weights to the ranks that sample";
}

void Publisher::publish() {
  if (std::exchange(published_, true)) return;
  if (team_.separate()) return send();
  if (!trainee_.sharded) return;
  trainee_.sharded->gather(trainee_.model.decoder->weights());
  trainee_.model.decoder->weights_changed();
}

// Ranks that do not draw write their slices.
void Publisher::publish_for_checkpoint() {
  if (!team_.separate()) publish();
}

void Publisher::send() {
  if (!receivers_) {
    std::vector<int64_t> members = {0};
    for (int64_t r = team_.trainers.size(); r < team_.ranks.size(); ++r) members.push_back(r);
    receivers_.emplace(team_.ranks, "weights", members);
  }
  Decoder& decoder = *trainee_.model.decoder;
  if (shares_weights(config_, team_) || config_.tensor_parallel_size > 1)
    send_units(decoder);
  else if (receivers_->member())
    receivers_->copy_from_first(decoder.trained_weights(), trainee_.progress.step, kWhat);
  if (receivers_->member() && !receivers_->first()) decoder.trained_weights_changed();
}

// No rank that trains has them all, and they come together where they leave; or none that draws
// has, and it takes its part where they arrive.
void Publisher::send_units(Decoder& decoder) {
  Decoder& whole = trainee_.whole ? *trainee_.whole : decoder;
  for (int64_t unit = 0; unit < std::ssize(whole.units()); ++unit) {
    if (UnitStore* store = decoder.store()) store->bring(unit);
    if (!receivers_->member()) continue;
    const Unit& place = whole.units()[static_cast<size_t>(unit)];
    const int64_t numbers = place.end - place.begin;
    at::Tensor weights = trainee_.whole ? at::empty({numbers}, at::kFloat)
                                        : decoder.weights().narrow(0, place.begin, numbers);
    receivers_->copy_from_first(weights, trainee_.progress.step, kWhat);
    if (trainee_.whole) take_part(trainee_.part, whole, unit, weights, decoder);
  }
}

}  // namespace vernier
