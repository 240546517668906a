// Gradients against central differences in fp64.
#pragma once

#include <doctest/doctest.h>

#include <vector>

namespace vernier::testing {

/// Holds `gradient` less what it began with (`offset`) to the differences of value(), which reads
/// `numbers`.
template <class Value>
void check_gradient(std::vector<double>& numbers, const std::vector<double>& gradient,
                    const Value& value, double offset, double epsilon) {
  for (size_t i = 0; i < numbers.size(); ++i) {
    const double kept = numbers[i], h = 1e-5;
    numbers[i] = kept + h;
    const double above = value();
    numbers[i] = kept - h;
    const double below = value();
    numbers[i] = kept;
    CHECK((above - below) / (2 * h) == doctest::Approx(gradient[i] - offset).epsilon(epsilon));
  }
}

}  // namespace vernier::testing
