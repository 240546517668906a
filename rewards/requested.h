// The length that a prompt asks for.
#pragma once

#include "rewards/reward.h"

namespace vernier {

/// Tokens that the prompt asks for: its row's target_length, else `configured`; none where that is
/// 0 too. A negative target_length means "at most so many", as L1 writes it. Throws UsageError on a
/// column that is no such number.
struct Requested {
  double tokens = 0;
  bool at_most = false;
};
std::optional<Requested> requested_length(const Prompt& prompt, double configured);

}  // namespace vernier
