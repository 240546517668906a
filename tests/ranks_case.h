// What a rank checks in a job of its own: run by `vernier_tests --ranks N`, or --gpu-ranks.
#pragma once

namespace vernier::testing {

/// Every collective of Ranks, and the sum of gradients. 0 where all held on this rank.
int check_ranks();
/// What of it is of buffers on a GPU, which the ranks may share.
int check_gpu_ranks();

}  // namespace vernier::testing
