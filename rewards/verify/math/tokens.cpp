#include "rewards/verify/math/tokens.h"

#include <algorithm>
#include <array>
#include <utility>

#include "core/base/text.h"
#include "rewards/verify/math/limits.h"
#include "rewards/verify/math/names.h"
#include "rewards/verify/math/tree.h"
#include "rewards/verify/scan.h"

namespace vernier::math {
namespace {

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// Bytes of the UTF-8 character at the front; 1 for a byte that is none.
size_t character_size(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  const size_t size = lead < 0xC0 ? 1u : lead < 0xE0 ? 2u : lead < 0xF0 ? 3u : 4u;
  return size <= text.size() && is_utf8(text.substr(0, size)) ? size : 1;
}

bool is_text_only(std::string_view text) {
  return std::ranges::all_of(text, [](char c) {
    return is_letter(c) || is_space(c) || c == '-' || c == '\'' || c == '.' || c == '~' ||
           static_cast<unsigned char>(c) >= 0x80;
  });
}

class Lexer {
 public:
  Lexer(std::string_view text, bool thousands) : text_(text), thousands_(thousands) {
    out_.list.reserve(text.size() / 2 + 4);
  }

  Tokens run() {
    read(text_, 0);
    return std::move(out_);
  }

 private:
  // Reads a text, which is the whole or the argument of a style; `roman` inside of \text.
  void read(std::string_view text, int depth, bool roman = false) {
    if (depth > kMaxDepth) return refuse("it nests too deeply");
    const std::string_view outer = std::exchange(rest_, text);
    while (!rest_.empty() && out_.problem.empty()) next(depth, roman);
    rest_ = outer;
  }

  void refuse(std::string_view why) {
    if (out_.problem.empty()) out_.problem = why;
  }

  void add(Tok kind, uint8_t id = 0, std::string_view text = {}) {
    out_.list.push_back({.kind = kind, .id = id, .spaced = spaced_, .roman = false, .text = text});
    spaced_ = false;
    // Braces group and do not enclose a list.
    if (kind == Tok::open && text != "{") ++brackets_;
    if (kind == Tok::close && text != "{" && brackets_ > 0) --brackets_;
  }

  void add(const Meaning& meaning) { add(meaning.kind, meaning.id, meaning.text); }

  void next(int depth, bool roman) {
    const char c = rest_[0];
    if (is_space(c) || c == '~') {
      spaced_ = true;
      rest_.remove_prefix(1);
    } else if (is_digit(c) || (c == '.' && rest_.size() > 1 && is_digit(rest_[1]))) {
      number();
    } else if (is_letter(c)) {
      letters(roman);
    } else if (c == '\\') {
      command(depth);
    } else if (static_cast<unsigned char>(c) >= 0x80) {
      character();
    } else {
      punctuation(c);
    }
  }

  // Where three digits and no fourth stand at `at`, which is behind a separator.
  bool is_group(size_t at) const {
    if (at + 3 > rest_.size()) return false;
    for (size_t i = at; i < at + 3; ++i)
      if (!is_digit(rest_[i])) return false;
    return at + 3 == rest_.size() || !is_digit(rest_[at + 3]);
  }

  // The separator of thousands at `at`: its bytes, 0 where there is none.
  size_t separator(size_t at) {
    const std::string_view here = rest_.substr(at);
    for (const std::string_view sure : {"{,}", ",\\!", "\\,", "\\ ", " "})
      if (here.starts_with(sure) && is_group(at + sure.size())) return sure.size();
    if (here.starts_with(",") && brackets_ == 0 && is_group(at + 1)) {
      out_.grouped_comma = true;
      return thousands_ ? 1 : 0;
    }
    return 0;
  }

  size_t digits(size_t at) const {
    while (at < rest_.size() && is_digit(rest_[at])) ++at;
    return at;
  }

  void number() {
    size_t end = digits(0);
    if (end >= 1 && end <= 3 && rest_[0] != '0')
      for (size_t skip = separator(end); skip > 0; skip = separator(end)) end += skip + 3;
    if (end + 1 < rest_.size() && rest_[end] == '.' && is_digit(rest_[end + 1]))
      end = digits(end + 1);
    else if (const std::string_view behind = rest_.substr(end);
             behind.starts_with(".\\overline") || behind.starts_with(".\\bar"))
      ++end;  // 0.\overline{3}
    // 1e-1; but 2e is twice Euler's number.
    if (end + 1 < rest_.size() && (rest_[end] == 'e' || rest_[end] == 'E')) {
      const bool sign = rest_[end + 1] == '-' || rest_[end + 1] == '+';
      const size_t first = end + 1 + (sign ? 1 : 0);
      if (first < rest_.size() && is_digit(rest_[first])) end = digits(first);
    }
    add(Tok::number, 0, rest_.substr(0, end));
    rest_.remove_prefix(end);
    // A full stop, or the point of "5.".
    if (!rest_.empty() && rest_[0] == '.') rest_.remove_prefix(1);
  }

  void letters(bool roman) {
    size_t end = 0;
    while (end < rest_.size() && is_letter(rest_[end])) ++end;
    const std::string_view run = rest_.substr(0, end);
    rest_.remove_prefix(end);
    if (const Meaning* meaning = meaning_here(run)) return add(*meaning);
    if (large_number(run)) return;
    add(Tok::run, 0, run);
    out_.list.back().roman = roman;
  }

  // "5 min" and "5 sec" end in units and not in functions.
  const Meaning* meaning_here(std::string_view word) const {
    if ((word == "min" || word == "sec") && trimmed(rest_).empty()) return nullptr;
    return word_meaning(word);
  }

  // "5 million" is 5 times a number.
  bool large_number(std::string_view word) {
    if (out_.list.empty() || out_.list.back().kind != Tok::number) return false;
    constexpr std::array<std::pair<std::string_view, std::string_view>, 8> kLarge = {
        {{"dozen", "12"},
         {"hundred", "100"},
         {"lakh", "1e5"},
         {"crore", "1e7"},
         {"thousand", "1e3"},
         {"million", "1e6"},
         {"billion", "1e9"},
         {"trillion", "1e12"}}};
    for (const auto& [name, value] : kLarge)
      if (word == name) {
        add(Tok::times);
        add(Tok::number, 0, value);
        return true;
      }
    return false;
  }

  void character() {
    size_t size = 0;
    const Meaning* meaning = character_meaning(rest_, size);
    if (meaning == nullptr) {
      size = character_size(rest_);
      if (size == 1) return refuse("it has bytes that are not UTF-8");
      add(Tok::name, 0, rest_.substr(0, size));
    } else if (meaning->kind == Tok::power) {
      static constexpr std::string_view kDigits = "01234";
      add(Tok::power);
      add(Tok::number, 0, kDigits.substr(meaning->id, 1));
    } else {
      act(*meaning, 0);
    }
    // The characters that act() reads on from are tokens alone.
    rest_.remove_prefix(size);
  }

  // Marks that are one token each, whatever stands behind them.
  static Tok single(char c) {
    switch (c) {
      case '|':
        return Tok::bar;
      case '+':
        return Tok::plus;
      case '-':
        return Tok::minus;
      case '/':
        return Tok::divide;
      case '_':
        return Tok::subscript;
      case '%':
        return Tok::percent;
      case ',':
      case ';':
        return Tok::comma;
      case ':':
        return Tok::colon;
      case '&':
        return Tok::cell;
      default:
        return Tok::end;
    }
  }

  // Marks that a second character makes another: ** <= != ==
  bool compound(char c) {
    const char after = rest_.size() > 1 ? rest_[1] : '\0';
    const bool doubled = after == '=' || (c == '*' && after == '*');
    const auto relate = [&](Relation relation) {
      add(Tok::relation, static_cast<uint8_t>(relation));
    };
    switch (c) {
      case '*':
        add(doubled ? Tok::power : Tok::times);
        break;
      case '=':
        relate(Relation::equal);
        break;
      case '<':
        relate(doubled ? Relation::less_equal : Relation::less);
        break;
      case '>':
        relate(doubled ? Relation::greater_equal : Relation::greater);
        break;
      case '!':
        if (doubled)
          relate(Relation::unequal);
        else
          add(Tok::bang);
        break;
      default:
        return false;
    }
    rest_.remove_prefix(doubled && !(c == '*' && after == '=') ? 2 : 1);
    return true;
  }

  void punctuation(char c) {
    constexpr std::string_view kOpens = "([{", kCloses = ")]}";
    if (c == '^') return add_power();
    if (compound(c)) return;
    const size_t opens = kOpens.find(c), closes = kCloses.find(c);
    size_t size = 1;
    if (const Tok kind = single(c); kind != Tok::end) {
      add(kind);
    } else if (opens != std::string_view::npos) {
      add(Tok::open, 0, kOpens.substr(opens, 1));
    } else if (closes != std::string_view::npos) {
      add(Tok::close, 0, kOpens.substr(closes, 1));
    } else if (rest_.starts_with("...")) {
      add(Tok::dots);
      size = 3;
    } else if (c == '\'') {
      if (!spaced_ && !out_.list.empty() && out_.list.back().kind == Tok::run) add(Tok::prime);
    } else if (c != '$' && c != '"' && c != '`' && c != '.') {
      return refuse(cat("it has a '", c, "'"));
    }
    rest_.remove_prefix(size);
  }

  // "^\circ" and "^{\circ}" are degrees, "^\prime" a prime.
  void add_power() {
    std::string_view here = trimmed(rest_.substr(1));
    const bool braced = here.starts_with('{');
    if (braced) here = trimmed(here.substr(1));
    for (const auto& [name, kind] : {std::pair{"\\circ", Tok::degree},
                                     {"\\prime", Tok::prime},
                                     {"o}", Tok::degree},
                                     {"\\degree", Tok::degree}}) {
      const std::string_view mark(name);
      if (!here.starts_with(mark)) continue;
      std::string_view behind = here.substr(mark.size() - (mark.back() == '}' ? 1 : 0));
      if (braced) {
        behind = trimmed(behind);
        if (!behind.starts_with('}')) continue;
        behind.remove_prefix(1);
      } else if (mark.back() == '}' || (!behind.empty() && is_letter(behind[0]))) {
        continue;
      }
      add(kind);
      rest_ = behind;
      return;
    }
    add(Tok::power);
    rest_.remove_prefix(1);
  }

  // Takes the braced argument at the front; false where there is none.
  bool braced(std::string_view& inside) {
    while (!rest_.empty() && is_space(rest_[0])) rest_.remove_prefix(1);
    if (rest_.empty() || rest_[0] != '{') return false;
    int open = 0;
    for (size_t at = 0; at < rest_.size(); ++at) {
      if (rest_[at] == '\\') {
        ++at;
      } else if (rest_[at] == '{') {
        ++open;
      } else if (rest_[at] == '}' && --open == 0) {
        inside = rest_.substr(1, at - 1);
        rest_.remove_prefix(at + 1);
        return true;
      }
    }
    return false;
  }

  void command(int depth) {
    rest_.remove_prefix(1);
    if (rest_.empty()) return;
    if (rest_[0] == '\\') {
      // \\frac of a text that was escaped twice; outside of an environment rows mean nothing.
      if (environments_ > 0) {
        rest_.remove_prefix(1);
        return add(Tok::row);
      }
      if (rest_.size() == 1 || !is_letter(rest_[1])) rest_.remove_prefix(1);
      spaced_ = true;
      return;
    }
    size_t end = 0;
    while (end < rest_.size() && is_letter(rest_[end])) ++end;
    if (end == 0) end = 1;
    const std::string_view name = rest_.substr(0, end);
    rest_.remove_prefix(end);
    if (is_space(name[0])) {
      spaced_ = true;
      return;
    }
    const Meaning* meaning = command_meaning(name);
    if (meaning == nullptr) return refuse(cat("it has \\", name));
    act(*meaning, depth);
  }

  void act(const Meaning& meaning, int depth) {
    std::string_view inside;
    switch (meaning.act) {
      case Act::token:
        add(meaning);
        break;
      case Act::skip:
        break;
      case Act::currency:
        out_.currency = meaning.text;
        break;
      case Act::space:
        spaced_ = true;
        break;
      case Act::style:
        if (braced(inside)) read(inside, depth + 1);
        break;
      case Act::words:
        if (braced(inside)) words(inside, depth);
        break;
      case Act::drop:
        braced(inside);
        break;
      case Act::left:
        delimiter("L", true);
        break;
      case Act::right:
        delimiter("L", false);
        break;
      case Act::begins:
      case Act::ends:
        environment(meaning.act == Act::begins);
        break;
      case Act::set_name:
        number_set();
        break;
    }
  }

  // What stands behind \left or \right, where a bar or a point tells too little by itself.
  void delimiter(std::string_view bar, bool opens) {
    while (!rest_.empty() && is_space(rest_[0])) rest_.remove_prefix(1);
    const bool is_bar = rest_.starts_with('|');
    if (!is_bar && !rest_.starts_with('.')) return;
    rest_.remove_prefix(1);
    if (is_bar) add(opens ? Tok::open : Tok::close, 0, bar);
  }

  void environment(bool begins) {
    std::string_view name;
    if (!braced(name)) return refuse("it has an environment without a name");
    if (!begins) {
      if (environments_ > 0) --environments_;
      return add(Tok::finish, 0, name);
    }
    ++environments_;
    add(Tok::begin, 0, name);
    std::string_view layout;
    if (name == "array") braced(layout);
  }

  void number_set() {
    std::string_view name;
    if (!braced(name)) {
      name = trimmed(rest_).substr(0, 1);
      rest_ = trimmed(rest_).substr(std::min<size_t>(1, trimmed(rest_).size()));
    }
    add(Tok::number_set, 0, trimmed(name));
  }

  // The inside of \text{...}: words, or mathematics in an upright font.
  void words(std::string_view inside, int depth) {
    const std::string_view content = trimmed(inside);
    if (content.size() != inside.size()) spaced_ = true;
    if (content.empty()) return;
    if (const Meaning* meaning = meaning_here(content)) return add(*meaning);
    if (!is_text_only(content)) return read(content, depth + 1, true);
    // "3\text{ million dollars}"
    if (const size_t end = std::min(content.find(' '), content.size());
        large_number(content.substr(0, end)))
      return words(content.substr(end), depth);
    add(Tok::word, 0, content);
  }

  std::string_view text_, rest_;
  bool thousands_;
  bool spaced_ = false;
  int brackets_ = 0, environments_ = 0;
  Tokens out_;
};

}  // namespace

Tokens tokenize(std::string_view text, bool thousands) { return Lexer(text, thousands).run(); }

}  // namespace vernier::math
