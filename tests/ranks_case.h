// What a rank checks in a job of its own: run by `vernier_tests --ranks N`, or --gpu-ranks.
#pragma once

#include <string>

#include "core/base/errors.h"
#include "core/comm/ranks.h"

namespace vernier::testing {

/// Every collective of Ranks, and the sum of gradients. 0 where all held on this rank.
int check_ranks();
/// What of it is of buffers on a GPU, which the ranks may share.
int check_gpu_ranks();

/// Throws where it does not hold: doctest's own checks are not for a rank.
inline void hold(bool ok, const std::string& what) {
  if (!ok) throw BugError(what);
}

/// A model in parts draws as the whole one does, on CPUs and on GPUs.
void check_tensor_parallel(Ranks& ranks);
void check_gpu_tensor_parallel(Ranks& ranks);

}  // namespace vernier::testing
