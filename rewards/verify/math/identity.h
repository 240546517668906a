// Equality of expressions with symbols, tried at points (J. Schwartz, 1980; R. Zippel, 1979).
#pragma once

#include "rewards/verify/math/evaluate.h"

namespace vernier::math {

/// A tree, and the sign of ± in it.
struct Item {
  int32_t id = kNone;
  int sign = 0;  // 0: ± in it, if there is one, stands for both
};

/// True where both have the same value at every point that decides.
bool identical(const Tree& tree, Item a, Item b, Budget& budget);

/// True where the differences of two relations are the same up to a constant factor that is not 0;
/// `positive`: that is above 0.
bool proportional(const Tree& tree, Item left, Item right, Item other_left, Item other_right,
                  bool positive, Budget& budget);

/// True where the tree has a value at enough points.
bool is_defined(const Tree& tree, Item item, Budget& budget);

}  // namespace vernier::math
