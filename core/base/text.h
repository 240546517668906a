// Text for people: the one string builder, numbers, suggestions.
#pragma once

#include <charconv>
#include <concepts>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vernier {

inline void append_part(std::string& out, std::string_view part) { out += part; }
inline void append_part(std::string& out, const char* part) { out += part; }
inline void append_part(std::string& out, char part) { out += part; }
inline void append_part(std::string& out, bool part) { out += part ? "true" : "false"; }

/// Integers in full, floating point as the shortest text that reads back to the same value.
template <class Number>
requires std::integral<Number> || std::floating_point<Number>
void append_part(std::string& out, Number part) {
  char buffer[40];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, part).ptr;
  out.append(buffer, end);
}

/// Joins its arguments to one string. The only string builder of the project.
template <class... Parts>
std::string cat(const Parts&... parts) {
  std::string out;
  (append_part(out, parts), ...);
  return out;
}

/// `value` with `digits` digits after the point.
std::string fixed(double value, int digits);

/// Bytes with a binary unit: "24.0 MiB".
std::string human_bytes(double bytes);

/// Seconds as "42 s", "3 min 05 s" or "2 h 07 min".
std::string human_seconds(double seconds);

/// "a, b and c"; `none` where the list is empty.
std::string join(std::span<const std::string> items, std::string_view separator = ", ");

/// The candidate nearest to `name` by edit distance, or "" where none is near enough to be a typo.
std::string nearest(std::string_view name, std::span<const std::string> candidates);

/// " (did you mean X?)" where a candidate is near, else "".
std::string suggestion(std::string_view name, std::span<const std::string> candidates);

/// True where `text` is valid UTF-8 (no surrogates, no overlong forms).
bool is_utf8(std::string_view text);

/// `text` with every byte that is not part of valid UTF-8 replaced by U+FFFD.
std::string to_valid_utf8(std::string_view text);

/// Length in bytes of the longest prefix that ends on a whole UTF-8 character.
size_t whole_utf8_prefix(std::string_view text);

}  // namespace vernier
