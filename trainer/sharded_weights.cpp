#include "trainer/sharded_weights.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <tuple>

#include "core/comm/slices.h"

namespace vernier {
namespace {
constexpr const char* kWhat = "weights of a unit";
}

ShardedWeights::ShardedWeights(Decoder& decoder, Ranks& ranks, at::Device device,
                               const std::function<void(int64_t)>& fill)
    : decoder_(decoder),
      ranks_(ranks),
      own_(at::zeros({Slices(decoder.weights().numel(), ranks.size()).each()},
                     at::TensorOptions(at::kFloat).device(device))),
      uses_(decoder.units().size()),
      gradients_(decoder.units().size()) {
  decoder.keep_in(*this, device);
  take(fill);
}

void ShardedWeights::take(const std::function<void(int64_t)>& fill) {
  release();
  for (int64_t unit = 0; unit < std::ssize(decoder_.units()); ++unit) {
    const at::Tensor values = decoder_.room_for(unit);
    decoder_.put(unit, values);
    brought_ = unit;  // who fills it needs nothing of what is there
    fill(unit);
    take_unit(unit, values);
    drop();
  }
}

void ShardedWeights::take(const at::Tensor& weights) {
  release();
  for (int64_t unit = 0; const Unit& place : decoder_.units())
    take_unit(unit++, weights.narrow(0, place.begin, place.end - place.begin));
}

void ShardedWeights::take_unit(int64_t unit, const at::Tensor& values) {
  const Unit& place = decoder_.units()[static_cast<size_t>(unit)];
  Slices(decoder_.weights().numel(), ranks_.size())
      .for_blocks(ranks_.rank(), place.begin, place.end,
                  [&](int64_t at, int64_t own, int64_t count) {
                    own_.narrow(0, own, count).copy_(values.narrow(0, at - place.begin, count));
                  });
}

void ShardedWeights::bring(int64_t unit) {
  if (unit == brought_) return;
  const int64_t before = brought_;
  drop();
  const at::NoGradGuard no_grad;
  ++gathers_;
  if (ahead_ == unit) {
    ++begun_ahead_;
  } else {
    give_up();
    begin(unit);
  }
  arrival_->finish();
  arrival_.reset();
  decoder_.put(unit, std::exchange(arriving_, {}));
  ahead_ = -1;
  size_t next = 0;
  for (Parameter& parameter : decoder_.parameters_of(unit)) {
    if (next == packed_.size()) break;
    std::tie(parameter.forward, parameter.rounded) = std::move(packed_[next++]);
  }
  packed_.clear();
  brought_ = unit;
  if (const int64_t after = unit_after(before, unit); after >= 0) begin(after);
}

void ShardedWeights::begin(int64_t unit) {
  const Unit& place = decoder_.units()[static_cast<size_t>(unit)];
  arriving_ = decoder_.room_for(unit);
  arrival_ =
      ranks_.begin_gather_slices(own_, arriving_, place.begin, decoder_.weights().numel(), kWhat);
  ahead_ = unit;
}

// The one that a pass comes to next, as far as that can be told: embeddings, layers, head, and back
// through the layers; -1: none, or who knows.
int64_t ShardedWeights::unit_after(int64_t before, int64_t unit) const {
  const auto units = std::ssize(decoder_.units());
  const auto layers = std::ssize(decoder_.layers());
  const int64_t head = units > layers + 1 ? units - 1 : 0;
  if (unit == 0) return head == 0 && before == layers ? -1 : 1;
  if (unit == head) return -1;
  if (before == unit - 1) return unit < layers ? unit + 1 : head;
  return unit > 1 ? unit - 1 : -1;
}

// The moments of unit_after(): a unit, the next one on its way, and going back the gradient of the
// unit beside that of the one before, which is leaving.
int64_t ShardedWeights::most_bytes(const Decoder& decoder, bool rounds, bool backward) {
  const auto layers = std::ssize(decoder.layers());
  const bool tied = std::ssize(decoder.units()) == layers + 1;
  const int64_t head = tied ? 0 : layers + 1;
  const auto numbers = [&](int64_t unit) {
    const Unit& place = decoder.units()[static_cast<size_t>(unit)];
    return place.end - place.begin;
  };
  int64_t most = 0;
  const auto see = [&](int64_t unit, int64_t arriving, int64_t gradients) {
    most = std::max(most, (rounds ? 6 : 4) * numbers(unit) + 4 * (arriving + gradients));
  };
  for (int64_t unit = 0; unit <= layers; ++unit)
    see(unit, numbers(unit < layers ? unit + 1 : head), 0);
  if (!backward) return most;
  // That of embeddings which are the head is there until both have added to it.
  const int64_t stays = tied ? numbers(0) : 0;
  see(head, 0, numbers(head));
  int64_t leaving = tied ? 0 : numbers(head);
  for (int64_t unit = layers; unit > 0; --unit) {
    see(unit, unit > 1 ? numbers(unit - 1) : 0, stays + numbers(unit) + leaving);
    leaving = numbers(unit);
  }
  see(1, 0, numbers(0) + leaving);
  return most;
}

void ShardedWeights::release() {
  const at::NoGradGuard no_grad;
  give_up();
  drop();
}

// Of what was begun, and is not wanted.
void ShardedWeights::give_up() {
  if (ahead_ < 0) return;
  arrival_->finish();
  arrival_.reset();
  arriving_ = at::Tensor();
  ahead_ = -1;
}

void ShardedWeights::drop() {
  if (brought_ < 0) return;
  decoder_.put(brought_, {});
  for (Parameter& parameter : decoder_.parameters_of(brought_))
    packed_.emplace_back(std::exchange(parameter.forward, {}),
                         std::exchange(parameter.rounded, {}));
  brought_ = -1;
}

void ShardedWeights::bring_gradient(int64_t unit) {
  at::Tensor& gradient = gradients_[static_cast<size_t>(unit)];
  if (gradient.defined()) return;
  gradient = decoder_.room_for(unit);
  decoder_.put_gradient(unit, gradient);
}

void ShardedWeights::drop_gradient(int64_t unit) {
  decoder_.put_gradient(unit, {});
  gradients_[static_cast<size_t>(unit)] = at::Tensor();
}

void ShardedWeights::gradient_done(int64_t unit) {
  const auto place = static_cast<size_t>(unit);
  bring_gradient(unit);  // of a process that has no tokens for the pass
  if (++uses_[place] < decoder_.uses(unit)) return;
  uses_[place] = 0;
  finish_gradients();
  if (on_gradient) departure_ = on_gradient(decoder_.units()[place].begin, gradients_[place]);
  leaving_ = unit;
}

void ShardedWeights::finish_gradients() {
  if (leaving_ < 0) return;
  const at::NoGradGuard no_grad;
  if (departure_) departure_->finish();
  departure_.reset();
  drop_gradient(leaving_);
  leaving_ = -1;
}

void ShardedWeights::drop_gradients() {
  departure_.reset();
  leaving_ = -1;
  for (int64_t unit = 0; unit < std::ssize(gradients_); ++unit)
    if (gradients_[static_cast<size_t>(unit)].defined()) drop_gradient(unit);
  std::ranges::fill(uses_, 0);
}

void ShardedWeights::gather(at::Tensor& weights) {
  const at::NoGradGuard no_grad;
  ranks_.gather_slices(own_, weights, 0, weights.numel(), "weights of all units");
}

}  // namespace vernier
