#include "core/text/normalize.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <vector>

#include "core/base/errors.h"

namespace vernier {
namespace {

// The character at the head of `text`; 0 bytes where it is not valid.
size_t read_character(std::string_view text, int32_t& code) {
  const auto length = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                       static_cast<utf8proc_ssize_t>(text.size()), &code);
  return length > 0 ? static_cast<size_t>(length) : 0;
}

int combining_class(int32_t code) { return utf8proc_get_property(code)->combining_class; }

// Sorts each run of combining marks by class. utf8proc does so by insertion, which is quadratic in
// the length of a run.
void order_marks(std::vector<int32_t>& codes) {
  const auto is_mark = [](int32_t code) { return combining_class(code) != 0; };
  auto begin = codes.begin();
  while ((begin = std::find_if(begin, codes.end(), is_mark)) != codes.end()) {
    const auto end = std::find_if_not(begin, codes.end(), is_mark);
    std::stable_sort(begin, end,
                     [](int32_t a, int32_t b) { return combining_class(a) < combining_class(b); });
    begin = end;
  }
}

}  // namespace

size_t character_length(std::string_view text) {
  int32_t code = 0;
  return text.empty() ? 0 : read_character(text, code);
}

size_t valid_length(std::string_view text) {
  size_t done = 0;
  while (const size_t length = character_length(text.substr(done))) done += length;
  return done;
}

std::string to_nfc(std::string_view text) {
  const auto is_ascii = [](char c) { return static_cast<unsigned char>(c) < 0x80; };
  if (std::all_of(text.begin(), text.end(), is_ascii)) return std::string(text);

  std::vector<int32_t> codes;
  for (size_t i = 0; i < text.size();) {
    int32_t code = 0;
    const size_t length = read_character(text.substr(i), code);
    ensure(length > 0, "valid UTF-8 to normalise");
    i += length;
    std::array<int32_t, 8> parts{};  // no canonical decomposition is longer than four
    int boundary = 0;
    const auto count =
        utf8proc_decompose_char(code, parts.data(), parts.size(), UTF8PROC_DECOMPOSE, &boundary);
    ensure(count > 0 && count <= static_cast<utf8proc_ssize_t>(parts.size()),
           "a short decomposition");
    codes.insert(codes.end(), parts.begin(), parts.begin() + count);
  }
  order_marks(codes);

  const auto size =
      utf8proc_normalize_utf32(codes.data(), static_cast<utf8proc_ssize_t>(codes.size()),
                               static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  ensure(size >= 0, "composition of decomposed text");
  std::string out;
  for (utf8proc_ssize_t i = 0; i < size; ++i) {
    std::array<utf8proc_uint8_t, 4> bytes{};
    const auto length = utf8proc_encode_char(codes[static_cast<size_t>(i)], bytes.data());
    out.append(reinterpret_cast<const char*>(bytes.data()), static_cast<size_t>(length));
  }
  return out;
}

}  // namespace vernier
