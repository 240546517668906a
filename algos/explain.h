// What pushes every response of a group, in numbers for people.
#pragma once

#include <span>
#include <string>

#include "algos/algorithm.h"

namespace vernier {

/// One object a response of the group:
///
///   parts           the reward's parts, weight times value; null where one abstained
///   reward          their sum; null without one
///   push            the advantage
///   due_to_length   push less the push without length: with the parts named in `length_parts` at
///                   0, and for algorithms that reward length themselves with all lengths equal
///   warnings        "right answer pushed down", and "... by its length" where the push without
///                   length is not negative
///
/// Credit is that of the whole table, since it may be normalised over it. Throws UsageError where
/// the algorithm needs what the table does not have.
Json explain_pushes(const Algorithm& algorithm, const GroupTable& table, int64_t group,
                    std::span<const std::string> length_parts);

}  // namespace vernier
