#include "core/text/unicode.h"

#include <utf8proc.h>

#include <array>
#include <map>
#include <vector>

namespace vernier {
namespace {

constexpr char32_t kCodes = 0x110000;
constexpr size_t kBlock = 256;  // code points

// The class of every code point: blocks of equal content are kept once.
class ClassTable {
 public:
  ClassTable() {
    std::map<std::array<uint8_t, kBlock>, uint16_t> known;
    for (char32_t first = 0; first < kCodes; first += kBlock) {
      std::array<uint8_t, kBlock> block;
      for (char32_t i = 0; i < kBlock; ++i) block[i] = of(first + i);
      const auto [place, fresh] = known.emplace(block, static_cast<uint16_t>(blocks_.size()));
      if (fresh) blocks_.push_back(block);
      index_[first / kBlock] = place->second;
    }
    for (const CategoryRange& range : newer_categories())
      for (char32_t code = range.first; code <= range.last; ++code)
        set(code, range.category[0] == 'L' ? kLetter : range.category[0] == 'N' ? kNumber : kOther);
  }

  CharacterClass find(char32_t code) const {
    return static_cast<CharacterClass>(blocks_[index_[code / kBlock]][code % kBlock]);
  }

 private:
  static uint8_t of(char32_t code) {
    if (code == '\n' || code == '\r') return kNewline;
    for (const CodeRange& range : space_ranges())
      if (code >= range.first && code <= range.last) return kSpace;
    const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(code));
    if (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO) return kLetter;
    if (category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO) return kNumber;
    return kOther;
  }

  void set(char32_t code, CharacterClass found) {
    if (find(code) == found) return;
    blocks_.push_back(blocks_[index_[code / kBlock]]);  // others may share the block
    blocks_.back()[code % kBlock] = found;
    index_[code / kBlock] = static_cast<uint16_t>(blocks_.size() - 1);
  }

  std::array<uint16_t, kCodes / kBlock> index_{};
  std::vector<std::array<uint8_t, kBlock>> blocks_;
};

// Of a code point that the library may not know.
bool is_newer_word(char32_t code) {
  for (const CategoryRange& range : newer_categories()) {
    if (code < range.first || code > range.last) continue;
    const std::string_view category = range.category;
    return category[0] == 'L' || category[0] == 'M' || category == "Nd" || category == "Nl" ||
           category == "Pc";
  }
  return false;
}

bool is_word(char32_t code) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(code))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:  // joiners, and symbols that are letters in circles and squares
      return code == 0x200C || code == 0x200D || (code >= 0x24B6 && code <= 0x24E9) ||
             (code >= 0x1F130 && code <= 0x1F149) || (code >= 0x1F150 && code <= 0x1F169) ||
             (code >= 0x1F170 && code <= 0x1F189) || is_newer_word(code);
  }
}

// The last character of `text`; 0 bytes where it is not valid.
size_t read_last(std::string_view text, char32_t& code) {
  for (size_t length = 1; length <= 4 && length <= text.size(); ++length) {
    const std::string_view tail = text.substr(text.size() - length);
    if ((static_cast<unsigned char>(tail[0]) & 0xC0) == 0x80) continue;
    return read_character(tail, code) == length ? length : 0;
  }
  return 0;
}

bool is_space(char32_t code) { return (character_class(code) & kSpace) != 0; }

}  // namespace

std::span<const CodeRange> space_ranges() {
  static constexpr CodeRange kRanges[] = {
      {0x9, 0xD},       {0x20, 0x20},     {0x85, 0x85},     {0xA0, 0xA0},     {0x1680, 0x1680},
      {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}};
  return kRanges;
}

CharacterClass character_class(char32_t code) {
  static const ClassTable table;
  return table.find(code);
}

size_t read_character(std::string_view text, char32_t& code) {
  if (text.empty()) return 0;
  utf8proc_int32_t found = 0;
  const auto length = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                       static_cast<utf8proc_ssize_t>(text.size()), &found);
  if (length <= 0) return 0;
  code = static_cast<char32_t>(found);
  return static_cast<size_t>(length);
}

size_t character_length(std::string_view text) {
  char32_t code = 0;
  return read_character(text, code);
}

size_t valid_length(std::string_view text) {
  size_t done = 0;
  while (done < text.size()) {
    if (static_cast<unsigned char>(text[done]) < 0x80) {
      ++done;
      continue;
    }
    const size_t length = character_length(text.substr(done));
    if (length == 0) break;
    done += length;
  }
  return done;
}

void append_character(char32_t code, std::string& out) {
  std::array<utf8proc_uint8_t, 4> bytes{};
  const auto length = utf8proc_encode_char(static_cast<utf8proc_int32_t>(code), bytes.data());
  out.append(reinterpret_cast<const char*>(bytes.data()), static_cast<size_t>(length));
}

bool starts_with_word(std::string_view text) {
  char32_t code = 0;
  return read_character(text, code) > 0 && is_word(code);
}

bool ends_with_word(std::string_view text) {
  char32_t code = 0;
  return read_last(text, code) > 0 && is_word(code);
}

size_t leading_spaces(std::string_view text) {
  size_t done = 0;
  char32_t code = 0;
  while (const size_t length = read_character(text.substr(done), code)) {
    if (!is_space(code)) break;
    done += length;
  }
  return done;
}

size_t trailing_spaces(std::string_view text) {
  size_t done = 0;
  char32_t code = 0;
  while (const size_t length = read_last(text.substr(0, text.size() - done), code)) {
    if (!is_space(code)) break;
    done += length;
  }
  return done;
}

}  // namespace vernier
