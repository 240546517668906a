// What stands on the left of "= 5" where 5 is the answer.
#pragma once

#include "rewards/verify/math/tree.h"

namespace vernier::math {

/// A name: x, f(x), f(5), f^{-1}(3), AB, |AB|, \sin A, (x, y).
bool is_name(const Tree& tree, int32_t id);

/// What "= 5" may be the answer for: a name, f(2) - f(1), or an expression in several symbols, as
/// x + y. An expression in one, as 2x or x + 3, is an equation that is not solved yet.
bool asks_for_value(const Tree& tree, int32_t id);

}  // namespace vernier::math
