// What pushes every response, in numbers for people.
#pragma once

#include <span>
#include <string>

#include "algos/algorithm.h"

namespace vernier {

/// One object a response of the table:
///
///   parts           the reward's parts, weight times value; null where one abstained
///   reward          their sum; null without one
///   push            the advantage; 0 of a response that does not enter the loss
///   due_to_length   push less the push without length: of `as_sampled`, the same responses without
///                   the transforms that act by length, with the parts named in `length_parts` at
///                   0, and for algorithms that reward length themselves with all lengths equal
///   warnings        "right answer pushed down", of one that was right as sampled, and "... by its
///                   length" where the push without length is not negative
///
/// Throws UsageError where the algorithm needs what the table does not have.
Json explain_pushes(const Algorithm& algorithm, const GroupTable& table,
                    const GroupTable& as_sampled, std::span<const std::string> length_parts);

}  // namespace vernier
