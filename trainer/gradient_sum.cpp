#include "trainer/gradient_sum.h"

#include <ATen/ATen.h>

#include "core/base/errors.h"
#include "core/comm/slices.h"

namespace vernier {

const Team& Team::alone() {
  static Ranks ranks;
  static const Team team{.ranks = ranks, .trainers = ranks};
  return team;
}

void GradientSum::add() {
  if (trivial()) return;
  const Slices slices(gradients_.numel(), team_.trainers.size());
  at::Tensor sum = at::empty({slices.each}, gradients_.options());
  team_.trainers.sum_to_slices(gradients_, sum, "sum of gradients");
  gradients_.zero_();
  ++rounds_;
  for (int64_t done = rounds_; done % 2 == 0; done /= 2) {
    levels_.back().add_(sum);
    sum = levels_.back();
    levels_.pop_back();
  }
  levels_.push_back(sum);
}

void GradientSum::finish(bool slice) {
  if (trivial()) return;
  ensure(rounds_ == team_.rounds() && levels_.size() == 1, "a whole tree of rounds");
  const int64_t rank = team_.trainers.rank();
  const Slices slices(gradients_.numel(), team_.trainers.size());
  gradients_.narrow(0, slices.begin(rank), slices.size(rank))
      .copy_(levels_.back().narrow(0, 0, slices.size(rank)));
  levels_.clear();
  if (!slice) team_.trainers.gather_slices(gradients_, "gather of gradients");
}

}  // namespace vernier
