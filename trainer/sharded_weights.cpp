#include "trainer/sharded_weights.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <tuple>

#include "core/base/buffer.h"
#include "core/comm/slices.h"

namespace vernier {
namespace {

constexpr const char* kWhat = "weights of a unit";

void forget_unit(at::Tensor& buffer, const Unit& unit) {
  const at::Tensor numbers = buffer.narrow(0, unit.begin, unit.end - unit.begin);
  forget(numbers.data_ptr(), numbers.nbytes());
}

}  // namespace

ShardedWeights::ShardedWeights(Decoder& decoder, Ranks& ranks,
                               const std::function<void(int64_t)>& fill)
    : decoder_(decoder), ranks_(ranks), uses_(decoder.units().size()) {
  at::Tensor& weights = decoder.weights();
  own_ = at::zeros({Slices(weights.numel(), ranks.size()).each()}, at::kFloat);
  for (const at::Tensor& buffer : {weights, decoder.gradients()})
    if (buffer.defined()) use_small_pages(buffer.data_ptr(), buffer.nbytes());
  take(fill);
  decoder.keep_in(*this);
}

void ShardedWeights::take(const std::function<void(int64_t)>& fill) {
  release();
  for (int64_t unit = 0; unit < std::ssize(decoder_.units()); ++unit) {
    brought_ = unit;  // who fills it needs nothing of what is there
    fill(unit);
    take_unit(unit, decoder_.weights());
    drop();
  }
}

void ShardedWeights::take(const at::Tensor& weights) {
  release();
  for (int64_t unit = 0; unit < std::ssize(decoder_.units()); ++unit) take_unit(unit, weights);
}

void ShardedWeights::take_unit(int64_t unit, const at::Tensor& weights) {
  const Unit& place = decoder_.units()[static_cast<size_t>(unit)];
  Slices(weights.numel(), ranks_.size())
      .for_blocks(ranks_.rank(), place.begin, place.end,
                  [&](int64_t at, int64_t own, int64_t count) {
                    own_.narrow(0, own, count).copy_(weights.narrow(0, at, count));
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
  arrival_ = ranks_.begin_gather_slices(own_, decoder_.weights(), place.begin, place.end, kWhat);
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
  forget_unit(decoder_.weights(), decoder_.units()[static_cast<size_t>(ahead_)]);
  ahead_ = -1;
}

void ShardedWeights::drop() {
  if (brought_ < 0) return;
  forget_unit(decoder_.weights(), decoder_.units()[static_cast<size_t>(brought_)]);
  for (Parameter& parameter : decoder_.parameters_of(brought_)) {
    parameter.changed();
    packed_.emplace_back(std::exchange(parameter.forward, {}),
                         std::exchange(parameter.rounded, {}));
  }
  brought_ = -1;
}

void ShardedWeights::gradient_done(int64_t unit) {
  const auto place = static_cast<size_t>(unit);
  if (++uses_[place] < decoder_.uses(unit)) return;
  uses_[place] = 0;
  finish_gradients();
  const Unit& range = decoder_.units()[place];
  if (on_gradient) departure_ = on_gradient(range.begin, range.end);
  leaving_ = unit;
}

void ShardedWeights::finish_gradients() {
  if (leaving_ < 0) return;
  const at::NoGradGuard no_grad;
  if (departure_) departure_->finish();
  departure_.reset();
  forget_unit(decoder_.gradients(), decoder_.units()[static_cast<size_t>(leaving_)]);
  leaving_ = -1;
}

void ShardedWeights::drop_gradients() {
  departure_.reset();
  leaving_ = -1;
  std::ranges::fill(uses_, 0);
}

void ShardedWeights::gather(at::Tensor& weights) {
  const at::NoGradGuard no_grad;
  ranks_.gather_slices(own_, weights, 0, weights.numel(), "weights of all units");
}

}  // namespace vernier
