// What bounds a call: sizes and steps, and no signals. A text past a limit does not parse, and is
// compared as text alone.
#pragma once

#include <cstddef>
#include <cstdint>

namespace vernier::math {

constexpr size_t kMaxText = 2000;         // bytes of an answer
constexpr size_t kMaxNodes = 500;         // of one answer's tree
constexpr int kMaxDepth = 60;             // of brackets and of what opens like them
constexpr size_t kMaxBits = 10'000;       // of an integer, numerator and denominator each
constexpr unsigned kMaxFactorial = 1000;  // its argument; also both of a binomial coefficient
constexpr int64_t kMaxSteps = 100'000;    // of a call; about 30 ns each

/// Steps that a call has left.
struct Budget {
  int64_t steps = kMaxSteps;

  /// False once they are spent.
  bool spend(int64_t count = 1) {
    steps -= count;
    return steps >= 0;
  }
  bool spent() const { return steps < 0; }
};

}  // namespace vernier::math
