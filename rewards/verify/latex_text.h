// LaTeX mathematics as plain text.
#pragma once

#include <string>
#include <string_view>

namespace vernier {

/// Fractions become a/b, roots √(x), symbols their Unicode character, Greek letters and functions
/// their names; macros that only change the look vanish and leave their content. Unknown macros
/// vanish too. Rows and cells of a matrix are parted by ";" and by `cell`. Linear in the text.
std::string latex_to_text(std::string_view latex, std::string_view cell);

}  // namespace vernier
