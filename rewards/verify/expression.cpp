#include "rewards/verify/expression.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "rewards/verify/scan.h"

namespace vernier {
namespace {

constexpr int kMaxDepth = 200;

enum class Token {
  number,
  name,
  plus,
  times,
  power,
  bang,
  comma,
  equals,
  order,
  open,
  close,
  bar,
  prefix,
  postfix,  // only without strict_sympy_compat
  bad,
  end
};

struct Lexeme {
  Token token = Token::end;
  std::string_view text;
};

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

struct Character {
  uint32_t code = 0;
  size_t size = 1;
};

// The character at the head of `text`; code 0 where the bytes are not UTF-8.
Character character(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<uint8_t>(text[i])); };
  const uint32_t head = byte(0);
  if (head < 0x80) return {head, 1};
  const size_t size = head >= 0xF0 ? 4 : head >= 0xE0 ? 3 : 2;
  if (head < 0xC2 || head > 0xF4 || text.size() < size) return {};
  uint32_t code = head & (0xFFU >> (size + 1));
  for (size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {};
    code = (code << 6) | (byte(i) & 0x3F);
  }
  return {code, size};
}

// Letters past ASCII, by the blocks that occur in answers: Latin, Greek, Cyrillic, double-struck
// and other letters of mathematics, kana, Chinese, Korean. A full table would be 700 ranges.
bool is_wide_letter(uint32_t code) {
  constexpr std::array<std::pair<uint32_t, uint32_t>, 15> kRanges = {{
      {0xC0, 0xD6},
      {0xD8, 0xF6},
      {0xF8, 0x24F},
      {0x391, 0x3FF},
      {0x400, 0x481},
      {0x48A, 0x52F},
      {0x210A, 0x2113},
      {0x2115, 0x2115},
      {0x2119, 0x211D},
      {0x2124, 0x2124},
      {0x3041, 0x30FA},
      {0x3400, 0x4DBF},
      {0x4E00, 0x9FFF},
      {0xAC00, 0xD7A3},
      {0x1D400, 0x1D7FF},
  }};
  return std::any_of(kRanges.begin(), kRanges.end(), [&](const auto& range) {
    return code >= range.first && code <= range.second;
  });
}

// What SymPy has no notion of.
Token lenient_symbol(uint32_t code) {
  constexpr std::array<std::pair<std::u32string_view, Token>, 9> kSymbols = {{
      {U"≤≥≠∈∉→←≈≡∼≃≅⊂⊆∣⇒⇔:∥⊥∧∨", Token::order},
      {U"±∓−–", Token::plus},
      {U"×·÷∩∖•", Token::times},
      {U"∞∅…⋯", Token::number},
      {U"√∠¬", Token::prefix},
      {U"°∘'′", Token::postfix},
      {U"⌊⌈⟨", Token::open},
      {U"⌋⌉⟩", Token::close},
      {U"|‖", Token::bar},
  }};
  for (const auto& [symbols, token] : kSymbols)
    if (symbols.find(static_cast<char32_t>(code)) != std::u32string_view::npos) return token;
  return code == ';' ? Token::comma : Token::bad;
}

class Lexer {
 public:
  Lexer(std::string_view text, bool strict) : text_(text), strict_(strict) {}

  std::vector<Lexeme> run() {
    while (at_ < text_.size()) {
      const size_t begin = at_;
      const Token token = next();
      // A line break ends an expression unless a bracket is open; at the ends it is trimmed.
      if (token != Token::end) lexemes_.push_back({token, text_.substr(begin, at_ - begin)});
    }
    lexemes_.push_back({});
    return std::move(lexemes_);
  }

 private:
  char peek(size_t ahead) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }

  // Token::end for what carries no meaning.
  Token next() {
    const char c = text_[at_];
    if (is_digit(c) || (c == '.' && is_digit(peek(1)))) return number();
    if (static_cast<unsigned char>(c) >= 0x80 || is_letter(c)) return wide_or_name();
    ++at_;
    switch (c) {
      case ' ':
      case '\t':
      case '\r':
        return Token::end;
      case '\n':
        return !strict_ || depth_ > 0 || at_ == text_.size() ? Token::end : Token::bad;
      case '+':
      case '-':
        return Token::plus;
      case '*':
        return follow('*') ? Token::power : Token::times;
      case '/':
        return Token::times;
      case '^':
        return Token::power;
      case ',':
        return Token::comma;
      case '(':
      case '[':
        ++depth_;
        return Token::open;
      case ')':
      case ']':
        --depth_;
        return Token::close;
      case '!':
        return peek(0) != '=' ? Token::bang : comparison();
      case '<':
      case '>':
        return peek(0) != '=' ? Token::order : comparison();
      case '=':
        follow('=');
        return peek(0) != '=' ? Token::equals : Token::bad;
      default:
        return strict_ ? Token::bad : lenient_symbol(static_cast<unsigned char>(c));
    }
  }

  bool follow(char c) {
    if (peek(0) != c) return false;
    ++at_;
    return true;
  }

  // "<=", ">=", "!=". The original doubles every single "=", so these become "<==", which is no
  // Python.
  Token comparison() {
    ++at_;
    return strict_ ? Token::bad : Token::order;
  }

  Token number() {
    while (is_digit(peek(0))) ++at_;
    if (follow('.'))
      while (is_digit(peek(0))) ++at_;
    const bool has_sign = peek(1) == '+' || peek(1) == '-';
    if ((peek(0) == 'e' || peek(0) == 'E') && is_digit(peek(has_sign ? 2 : 1))) {
      at_ += has_sign ? 2 : 1;
      while (is_digit(peek(0))) ++at_;
    }
    return Token::number;
  }

  Token wide_or_name() {
    const size_t begin = at_;
    while (at_ < text_.size()) {
      const Character c = character(text_.substr(at_));
      const bool ascii = c.code > 0 && c.code < 0x80;
      const bool inside =
          ascii ? is_letter(text_[at_]) || is_digit(text_[at_]) : is_wide_letter(c.code);
      if (!inside) {
        if (at_ > begin) break;
        at_ += c.size;
        return strict_ || c.code == 0 ? Token::bad : lenient_symbol(c.code);
      }
      at_ += c.size;
    }
    return Token::name;
  }

  std::string_view text_;
  bool strict_;
  size_t at_ = 0;
  int64_t depth_ = 0;
  std::vector<Lexeme> lexemes_;
};

bool is_python_word(std::string_view name) {
  constexpr std::array<std::string_view, 32> kWords = {
      "and",    "as",   "assert", "async",  "await",  "break",   "class", "continue",
      "def",    "del",  "elif",   "else",   "except", "finally", "for",   "from",
      "global", "if",   "import", "in",     "is",     "lambda",  "not",   "nonlocal",
      "or",     "pass", "raise",  "return", "try",    "while",   "with",  "yield"};
  return std::find(kWords.begin(), kWords.end(), name) != kWords.end();
}

// Functions that take several arguments. Any other name before a bracket means a product to SymPy.
bool takes_several(std::string_view name) {
  constexpr std::array<std::string_view, 10> kNames = {"atan2", "beta", "binomial", "gcd", "lcm",
                                                       "log",   "max",  "min",      "pow", "root"};
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

// What the strict reading must know of a part.
struct Part {
  bool sequence = false;  // a tuple or a list
  bool symbolic = false;  // holds a name, so that comparing it gives no truth value
};

struct Items {
  size_t count = 0;
  bool comma = false, symbolic = false;
};

class Parser {
 public:
  Parser(std::vector<Lexeme> lexemes, bool strict)
      : lexemes_(std::move(lexemes)), strict_(strict) {}

  bool run() {
    const Items items = list();
    return !failed_ && items.count > 0 && token() == Token::end;
  }

 private:
  Token token() const { return lexemes_[at_].token; }
  bool take(Token wanted) {
    if (token() != wanted) return false;
    ++at_;
    return true;
  }
  Part fail() {
    failed_ = true;
    return {};
  }

  Items list() {
    Items items;
    while (!failed_ && token() != Token::close && token() != Token::end) {
      if (in_bars_ && token() == Token::bar) break;
      items.symbolic |= relation().symbolic;
      ++items.count;
      if (!take(Token::comma)) break;
      items.comma = true;
    }
    return items;
  }

  Part relation() {
    Part left = sum();
    Part whole{left.sequence, left.symbolic};
    bool undecidable = false;  // an earlier comparison of the chain has no truth value
    bool decided = false;      // an "==" came before: false, so Python looks no further
    while (!failed_ && (token() == Token::equals || token() == Token::order)) {
      const bool ordered = lexemes_[at_++].token == Token::order;
      const Part right = sum();
      if (strict_ && undecidable) return fail();
      if (strict_ && ordered && !decided && (left.sequence || right.sequence)) return fail();
      undecidable = ordered && !decided && (left.symbolic || right.symbolic);
      decided |= !ordered;
      whole = {false, whole.symbolic || right.symbolic};
      left = right;
    }
    return whole;
  }

  Part sum() {
    Part whole = term();
    while (!failed_ && take(Token::plus)) {
      const Part right = term();
      if (strict_ && whole.sequence != right.sequence) return fail();
      whole.symbolic |= right.symbolic;
    }
    return whole;
  }

  Part term() {
    Part whole = factor();
    while (!failed_ && (take(Token::times) || starts_atom())) whole = product(whole, factor());
    return whole;
  }

  Part product(const Part& left, const Part& right) {
    if (strict_ && (left.sequence || right.sequence)) return fail();
    return {false, left.symbolic || right.symbolic};
  }

  bool starts_atom() const {
    const Token next = token();
    return next == Token::number || next == Token::name || next == Token::open ||
           next == Token::prefix || (next == Token::bar && !in_bars_);
  }

  Part factor() {
    const bool is_signed = signs();
    Part whole = post();
    if (strict_ && is_signed && whole.sequence) return fail();
    while (!failed_ && take(Token::power)) {
      if (take(Token::postfix)) continue;  // 30^∘
      signs();
      whole = product(whole, post());
    }
    return whole;
  }

  bool signs() {
    const size_t begin = at_;
    while (token() == Token::plus || token() == Token::prefix) ++at_;
    return at_ > begin;
  }

  Part post() {
    const Part whole = atom();
    size_t bangs = 0;
    while (take(Token::bang) || take(Token::postfix)) ++bangs;
    return strict_ && bangs > 2 ? fail() : whole;  // "!!" is SymPy's double factorial
  }

  Part atom() {
    if (failed_) return {};
    if (take(Token::number)) return {};
    if (token() == Token::name) return name();
    if (token() == Token::open) {
      const bool square = lexemes_[at_].text == "[";
      const Items items = bracket();
      return {square || items.comma || items.count != 1, items.symbolic};
    }
    if (token() == Token::bar && !in_bars_) return absolute();
    return fail();
  }

  Part name() {
    const std::string_view text = lexemes_[at_++].text;
    if (strict_ && is_python_word(text)) return fail();
    if (token() == Token::open && lexemes_[at_].text == "(") {
      const Items items = bracket();
      const bool single = items.count == 1 && !items.comma;
      if (strict_ && !single && (items.count == 0 || !takes_several(text))) return fail();
      return {false, true};
    }
    return {false, text != "pi" && text != "oo"};
  }

  Items bracket() {
    const bool square = lexemes_[at_++].text == "[";
    if (++depth_ > kMaxDepth) failed_ = true;
    const bool outer = std::exchange(in_bars_, false);
    const Items items = list();
    in_bars_ = outer;
    --depth_;
    if (strict_ && (lexemes_[at_].text == "]") != square) failed_ = true;
    if (!take(Token::close)) failed_ = true;
    return items;
  }

  Part absolute() {
    ++at_;
    if (++depth_ > kMaxDepth) return fail();
    in_bars_ = true;
    const Items items = list();
    in_bars_ = false;
    --depth_;
    return items.count > 0 && take(Token::bar) ? Part{} : fail();
  }

  std::vector<Lexeme> lexemes_;
  bool strict_, failed_ = false, in_bars_ = false;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace

bool is_expression(std::string_view text, bool strict_sympy_compat) {
  return Parser(Lexer(trimmed(text), strict_sympy_compat).run(), strict_sympy_compat).run();
}

}  // namespace vernier
