// Values that hold from a step on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace vernier {

/// The value of the last of `steps`, which rise, that `step` has reached; `otherwise` before the
/// first. One value a step.
template <class Value>
Value value_at(const std::vector<int64_t>& steps, const std::vector<Value>& values, int64_t step,
               Value otherwise) {
  for (size_t k = 0; k < steps.size(); ++k)
    if (steps[k] <= step) otherwise = values[k];
  return otherwise;
}

}  // namespace vernier
