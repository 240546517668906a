// The units that a length may be counted in.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/types.h"

namespace vernier {

/// tokens      of the model, end token included: what loss and trainer count
/// characters  Unicode code points
/// words       pieces between white space (InstructCMP)
/// word_runs   runs of letters, digits and "_": "don't" is 2 (Ruler)
/// cjk_words   white-space pieces, each Chinese, Japanese or Korean character for itself
///             (Self-Lengthen)
/// steps       lines that are not empty
const std::vector<std::string>& length_units();

/// Length of a text in a unit other than tokens. Throws UsageError on bytes that are not UTF-8
/// where characters are counted.
double text_length(std::string_view text, const std::string& unit);

/// Length of a response: of all of it, or, in another unit than tokens, of the text after the last
/// `after` (all of it where that is empty or does not occur).
double response_length(const Response& response, const std::string& unit, const std::string& after);

}  // namespace vernier
