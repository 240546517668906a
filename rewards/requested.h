// The length that a prompt asks for, and how well a response keeps to it.
#pragma once

#include <optional>
#include <string>

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

/// The interval that the row's target_length asks for: n, or {"about": n}: [0.8 n, 1.2 n]; [x, y];
/// {"above": n}: [n, 1.5 n]; {"below": n}: [0.5 n, n]. None without the column; where it is none of
/// these, none too, and `problem` says why. Source: Self-Lengthen (QwenLM/Self-Lengthen).
struct RequestedInterval {
  double low = 0, high = 0;
};
std::optional<RequestedInterval> requested_interval(const Prompt& prompt, std::string& problem);

/// 1 in the interval; max(0, 2 length / low - 1) below it, max(0, 3 - 2 length / high) above: 0 at
/// half of low and at 1.5 times high. The same source.
double interval_score(double length, const RequestedInterval& interval);

}  // namespace vernier
