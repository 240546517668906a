#include "rewards/verify/math/parser_state.h"
#include "rewards/verify/scan.h"

namespace vernier::math {
namespace {

std::string lowered(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (is_space(c) || c == '~' || c == '.' || c == '-' || c == '\'') continue;
    out += c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  }
  return out;
}

// How many of the bytes are one character.
size_t first_character(std::string_view text) {
  size_t size = 1;
  while (size < text.size() && (static_cast<unsigned char>(text[size]) & 0xC0) == 0x80) ++size;
  return size;
}

}  // namespace

// What is one token, and no number.
int32_t Parser::constant(const Token& token) {
  switch (token.kind) {
    case Tok::word:
      return word_atom(token.text);
    case Tok::name:
      return symbol(std::string(token.text));
    case Tok::pi:
      return node(Kind::pi, {});
    case Tok::infinity:
      return node(Kind::infinity, {});
    case Tok::empty_set:
      return node(Kind::empty_set, {});
    case Tok::dots:
      return symbol("...");
    case Tok::number_set:
      return node(Kind::number_set, {},
                  static_cast<uint8_t>(token.text.empty() ? 0 : token.text[0]));
    default:
      --at_;
      return refuse("an operand is missing");
  }
}

int32_t Parser::word_atom(std::string_view text) {
  std::string name = lowered(text);
  if (name.empty()) return refuse("it has an empty text");
  if (name.size() == 1) name = trimmed(text).substr(0, 1);  // B is no b
  if (name == "e" && !at(Tok::subscript)) return node(Kind::euler, {});
  if (name == "i" && !at(Tok::subscript)) return node(Kind::imaginary, {});
  return symbol(std::move(name));
}

int32_t Parser::overlined() {
  const int32_t inside = short_argument();
  const std::string name = inside == kNone ? "" : letters(tree_, inside);
  return name.empty() ? refuse("a line stands over no letters") : symbol("overline " + name);
}

int32_t Parser::atom() {
  const Token token = peek();
  switch (token.kind) {
    case Tok::number:
      return number_atom();
    case Tok::run:
      return run_atom();
    case Tok::decorated:
      return decorated_atom();
    case Tok::bar:
      ++at_;
      return bar_group(false);
    case Tok::begin:
      return environment();
    default:
      break;
  }
  ++at_;
  switch (token.kind) {
    case Tok::minus:
      return node(Kind::negate, {expression(kBindProduct)});
    case Tok::plus:
      return expression(kBindProduct);
    case Tok::plus_minus:
    case Tok::minus_plus:
      return node(Kind::plus_minus, {expression(kBindProduct)},
                  token.kind == Tok::minus_plus ? 1 : 0);
    case Tok::frac:
      return frac_atom();
    case Tok::sqrt:
      return sqrt_atom();
    case Tok::binomial: {
      const int32_t above = short_argument(), below = short_argument();
      return call(Function::binomial, {above, below});
    }
    case Tok::function:
    case Tok::log:
      return function_atom(static_cast<Function>(token.id));
    case Tok::overline:
      return overlined();
    case Tok::open:
      return token.text == "L" ? bar_group(true) : group(token.text);
    default:
      return constant(token);
  }
}

int32_t Parser::plain_number() {
  const std::string_view text = peek().text;
  ++at_;
  std::optional<Rational> value = read_number(text);
  if (!value || bits(*value) > kMaxBits) return refuse("a number is too large");
  if (tree_.full()) return refuse(cat("it has more than ", kMaxNodes, " parts"));
  const bool decimal = text.find('.') != std::string_view::npos;
  return tree_.add_number(*std::move(value), decimal);
}

int32_t Parser::number_atom() {
  const std::string_view text = peek().text;
  if (peek(1).kind == Tok::overline) return repeating(text);
  const int32_t number = plain_number();
  if (number == kNone || text.find_first_of(".eE") != std::string_view::npos) return number;
  if (at(Tok::number) && peek().spaced) return mixed_with_slash(number);
  if (!at(Tok::frac)) return number;
  // 1\frac12: a sum only where all three are plain integers.
  ++at_;
  const int32_t part = frac_atom();
  if (part == kNone) return kNone;
  bool plain = true;
  for (const int32_t kid : tree_.kids(part))
    plain = plain && tree_[kid].kind == Kind::number && is_integer(tree_.number(kid));
  return node(plain ? Kind::sum : Kind::product, {number, part});
}

// "7 3/4"
int32_t Parser::mixed_with_slash(int32_t whole) {
  if (peek(1).kind != Tok::divide || peek(2).kind != Tok::number) return whole;
  const int32_t above = plain_number();
  ++at_;
  const int32_t below = plain_number();
  return node(Kind::sum, {whole, node(Kind::quotient, {above, below})});
}

// 0.1\overline{6} = 0.1 + 6/90
int32_t Parser::repeating(std::string_view digits) {
  ++at_;
  const size_t point = digits.find('.');
  if (point == std::string_view::npos) return refuse("a line stands over digits before the point");
  std::optional<Rational> value = read_number(digits);
  ++at_;
  std::string_view period;
  if (at(Tok::open) && peek(1).kind == Tok::number && peek(2).kind == Tok::close) {
    period = peek(1).text;
    at_ += 3;
  } else if (at(Tok::number) && peek().text.size() == 1) {
    period = peek().text;
    ++at_;
  }
  constexpr size_t kMostDigits = 500;
  if (period.empty() || digits.size() + period.size() > kMostDigits || !value)
    return refuse("a line stands over no digits");
  for (const char c : period)
    if (!is_digit(c)) return refuse("a line stands over no digits");
  const Integer ten = 10;
  const Integer shift = pow(ten, static_cast<unsigned>(digits.size() - point - 1));
  const Integer nines = Integer(pow(ten, static_cast<unsigned>(period.size())) - 1);
  const Rational tail =
      read_number(period).value_or(Rational(0)) / Rational(Integer(shift * nines));
  return tree_.add_number(*value + tail, false);
}

int32_t Parser::run_atom() {
  Token& token = list_[at_];
  const size_t size = first_character(token.text);
  const std::string name(token.text.substr(0, size));
  const bool last = size == token.text.size();
  if (last) {
    ++at_;
  } else {
    token.text.remove_prefix(size);
    token.spaced = false;
  }
  if (last && (at(Tok::subscript) || at(Tok::prime))) return symbol(name);
  if (name == "e") return node(Kind::euler, {});
  if (name == "i") return node(Kind::imaginary, {});
  return symbol(name);
}

// A symbol with the subscript and the primes behind it.
int32_t Parser::symbol(std::string name) {
  if (take(Tok::subscript)) {
    const std::string below = subscript_text();
    if (below.empty()) return refuse("a subscript is missing");
    name += '_';
    name += below;
  }
  while (take(Tok::prime)) name += '\'';
  if (tree_.full()) return refuse(cat("it has more than ", kMaxNodes, " parts"));
  return tree_.add_symbol(name);
}

std::string Parser::subscript_text() {
  std::string out;
  if (!at(Tok::open)) {
    out = peek().text;
    if (out.empty()) return out;
    ++at_;
    return out;
  }
  ++at_;
  int open = 1;
  for (; at_ < list_.size(); ++at_) {
    const Token& token = list_[at_];
    if (token.kind == Tok::open) ++open;
    if (token.kind == Tok::close && --open == 0) {
      ++at_;
      return out;
    }
    out += token.text.empty() ? cat('#', static_cast<int>(token.kind)) : token.text;
  }
  return "";
}

int32_t Parser::decorated_atom() {
  std::string name(peek().text);
  ++at_;
  name += ' ';
  const bool braced = at(Tok::open) && peek().text == "{";
  if (!braced) {
    const Token token = peek();
    if (token.kind != Tok::run && token.kind != Tok::name && token.kind != Tok::word)
      return refuse("a mark stands over no letters");
    ++at_;
    return symbol(name.append(token.text));
  }
  const std::string inside = subscript_text();
  return inside.empty() ? refuse("a mark stands over no letters") : symbol(name + inside);
}

int32_t Parser::function_atom(Function function) {
  int32_t base = kNone, power = kNone;
  if (at(Tok::subscript)) {
    ++at_;
    base = short_argument();
    if (base == kNone) return kNone;
  }
  if (take(Tok::power)) {
    power = exponent();
    if (power == kNone) return kNone;
  }
  // \sin^{-1} is the inverse.
  const bool inverse = power != kNone && tree_[power].kind == Kind::negate;
  if (inverse) {
    if (function == Function::sin)
      function = Function::asin;
    else if (function == Function::cos)
      function = Function::acos;
    else if (function == Function::tan)
      function = Function::atan;
    else
      return refuse("an inverse function is not known");
    power = kNone;
  }
  const int32_t inside = argument();
  if (inside == kNone) return kNone;
  int32_t out = kNone;
  if (tree_[inside].kind == Kind::list || tree_[inside].kind == Kind::tuple ||
      (tree_[inside].kind == Kind::set && tree_[inside].detail == 0)) {
    if (tree_.full()) return refuse("it has too many parts");
    const std::vector<int32_t> kids(tree_.kids(inside).begin(), tree_.kids(inside).end());
    out = tree_.add(Kind::function, kids, static_cast<uint8_t>(function));
  } else {
    out = base == kNone ? call(function, {inside}) : call(function, {inside, base});
  }
  return power == kNone ? out : node(Kind::power, {out, power});
}

int32_t Parser::argument() {
  if (at(Tok::open) &&
      (peek().text == "(" || peek().text == "{" || peek().text == "[" || peek().text == "S")) {
    const std::string_view kind = peek().text;
    ++at_;
    return group(kind);
  }
  const bool outer = std::exchange(bare_argument_, true);
  const int32_t out = expression(kBindSide);
  bare_argument_ = outer;
  return out;
}

int32_t Parser::short_argument() {
  const Nested nested(*this);
  if (nested.too_deep()) return refuse("it nests too deeply");
  Token& token = at_ < list_.size() ? list_[at_] : list_.emplace_back();
  if (token.kind == Tok::number && token.text.size() > 1) {
    const int32_t digit = tree_.add_number(Rational(token.text[0] - '0'), false);
    if (!is_digit(token.text[0])) return refuse("an argument is missing");
    token.text.remove_prefix(1);
    token.spaced = false;
    return digit;
  }
  if (token.kind == Tok::number) return plain_number();
  if (token.kind == Tok::open) {
    const std::string_view kind = token.text;
    ++at_;
    return kind == "L" ? bar_group(true) : group(kind);
  }
  return atom();
}

int32_t Parser::frac_atom() {
  const int32_t above = short_argument();
  if (above == kNone) return kNone;
  return node(Kind::quotient, {above, short_argument()});
}

int32_t Parser::sqrt_atom() {
  if (at(Tok::open) && peek().text == "[") {
    ++at_;
    const int32_t degree = group("[");
    if (degree == kNone) return kNone;
    return call(Function::sqrt, {short_argument(), degree});
  }
  return call(Function::sqrt, {short_argument()});
}

}  // namespace vernier::math
