#include "core/text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <cstdio>

#include "core/base/errors.h"
#include "core/text/unicode.h"

namespace vernier {
namespace {

bool is_alphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// A general category: "L", "Lu". Not Mn and Mc, between which U+1171E has changed.
bool is_category(std::string_view name) {
  constexpr std::string_view kAll =
      " L Lu Ll Lt Lm Lo M Me N Nd Nl No P Pc Pd Ps Pe Pi Pf Po S Sm Sc Sk So Z Zs Zl Zp ";
  return name.find(' ') == std::string_view::npos && kAll.find(cat(" ", name, " ")) != kAll.npos;
}

// Part of a class.
std::string class_part(char32_t first, char32_t last) {
  std::array<char, 40> text{};
  std::snprintf(text.data(), text.size(), "\\x{%x}-\\x{%x}", static_cast<unsigned>(first),
                static_cast<unsigned>(last));
  return text.data();
}

// Unicode's White_Space, as Oniguruma's \s has it, or all other characters. PCRE2's \s differs: it
// has U+180E too.
std::string space_class(bool negated) {
  std::string out;
  char32_t next = 0;  // after the spaces so far
  for (const CodeRange& range : space_ranges()) {
    out += negated ? class_part(next, range.first - 1) : class_part(range.first, range.last);
    next = range.last + 1;
  }
  return negated ? out + class_part(next, 0x10FFFF) : out;
}

// The newer code points of a category, which PCRE2 may not know, as parts of a class.
std::string newer_of(std::string_view category) {
  std::string out;
  for (const CategoryRange& range : newer_categories())
    if (std::string_view(range.category).starts_with(category))
      out += class_part(range.first, range.last);
  return out;
}

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
    fail("expression '", regex_, "': ", what, " is not supported");
  }

  bool at(std::string_view text) const { return regex_.compare(i_, text.size(), text) == 0; }

  void copy(size_t count) {
    out_.append(regex_, i_, count);
    i_ += count;
  }

  void escape() {
    const char letter = i_ + 1 < regex_.size() ? regex_[i_ + 1] : '\0';
    if (letter == 'p' || letter == 'P') return named_property(letter == 'P');
    if (letter == 'd' || letter == 'D') {
      i_ += 2;
      return property("Nd", letter == 'D');
    }
    if (letter == 's' || letter == 'S') {
      const std::string set = space_class(letter == 'S');
      out_ += in_class_ ? set : cat("[", set, "]");
      i_ += 2;
      return;
    }
    // Of the others, some mean something else to PCRE2 (\h, \w, \b, \v), some are references.
    constexpr std::string_view kSame = "rntfx";
    if (is_alphanumeric(letter) && kSame.find(letter) == kSame.npos) refuse(cat("\\", letter));
    copy(letter == '\0' ? 1 : 2);
  }

  // \p{L} and \p{^L}; of scripts, \p{Han}. PCRE2's own \p{Han} is a wider set (Script_Extensions).
  void named_property(bool negated) {
    const size_t end = regex_.find('}', i_);
    if (!at(negated ? "\\P{" : "\\p{") || end == std::string::npos) refuse("\\p without a name");
    std::string name = regex_.substr(i_ + 3, end - i_ - 3);
    i_ = end + 1;
    if (name.starts_with('^')) {
      negated = !negated;
      name.erase(0, 1);
    }
    if (is_category(name)) return property(name, negated);
    for (const char c : name)
      if (!is_alphanumeric(c) && c != '_') refuse(cat("\\p{", name, "}"));
    out_ += cat(negated ? "\\P" : "\\p", "{sc:", name, "}");
  }

  void property(const std::string& category, bool negated) {
    const std::string newer = newer_of(category);
    if (negated && in_class_ && !newer.empty()) refuse(cat("\\P{", category, "} in a class"));
    if (in_class_)
      out_ += cat(negated ? "\\P{" : "\\p{", category, "}", newer);
    else
      out_ += cat(negated ? "[^" : "[", "\\p{", category, "}", newer, "]");
  }

  void inside_class(char c) {
    if (at("&&")) refuse("'&&' in a class");
    if (c == '[') refuse("'[' in a class");
    if (c == ']') in_class_ = false;
    copy(1);
  }

  void outside_class(char c) {
    if (c == '^') refuse("an anchor");  // of lines there, of the text here
    if (at("{,")) refuse("'{,'");       // literal to PCRE2
    if (at("}+")) refuse("'}+'");       // possessive to PCRE2
    if (at("(*")) refuse("'(*'");       // a verb to PCRE2
    if (at("(?")) check_group();
    if (c == '$') {  // the end of a line there
      out_ += "(?=\\n|\\z)";
      ++i_;
      return;
    }
    copy(1);
    if (c != '[') return;
    in_class_ = true;
    if (at("^")) copy(1);
    if (at("]")) refuse("']' at the head of a class");
  }

  void check_group() const {
    if (std::string_view(":=!<>imsx-").find(regex_.c_str()[i_ + 2]) == std::string_view::npos)
      refuse(cat("'", regex_.substr(i_, 3), "'"));
    const size_t end = regex_.find_first_not_of("imsxU-", i_ + 2);
    if (end == i_ + 2 || end == std::string::npos) return;
    const std::string options = regex_.substr(i_ + 2, end - i_ - 2);
    if (regex_[end] == ')') refuse("an option for the rest of a group");
    if (options != "i") refuse(cat("the option '", options, "'"));
    check_folding(end);
  }

  // Without regard to case, "ss" matches a sharp s there, and other pairs match other ligatures.
  void check_folding(size_t from) const {
    int depth = 1;
    size_t to = from;
    for (; to < regex_.size() && depth > 0; ++to) {
      if (regex_[to] == '\\')
        ++to;
      else if (regex_[to] == '(')
        ++depth;
      else if (regex_[to] == ')')
        --depth;
    }
    char last = '\0';
    for (const char c : std::string_view(regex_).substr(from, to - from)) {
      if (static_cast<unsigned char>(c) >= 0x80) refuse("a character beyond ASCII in (?i:)");
      const char lower = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
      for (const std::string_view pair : {"ss", "st", "ff", "fi", "fl"})
        if (last == pair[0] && lower == pair[1]) refuse(cat("'", pair, "' in (?i:)"));
      last = lower;
    }
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

struct FreeMatch {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};

// Room for one match, of each thread.
pcre2_match_data* match_data() {
  thread_local const std::unique_ptr<pcre2_match_data, FreeMatch> data(
      pcre2_match_data_create(1, nullptr));
  ensure(data != nullptr, "memory for a match");
  return data.get();
}

}  // namespace

struct Regex::Code {
  struct Free {
    void operator()(pcre2_code* code) const { pcre2_code_free(code); }
  };
  std::unique_ptr<pcre2_code, Free> pcre2;
};

Regex::Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;
Regex::~Regex() = default;

Regex::Regex(const std::string& expression)
    : expression_(expression), code_(std::make_unique<Code>()) {
  const std::string text = Translator(expression).run();
  int code = 0;
  size_t where = 0;
  code_->pcre2.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                                   PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &code, &where,
                                   nullptr));
  if (code_->pcre2 == nullptr) fail("expression '", expression, "': ", pcre2_message(code));
  uint32_t empty = 0;
  pcre2_pattern_info(code_->pcre2.get(), PCRE2_INFO_MATCHEMPTY, &empty);
  if (empty != 0) fail("expression '", expression, "': may match the empty text");
  // Where PCRE2 was built without its compiler it interprets: slower, with the same matches.
  pcre2_jit_compile(code_->pcre2.get(), PCRE2_JIT_COMPLETE);
}

Regex Regex::literal(std::string text) {
  ensure(!text.empty(), "a text to look for");
  Regex out;
  out.expression_ = std::move(text);
  return out;
}

std::optional<Regex::Match> Regex::find(std::string_view text, size_t from) const {
  if (code_ == nullptr) {
    const size_t begin = text.find(expression_, from);
    if (begin == std::string_view::npos) return std::nullopt;
    return Match{begin, begin + expression_.size()};
  }
  pcre2_match_data* match = match_data();
  // The text was checked once; a check a match would make the whole quadratic.
  const int found = pcre2_match(code_->pcre2.get(), reinterpret_cast<PCRE2_SPTR>(text.data()),
                                text.size(), from, PCRE2_NO_UTF_CHECK, match, nullptr);
  if (found == PCRE2_ERROR_NOMATCH) return std::nullopt;
  if (found < 0) fail("expression '", expression_, "': ", pcre2_message(found));
  const size_t* ends = pcre2_get_ovector_pointer(match);
  // A look-behind or a \K in a look-around could still do it.
  if (ends[1] <= ends[0]) fail("expression '", expression_, "': matched the empty text");
  return Match{ends[0], ends[1]};
}

std::string Regex::replace(std::string_view text, std::string_view content) const {
  std::string out;
  size_t done = 0;
  while (done < text.size()) {
    const auto match = find(text, done);
    if (!match) break;
    out.append(text.substr(done, match->begin - done)).append(content);
    done = match->end;
  }
  return out.append(text.substr(done));
}

}  // namespace vernier
