// Unicode: characters of UTF-8 text, and normalisation form C.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace vernier {

/// Bytes of the character at the head of `text`, 0 where it is not valid UTF-8 (or is empty).
size_t character_length(std::string_view text);

/// Bytes of the longest valid UTF-8 at the head of `text`.
size_t valid_length(std::string_view text);

/// `text`, valid UTF-8, in normalisation form C of the Unicode version of utf8proc. The tables of
/// `tokenizers` are older: marks that came after Unicode 9 may stand in another order there.
std::string to_nfc(std::string_view text);

}  // namespace vernier
