// Are two expressions one answer? The ladder, cheapest first:
//
//   1. The same tree.
//   2. An equation whose left side is a name (naming.h) gives its right side where the other side
//      has no equation: x = 5 is 5, and x = 2 + 3 = 5 too, where its numbers agree. Of x = a ≈ b
//      both. x ∈ S is S. ± stands for two values.
//   3. Numbers: exact rationals; else balls of 64-bit mantissa (ball.h); decimal numbers and
//      percentages by the conventions of scalar.h.
//   4. With symbols: equal at fixed points (identity.cpp): 6 in (0.3, 2.7), 3 partly negative; if
//      both sides are analytic, 2 complex ones; else 8 up to 3,000 and 8 near 0, of either sign,
//      where no root and no logarithm leaves the reals. If both sides have one of symbols, these
//      are positive. Points where a side has no value are passed over; 4 must be left.
//   5. Lists and sets as multisets, values with names by name; tuples in order; a list and a tuple
//      in order; a set is no tuple. Intervals with their ends; unions, inequalities in one symbol
//      and (a, b) as sets of reals. Matrices by shape and cell, ratios up to a factor. Equations by
//      left - right up to a factor that is not 0, inequalities up to one above 0.
#pragma once

#include "rewards/verify/math/tree.h"

namespace vernier::math {

/// True where gold and answer are equal. New nodes may be added to the tree. False where the
/// budget is spent first.
bool same_answer(Tree& tree, int32_t gold, int32_t answer, Budget& budget);

/// False where a number in it has no value, or none within the limits: 1/0, 10^{10^{10}}.
bool has_value(const Tree& tree, int32_t id, Budget& budget);

}  // namespace vernier::math
