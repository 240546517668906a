// Tokens to an expression tree, by binding powers (V. Pratt, "Top Down Operator Precedence", 1973).
//
//   list       element (("," | "and" | "or") element)*
//   element    sum-like (relation sum-like)* | symbol "∈" set
//   binding    ∪ ∩ \ = 4    + - ± = 10    * / · × ÷ : = 20    side by side = 30    unary - = 20
//              ! % ° ^ _ = 50
//
// Side by side binds tighter than a stroke: 1/2x is 1/(2x). A function without brackets takes what
// stands side by side behind it, up to the next function: \sin 2x \cos x is a product of two.
// 1\frac12 and 1 1/2 are mixed numbers. No backtracking: every token is looked at once.
#pragma once

#include <string>

#include "rewards/verify/math/tokens.h"
#include "rewards/verify/math/tree.h"

namespace vernier::math {

struct Parsed {
  int32_t root = kNone;  // kNone where the tokens are no expression
  std::string problem;   // why
};

/// The tokens are used up.
Parsed parse(Tokens&& tokens, Tree& tree);

}  // namespace vernier::math
