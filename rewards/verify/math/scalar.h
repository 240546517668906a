// Single numbers without symbols, and when two of them are one.
#pragma once

#include <optional>

#include "rewards/verify/math/evaluate.h"

namespace vernier::math {

struct Scalar {
  enum class State : uint8_t { none, exact, approximate, infinite };
  State state = State::none;
  bool decimal = false;  // written as a decimal number, or as a percentage of one
  bool percent = false;  // an integer before a percent sign
  Rational exact;
  std::optional<Integer> whole;  // the integer as it was written, with or without a percent sign
  Ball ball;                     // of `approximate`; the sign of `infinite`
};

/// The value of a tree without symbols; state none where it has none, or one past the limits.
/// `sign`: of ± in it.
Scalar scalar_of(const Tree& tree, int32_t id, int sign, Budget& budget);

/// The number as a ball, which is exact to 64 bits.
Ball ball_of(const Scalar& scalar);

/// True for equal values, and by two rules of convention:
/// - A decimal number is equal to what rounds to the same 6 decimals, where that leaves it 3
///   digits: 1/3 is 0.333333 and not 0.333, and 0.0000001 is not 0.
/// - An integer percentage is equal to its integer too: 50% is 0.5 and 50.
bool same_number(const Scalar& a, const Scalar& b);

}  // namespace vernier::math
