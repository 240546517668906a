// Matching the elements of two multisets.
#pragma once

#include <cstddef>
#include <functional>

namespace vernier::math {

/// True where both have one size and each element of one can be matched with an equal one of the
/// other, no two with the same. Equality need not be transitive (50 = 50% = 0.5): where no element
/// is free, those matched before give way (H. Kuhn, 1955).
bool can_match(size_t size, size_t other_size, const std::function<bool(size_t, size_t)>& equal);

}  // namespace vernier::math
