// What a rank checks in a job of its own: run by `vernier_tests --ranks N`.
#pragma once

namespace vernier::testing {

/// Every collective of Ranks, and the sum of gradients. 0 where all held on this rank.
int check_ranks();

}  // namespace vernier::testing
