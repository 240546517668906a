// Answers that are no expressions: words, choices, times of day.
#pragma once

#include <optional>
#include <string>

#include "rewards/verify/math/tokens.h"

namespace vernier::math {

/// Of an answer in words: its letters, and how many words they are.
struct Words {
  std::string letters;
  int count = 0;
};

/// None where there is anything but words, brackets around them, and commas and marks between
/// them.
std::optional<Words> words_of(const Tokens& tokens);

/// Whether one names a choice and the other adds what that choice says, "(B) 5" and "B", or "(B)
/// 5" and "5"; none where this is no matter of choices. Takes the name of the choice off where what
/// it says is to be compared.
std::optional<bool> same_choice(Tokens& gold, Tokens& answer);

/// None where the gold is no time of day, or may be a ratio.
std::optional<bool> same_time(const Tokens& gold, const Tokens& answer);

}  // namespace vernier::math
