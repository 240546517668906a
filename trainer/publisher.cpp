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
  if (shares_weights(config_, team_))
    send_units(decoder);
  else if (receivers_->member())
    receivers_->copy_from_first(decoder.trained_weights(), kWhat);
  if (receivers_->member() && !receivers_->first()) decoder.trained_weights_changed();
}

// No rank that trains has them all: they come together where they leave.
void Publisher::send_units(Decoder& decoder) {
  for (int64_t unit = 0; unit < std::ssize(decoder.units()); ++unit) {
    if (UnitStore* store = decoder.store()) store->bring(unit);
    if (!receivers_->member()) continue;
    const Unit& place = decoder.units()[static_cast<size_t>(unit)];
    at::Tensor weights = decoder.weights().narrow(0, place.begin, place.end - place.begin);
    receivers_->copy_from_first(weights, kWhat);
  }
}

}  // namespace vernier
