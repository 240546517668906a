// The commands, characters and words that the mathematics verifier knows.
#pragma once

#include <cstdint>
#include <string_view>

#include "rewards/verify/math/tokens.h"

namespace vernier::math {

/// What the lexer does with a command.
enum class Act : uint8_t {
  token,     // one token: kind, id, text
  skip,      // nothing: fonts, sizes
  currency,  // nothing but a unit: \$
  space,
  style,  // its braced argument is read as if it stood there
  words,  // its braced argument is text
  drop,   // it goes with its braced argument: \phantom{0}
  left,   // \left, \right: the delimiter behind it tells its side
  right,
  begins,  // \begin{...}
  ends,
  set_name,  // \mathbb{R}
};

struct Meaning {
  std::string_view name;
  Act act = Act::token;
  Tok kind = Tok::end;
  uint8_t id = 0;
  std::string_view text = {};
};

/// A command by its name without the backslash; null where it is not known.
const Meaning* command_meaning(std::string_view name);

/// The meaning of the UTF-8 character that `text` starts with; null where it is not known. `size`
/// is set to its bytes.
const Meaning* character_meaning(std::string_view text, size_t& size);

/// A word of plain text that is not a product of letters: sin, sqrt, and, infinity; null for
/// others.
const Meaning* word_meaning(std::string_view word);

}  // namespace vernier::math
