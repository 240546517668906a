// Unicode: characters of UTF-8 text and their classes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace vernier {

/// Bytes of the character at the head of `text`, 0 where it is not valid UTF-8 (or is empty).
size_t character_length(std::string_view text);

/// The same, with the character.
size_t read_character(std::string_view text, char32_t& code);

/// Bytes of the longest valid UTF-8 at the head of `text`.
size_t valid_length(std::string_view text);

void append_character(char32_t code, std::string& out);

/// What expressions ask about a character: \p{L}, \p{N}, \s (Unicode's White_Space), or none of
/// these; line feed and carriage return are spaces too. As Oniguruma has them, of Unicode 16.
enum CharacterClass : uint8_t { kOther = 0, kLetter = 1, kNumber = 2, kSpace = 4, kNewline = 12 };

CharacterClass character_class(char32_t code);

/// The character at the head of `text`, which is valid UTF-8 and not empty; its bytes.
inline size_t decode_valid(const char* text, char32_t& code) {
  const auto byte = [&](int i) {
    return static_cast<char32_t>(static_cast<unsigned char>(text[i]));
  };
  const char32_t head = byte(0);
  if (head < 0x80) return code = head, 1;
  if (head < 0xE0) return code = (head & 0x1F) << 6 | (byte(1) & 0x3F), 2;
  if (head < 0xF0) return code = (head & 0xF) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F), 3;
  code = (head & 7) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F);
  return 4;
}

/// Whether a text begins or ends with a character of a word (\w of Rust's `regex`: letters, marks,
/// digits, connectors, joiners). Bytes that are not UTF-8 are none.
bool starts_with_word(std::string_view text);
bool ends_with_word(std::string_view text);

/// Bytes of the spaces (White_Space) at the head or the tail of a text.
size_t leading_spaces(std::string_view text);
size_t trailing_spaces(std::string_view text);

/// Code points first to last, ends included.
struct CodeRange {
  char32_t first, last;
};
struct CategoryRange {
  char32_t first, last;
  const char* category;  // "Lu"
};

/// Unicode's White_Space, in order.
std::span<const CodeRange> space_ranges();

/// Code points that came after Unicode 14, which the tables of libraries may not have.
std::span<const CategoryRange> newer_categories();

/// Code points up to Unicode 14 which the normalizers of `tokenizers` know nothing about: they have
/// no decomposition and no place in the order of marks. Those of newer_categories() are others.
std::span<const CodeRange> inert_ranges();

}  // namespace vernier
