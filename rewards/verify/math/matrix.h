// Matrices with a factor before them.
#pragma once

#include "rewards/verify/math/tree.h"

namespace vernier::math {

/// The matrix that a tree stands for: one, or one with a sign, a factor, a divisor, or T as its
/// exponent. New nodes are added to the tree. kNone for anything else.
int32_t as_matrix(Tree& tree, int32_t id);

}  // namespace vernier::math
