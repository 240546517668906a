// Units behind a quantity: 10\text{ cm}^2, 5 m/s, 90^\circ C, 12 apples.
#pragma once

#include <string>

#include "rewards/verify/math/tokens.h"

namespace vernier::math {

struct Units {
  std::string name;       // one spelling for all of a unit, as "m/s^2"; "" where there is none
  bool known = true;      // false where a word of it is not in the table
  bool letters = false;   // some of them may be a product of symbols: "2km"
  bool doubtful = false;  // something is left that reads as a unit or as letters: "5 m"
};

/// Takes the units off the end of the text and of each element of a list outside of brackets.
/// `doubtful_too`: letters that may also be symbols, as the m of "5 m", are units.
Units take_units(Tokens& tokens, bool doubtful_too);

/// False where both are known and differ: 5 m is not 5 km. What only one side names does not count.
bool units_agree(const Units& a, const Units& b);

}  // namespace vernier::math
