#include "core/text/pretokenize.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>

#include "core/base/errors.h"

namespace vernier {
namespace {

// Unicode's White_Space, as Oniguruma's \s has it, and all other characters. PCRE2's \s differs: it
// has U+180E too.
constexpr const char* kSpace =
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"
    "\\x{205f}\\x{3000}";
constexpr const char* kNotSpace =
    "\\x{0}-\\x{8}\\x{e}-\\x{1f}\\x{21}-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}"
    "\\x{200b}-\\x{2027}\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}"
    "\\x{3001}-\\x{10ffff}";

// Turns an expression of Oniguruma (Ruby syntax) into one of PCRE2 that means the same.
class Translator {
 public:
  explicit Translator(const std::string& regex) : regex_(regex) {}

  std::string run() {
    while (i_ < regex_.size()) {
      const char c = regex_[i_];
      if (c == '\\')
        escape();
      else if (in_class_)
        inside_class(c);
      else
        outside_class(c);
    }
    return out_;
  }

 private:
  [[noreturn]] void refuse(std::string_view what) const {
    fail("pre-tokenizer expression '", regex_, "': ", what, " is not supported");
  }

  bool at(std::string_view text) const { return regex_.compare(i_, text.size(), text) == 0; }

  void copy(size_t count) {
    out_.append(regex_, i_, count);
    i_ += count;
  }

  void escape() {
    const char letter = i_ + 1 < regex_.size() ? regex_[i_ + 1] : '\0';
    if (letter == 'h' || letter == 'H' || letter == 'Z' || letter == 'G' || letter == 'K')
      refuse(cat("\\", letter));
    if (letter != 's' && letter != 'S') return copy(letter == '\0' ? 1 : 2);
    const char* set = letter == 's' ? kSpace : kNotSpace;
    out_ += in_class_ ? std::string(set) : cat("[", set, "]");
    i_ += 2;
  }

  void inside_class(char c) {
    if (at("&&")) refuse("'&&' in a class");
    if (c == '[') refuse("'[' in a class");
    if (c == ']') in_class_ = false;
    copy(1);
  }

  void outside_class(char c) {
    if (c == '^' || c == '$') refuse("an anchor");  // of lines there, of the text here
    if (at("(?") && i_ + 2 < regex_.size()) {
      const size_t end = regex_.find_first_not_of("imx-", i_ + 2);
      if (end != i_ + 2 && end != std::string::npos && regex_[end] == ')')
        refuse("an option for the rest of a group");
    }
    if (c == '[') {
      in_class_ = true;
      copy(1);
      if (at("^")) copy(1);
      if (at("]")) refuse("']' at the head of a class");
      return;
    }
    copy(1);
  }

  const std::string& regex_;
  std::string out_;
  size_t i_ = 0;
  bool in_class_ = false;
};

std::string pcre2_message(int code) {
  std::array<unsigned char, 256> buffer{};
  pcre2_get_error_message(code, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

struct FreeCode {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct FreeMatch {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};

}  // namespace

const char* const kGpt2Regex =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
const char* const kDigitRegex = R"(\p{N})";
const char* const kDigitsRegex = R"(\p{N}+)";

class Pretokenizer::Pattern {
 public:
  explicit Pattern(const std::string& regex) : regex_(regex) {
    const std::string text = Translator(regex).run();
    int code = 0;
    size_t where = 0;
    code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                              PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &code, &where,
                              nullptr));
    if (code_ == nullptr) fail("pre-tokenizer expression '", regex, "': ", pcre2_message(code));
    uint32_t empty = 0;
    pcre2_pattern_info(code_.get(), PCRE2_INFO_MATCHEMPTY, &empty);
    if (empty != 0) fail("pre-tokenizer expression '", regex, "': may match the empty text");
    // Where PCRE2 was built without its compiler it interprets: slower, with the same matches.
    pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE);
  }

  // Appends the matches in `text` and what lies between them.
  void split(std::string_view text, pcre2_match_data* match,
             std::vector<std::string_view>& pieces) const {
    const size_t* ends = pcre2_get_ovector_pointer(match);
    size_t done = 0;
    while (done < text.size() && next_match(text, done, match)) {
      if (ends[0] > done) pieces.push_back(text.substr(done, ends[0] - done));
      pieces.push_back(text.substr(ends[0], ends[1] - ends[0]));
      done = ends[1];
    }
    if (done < text.size()) pieces.push_back(text.substr(done));
  }

 private:
  bool next_match(std::string_view text, size_t from, pcre2_match_data* match) const {
    // The text was checked once; a check a match would make the whole quadratic.
    const int found = pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()),
                                  text.size(), from, PCRE2_NO_UTF_CHECK, match, nullptr);
    if (found == PCRE2_ERROR_NOMATCH) return false;
    if (found < 0) fail("pre-tokenizer expression '", regex_, "': ", pcre2_message(found));
    return true;
  }

  std::string regex_;
  std::unique_ptr<pcre2_code, FreeCode> code_;
};

Pretokenizer::Pretokenizer(const std::vector<std::string>& regexes) {
  for (const std::string& regex : regexes) patterns_.emplace_back(regex);
}
Pretokenizer::~Pretokenizer() = default;
Pretokenizer::Pretokenizer(Pretokenizer&&) noexcept = default;
Pretokenizer& Pretokenizer::operator=(Pretokenizer&&) noexcept = default;

std::vector<std::string_view> Pretokenizer::split(std::string_view text) const {
  const std::unique_ptr<pcre2_match_data, FreeMatch> match(pcre2_match_data_create(1, nullptr));
  ensure(match != nullptr, "memory for a match");
  std::vector<std::string_view> pieces = {text};
  for (const Pattern& pattern : patterns_) {
    std::vector<std::string_view> finer;
    for (const std::string_view piece : pieces) pattern.split(piece, match.get(), finer);
    pieces = std::move(finer);
  }
  return pieces;
}

}  // namespace vernier
