#include "rewards/verify/math/parser.h"

#include <array>

#include "rewards/verify/math/parser_state.h"

namespace vernier::math {

int32_t Parser::whole() {
  const int32_t root = at(Tok::relation) ? without_left_side() : list("");
  if (!problem.empty()) return kNone;
  if (at_ != list_.size()) return refuse("it does not end where an expression would");
  return root;
}

// "= 5", "≈ 5": what it is equal to is elsewhere. "> 5" is said of a symbol without a name.
int32_t Parser::without_left_side() {
  const auto relation = static_cast<Relation>(peek().id);
  ++at_;
  if (relation == Relation::equal || relation == Relation::about) return list("");
  const int32_t right = expression(0);
  if (right == kNone || tree_.full()) return refuse("a relation has no right side");
  const std::array<int32_t, 2> sides = {tree_.add_symbol(kUnnamed), right};
  return tree_.add_relation(sides, std::array{relation});
}

int32_t Parser::list(std::string_view closing) {
  std::vector<int32_t> items;
  Joined joined = Joined::comma;
  while (true) {
    const int32_t item = element();
    if (item == kNone) return kNone;
    items.push_back(item);
    bool parted = false;
    while (at(Tok::comma) || at(Tok::both) || at(Tok::either)) {
      if (at(Tok::both)) joined = Joined::both;
      if (at(Tok::either)) joined = Joined::either;
      parted = true;
      ++at_;
    }
    // A comma may end a text.
    if (!parted || at(Tok::end) || at_close(closing)) break;
  }
  if (items.size() == 1) return items[0];
  return tree_.full() ? refuse(cat("it has more than ", kMaxNodes, " parts"))
                      : tree_.add(Kind::list, items, static_cast<uint8_t>(joined));
}

int32_t Parser::element() {
  constexpr size_t kMostSides = 16;
  const Nested nested(*this);
  if (nested.too_deep()) return refuse("it nests too deeply");
  const int32_t first = expression(0);
  if (first == kNone) return kNone;
  if (take(Tok::element_of)) {
    const int32_t set = expression(0);
    return node(Kind::member, {first, set});
  }
  if (!at(Tok::relation)) return first;
  std::vector<int32_t> sides = {first};
  std::vector<Relation> relations;
  while (at(Tok::relation)) {
    relations.push_back(static_cast<Relation>(peek().id));
    ++at_;
    const int32_t side = expression(0);
    if (side == kNone) return kNone;
    sides.push_back(side);
    if (sides.size() > kMostSides) return refuse("it has too many relations");
  }
  if (tree_.full()) return refuse(cat("it has more than ", kMaxNodes, " parts"));
  return tree_.add_relation(sides, relations);
}

int32_t Parser::expression(int binding) {
  const Nested nested(*this);
  if (nested.too_deep()) return refuse("it nests too deeply");
  int32_t left = atom();
  while (left != kNone) {
    const int32_t wider = infix(left, binding);
    if (wider == kNone) break;
    left = wider;
  }
  return problem.empty() ? left : kNone;
}

bool Parser::starts_atom(const Token& token) const {
  switch (token.kind) {
    case Tok::number:
    case Tok::run:
    case Tok::word:
    case Tok::name:
    case Tok::frac:
    case Tok::sqrt:
    case Tok::binomial:
    case Tok::pi:
    case Tok::infinity:
    case Tok::begin:
    case Tok::overline:
    case Tok::decorated:
      return true;
    case Tok::function:
    case Tok::log:
      return !bare_argument_;
    case Tok::bar:
      return bars_ == 0;
    // A square bracket after an operand is the other end of an interval.
    case Tok::open:
      return token.text != "[" && token.text != "S";
    default:
      return false;
  }
}

int32_t Parser::sum_like(int32_t left, Tok kind) {
  ++at_;
  const int32_t right = expression(kBindSum + 1);
  if (kind == Tok::minus && right != kNone && (is_set(left) || is_set(right)))
    return node(Kind::difference, {left, right});
  if (kind == Tok::minus) return node(Kind::sum, {left, node(Kind::negate, {right})});
  if (kind == Tok::plus) return node(Kind::sum, {left, right});
  return node(Kind::plus_minus, {left, right}, kind == Tok::minus_plus ? 1 : 0);
}

// R - {0} is a difference of sets.
bool Parser::is_set(int32_t id) const {
  switch (tree_[id].kind) {
    case Kind::number_set:
    case Kind::set:
    case Kind::interval:
    case Kind::set_union:
    case Kind::difference:
      return true;
    default:
      return false;
  }
}

// a : b is a quotient, a : b : c is not.
int32_t Parser::ratio(int32_t left) {
  std::vector<int32_t> parts = {left};
  while (take(Tok::colon)) {
    parts.push_back(expression(kBindProduct + 1));
    if (parts.back() == kNone) return kNone;
  }
  if (parts.size() == 2) return node(Kind::quotient, {parts[0], parts[1]});
  if (tree_.full()) return refuse(cat("it has more than ", kMaxNodes, " parts"));
  return tree_.add(Kind::ratio, parts);
}

int32_t Parser::infix(int32_t left, int binding) {
  const auto binary = [&](Kind kind, int power) {
    if (power < binding) return kNone;
    ++at_;
    return node(kind, {left, expression(power + 1)});
  };
  const Token& token = peek();
  switch (token.kind) {
    case Tok::unite:
      return binary(Kind::set_union, kBindSets);
    case Tok::intersect:
      return binary(Kind::intersection, kBindSets);
    case Tok::without:
      return binary(Kind::difference, kBindSets);
    case Tok::plus:
    case Tok::minus:
    case Tok::plus_minus:
    case Tok::minus_plus:
      return kBindSum < binding ? kNone : sum_like(left, token.kind);
    case Tok::times:
      return binary(Kind::product, kBindProduct);
    case Tok::colon:
      return colon_parts_ || kBindProduct < binding ? kNone : ratio(left);
    case Tok::over:
      return binary(Kind::quotient, kBindSets);
    case Tok::choose: {
      if (kBindSets < binding) return kNone;
      ++at_;
      const int32_t below = expression(kBindSets + 1);
      return call(Function::binomial, {left, below});
    }
    case Tok::divide:
      return binary(Kind::quotient, kBindProduct);
    case Tok::bang:
    case Tok::percent:
    case Tok::degree:
    case Tok::power:
    case Tok::subscript:
      return postfix(left);
    default:
      break;
  }
  if (kBindSide < binding || !starts_atom(token)) return kNone;
  if (token.kind == Tok::number && tree_[left].kind == Kind::number)
    return refuse("two numbers stand side by side");
  return node(Kind::product, {left, expression(kBindSide + 1)});
}

int32_t Parser::postfix(int32_t left) {
  switch (peek().kind) {
    case Tok::bang:
      ++at_;
      return call(Function::factorial, {left});
    case Tok::percent:
      ++at_;
      return node(Kind::percent, {left});
    case Tok::degree:
      ++at_;
      return node(Kind::degree, {left});
    case Tok::power:
      ++at_;
      return raised(left);
    default:
      break;
  }
  ++at_;  // a subscript: of symbols it is part of the atom
  if (tree_[left].kind != Kind::number) return refuse("a subscript stands behind no symbol");
  return node(Kind::based, {left, short_argument()});
}

int32_t Parser::raised(int32_t base) {
  // 5^{th}, 5^{\text{th}}
  const auto is_ordinal = [](std::string_view text) {
    return text == "th" || text == "st" || text == "nd" || text == "rd";
  };
  const bool braced = at(Tok::open) && peek().text == "{";
  if (is_ordinal(peek(braced ? 1 : 0).text)) {
    at_ += braced ? 2 : 1;
    if (braced && at_close("{")) ++at_;
    return base;
  }
  return node(Kind::power, {base, exponent()});
}

// A number is taken whole: who writes 2^10 means 1024.
int32_t Parser::exponent() {
  const Nested nested(*this);
  if (nested.too_deep()) return refuse("it nests too deeply");
  if (take(Tok::minus)) return node(Kind::negate, {exponent()});
  if (take(Tok::plus)) return exponent();
  int32_t out = at(Tok::number) ? plain_number() : short_argument();
  // Powers of powers bind from the right.
  if (out != kNone && take(Tok::power)) out = node(Kind::power, {out, exponent()});
  return out;
}

Parsed parse(Tokens&& tokens, Tree& tree) {
  Parsed out;
  out.problem = std::move(tokens.problem);
  if (!out.problem.empty()) return out;
  if (tokens.list.empty()) {
    out.problem = "it is empty";
    return out;
  }
  tree.begin();
  Parser parser(std::move(tokens.list), tree);
  out.root = parser.whole();
  out.problem = std::move(parser.problem);
  if (out.root == kNone && out.problem.empty()) out.problem = "it is no expression";
  return out;
}

}  // namespace vernier::math
