#include "trainer/gradient_sum.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <bit>

#include "core/base/errors.h"
#include "core/comm/slices.h"
#include "core/model/decoder.h"

namespace vernier {
namespace {
constexpr const char* kWhat = "sum of gradients";
}

const Team& Team::alone() {
  static Ranks ranks;
  static const Team team{.ranks = ranks, .trainers = ranks};
  return team;
}

int64_t Team::asked_once(const std::function<int64_t()>& ask, const char* what) const {
  if (partners == nullptr) return ask();
  return partners->gather_numbers(follows() ? 0 : ask(), what).front();
}

int64_t most_passes(const Team& team, int64_t own) {
  return std::ranges::max(team.trainers.gather_numbers(own, "passes"));
}

void make_passes(Decoder& decoder, const Team& team, int64_t own,
                 const std::function<void(int64_t)>& pass) {
  const int64_t all = decoder.store() == nullptr ? own : most_passes(team, own);
  for (int64_t i = 0; i < all; ++i)
    if (i < own)
      pass(i);
    else
      decoder.join_pass(false);
  if (UnitStore* store = decoder.store()) store->release();
}

GradientSum::GradientSum(const Team& team, Decoder& decoder) : team_(team), decoder_(decoder) {
  if (UnitStore* store = decoder.store())
    store->on_gradient = [this](int64_t first, const at::Tensor& gradient) {
      return team_.trainers.begin_sum_to_slices(gradient, first, decoder_.gradients().numel(),
                                                adding(), kWhat);
    };
}

GradientSum::~GradientSum() {
  if (UnitStore* store = decoder_.store()) {
    store->on_gradient = {};
    store->drop_gradients();  // there are some behind an error alone
  }
}

bool GradientSum::by_pass() const { return team_.deterministic || decoder_.store() != nullptr; }

at::Tensor& GradientSum::slice_at(size_t depth) {
  const Slices slices(decoder_.gradients().numel(), team_.trainers.size());
  while (slices_.size() <= depth)
    slices_.push_back(
        at::zeros({slices.each()}, at::TensorOptions(at::kFloat).device(decoder_.device())));
  return slices_[depth];
}

// In round i of a pass a stretch meets what waits of the rounds before it as a carry does in binary
// counting: depths are numbers of ones.
Ranks::TakeSum GradientSum::adding() {
  const auto round = static_cast<uint64_t>(passes_ % team_.rounds());
  const int depth = std::popcount(round), merges = std::countr_one(round);
  const bool whole = round + 1 == static_cast<uint64_t>(team_.rounds());
  slice_at(whole ? 0 : static_cast<size_t>(depth) + 1);  // of this thread's stream on a GPU
  return [this, depth, merges, whole](int64_t place, const at::Tensor& arrived) {
    const auto waiting = [&](int at) {
      return slice_at(static_cast<size_t>(at) + 1).narrow(0, place, arrived.numel());
    };
    at::Tensor sum = arrived;
    for (int k = 1; k <= merges; ++k) sum = waiting(depth - k).add_(sum);
    if (whole)
      slice_at(0).narrow(0, place, arrived.numel()).add_(sum);
    else if (merges == 0)
      waiting(depth).copy_(sum);
  };
}

void GradientSum::add() {
  if (trivial()) return;
  if (UnitStore* store = decoder_.store()) {
    store->finish_gradients();
  } else {
    at::Tensor& gradients = decoder_.gradients();
    team_.trainers.sum_to_slices(gradients, 0, gradients.numel(), adding(), kWhat);
    gradients.zero_();
  }
  ++passes_;
}

at::Tensor& GradientSum::finish(bool slice) {
  at::Tensor& gradients = decoder_.gradients();
  if (trivial()) return gradients;
  ensure(passes_ % team_.rounds() == 0, "whole trees of rounds");
  slice_at(0);  // also where there was nothing to add
  slices_.resize(1);
  if (slice) return slices_.front();
  const Slices slices(gradients.numel(), team_.trainers.size());
  slices.for_blocks(team_.trainers.rank(), 0, gradients.numel(),
                    [&](int64_t at, int64_t place, int64_t count) {
                      gradients.narrow(0, at, count).copy_(slices_.front().narrow(0, place, count));
                    });
  team_.trainers.gather_slices(gradients, "gather of gradients");
  return gradients;
}

}  // namespace vernier
