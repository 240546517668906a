// Sets of real numbers as disjoint spans: intervals, unions, and the solutions of inequalities.
#pragma once

#include <optional>
#include <vector>

#include "rewards/verify/math/scalar.h"

namespace vernier::math {

struct Bound {
  Scalar value;  // infinite, exact or approximate
  bool open = true;
};

struct Span {
  Bound low, high;
};

/// The spans ascend and do not touch.
using RealSet = std::vector<Span>;

struct Solved {
  RealSet set;
  int32_t symbol = kNone;   // whose inequality it was; kNone for intervals
  bool is_unnamed = false;  // "> 5": any symbol's
};

/// The set that a tree stands for: intervals and (a, b), finite sets, ∪ ∩ \, R, ∅, inequalities
/// that are linear in their one symbol (2x + 1 > 5, 0 < x < 2, x ≠ 3) and lists of these. None for
/// anything else, and where a bound has a symbol in it.
std::optional<Solved> real_set_of(const Tree& tree, int32_t id, Budget& budget);

/// The same bounds, open or closed alike.
bool same_set(const RealSet& a, const RealSet& b);

}  // namespace vernier::math
