#include <algorithm>

#include "rewards/verify/math/parser_state.h"

namespace vernier::math {
namespace {

// The bracket that closes a kind, for messages.
std::string_view closing_of(std::string_view kind) {
  if (kind == "(") return ")";
  if (kind == "[") return "]";
  if (kind == "{" || kind == "S") return "}";
  return "bracket";
}

}  // namespace

// Reads elements up to a close, which stays.
bool Parser::elements(std::vector<int32_t>& items, std::string_view closing) {
  if (at(Tok::close)) return true;
  while (true) {
    const int32_t item = element();
    if (item == kNone) return false;
    items.push_back(item);
    bool parted = false;
    while (at(Tok::comma) || at(Tok::both) || at(Tok::either)) {
      parted = true;
      ++at_;
    }
    if (!parted || at_close(closing)) return true;
  }
}

int32_t Parser::group(std::string_view kind) {
  const Nested nested(*this);
  if (nested.too_deep()) return refuse("it nests too deeply");
  const bool outer = std::exchange(bare_argument_, false);
  const int bars = std::exchange(bars_, 0);
  const bool colon = std::exchange(colon_parts_, kind == "S");
  int32_t out = kNone;
  if (kind == "S") {
    out = set_group();
  } else {
    std::vector<int32_t> items;
    if (elements(items, kind)) {
      if (!at(Tok::close)) {
        out = refuse(cat("a ", closing_of(kind), " is missing"));
      } else {
        const std::string_view closing = peek().text;
        ++at_;
        out = between(kind, closing, items);
      }
    }
  }
  bare_argument_ = outer;
  bars_ = bars;
  colon_parts_ = colon;
  return out;
}

int32_t Parser::between(std::string_view opening, std::string_view closing,
                        const std::vector<int32_t>& items) {
  const auto is_round_or_square = [](std::string_view kind) { return kind == "(" || kind == "["; };
  if (items.empty()) return refuse("brackets hold nothing");
  if (opening == "F" || opening == "C") {
    if (closing != opening || items.size() != 1) return refuse("brackets do not close one another");
    return call(opening == "F" ? Function::floor : Function::ceil, {items[0]});
  }
  if (tree_.full()) return refuse(cat("it has more than ", kMaxNodes, " parts"));
  if (opening != closing) {
    if (!is_round_or_square(opening) || !is_round_or_square(closing) || items.size() != 2)
      return refuse("brackets do not close one another");
    return tree_.add(Kind::interval, items, opening == "(" ? kLowOpen : kHighOpen);
  }
  if (opening == "A") return tree_.add(Kind::tuple, items, 0);
  if (items.size() == 1) return items[0];
  if (opening == "{") return tree_.add(Kind::set, items);
  if (opening == "[" && items.size() == 2) return tree_.add(Kind::interval, items, 0);
  return tree_.add(Kind::tuple, items, opening == "(" ? 1 : 0);
}

// Behind \{: elements, or { x | condition }.
int32_t Parser::set_group() {
  std::vector<int32_t> items;
  // The stroke of a set builder is no bar.
  ++bars_;
  const bool read = elements(items, "S");
  --bars_;
  if (!read) return kNone;
  if (at(Tok::mid) || at(Tok::bar) || at(Tok::colon)) {
    if (items.size() != 1) return refuse("a set builder has several elements");
    ++at_;
    colon_parts_ = false;
    const int32_t condition = list("S");
    if (condition == kNone) return kNone;
    if (!at_close("S")) return refuse("a } is missing");
    ++at_;
    const int32_t what = items[0];
    const auto real = [&](int32_t set) {
      return tree_[set].kind == Kind::number_set && tree_[set].detail == 'R';
    };
    const bool plain = tree_[what].kind == Kind::symbol ||
                       (tree_[what].kind == Kind::member && real(tree_.kid(what, 1)));
    return plain ? condition : node(Kind::set, {what, condition}, 1);
  }
  // \{1, 2} is common.
  if (!at_close("S") && !at_close("{")) return refuse("a } is missing");
  ++at_;
  if (items.empty()) return node(Kind::empty_set, {});
  return tree_.full() ? refuse("it has too many parts") : tree_.add(Kind::set, items);
}

// Behind the first bar. `marked`: it came with \left or as \lvert.
int32_t Parser::bar_group(bool marked) {
  const Nested nested(*this);
  if (nested.too_deep()) return refuse("it nests too deeply");
  const bool outer = std::exchange(bare_argument_, false);
  if (!marked) ++bars_;
  const int bars = marked ? std::exchange(bars_, 0) : bars_;
  const int32_t inside = expression(0);
  bare_argument_ = outer;
  if (marked)
    bars_ = bars;
  else
    --bars_;
  if (inside == kNone) return kNone;
  if (marked ? !at_close("L") : !at(Tok::bar)) return refuse("a bar does not close");
  ++at_;
  return call(Function::abs, {inside});
}

// Of lines that are aligned, as a calculation is set: what the last one says.
int32_t Parser::last_line() {
  std::vector<Token> line;
  size_t end = at_;
  bool next = false;  // a row has ended, and something is to come
  for (int open = 0; end < list_.size() && (open > 0 || list_[end].kind != Tok::finish); ++end) {
    const Token& token = list_[end];
    if (token.kind == Tok::begin) ++open;
    if (token.kind == Tok::finish) --open;
    if (open == 0 && token.kind == Tok::row) {
      next = true;
    } else if (open > 0 || token.kind != Tok::cell) {
      if (std::exchange(next, false)) line.clear();
      line.push_back(token);
    }
  }
  std::copy(list_.begin() + static_cast<int64_t>(end), list_.end(), std::back_inserter(line));
  list_ = std::move(line);
  at_ = 0;
  if (at(Tok::relation) && peek().id == static_cast<uint8_t>(Relation::equal)) ++at_;
  const int32_t out = list("");
  if (out != kNone && !take(Tok::finish)) return refuse("a line does not end where it would");
  return out;
}

int32_t Parser::environment() {
  const Nested nested(*this);
  if (nested.too_deep()) return refuse("it nests too deeply");
  const std::string_view name = peek().text;
  ++at_;
  for (const std::string_view lines : {"align", "gather", "split", "equation"})
    if (name.starts_with(lines)) return last_line();
  const bool outer = std::exchange(bare_argument_, false);
  const int bars = std::exchange(bars_, 0);
  std::vector<int32_t> cells;
  size_t columns = 0, row = 0;
  while (!at(Tok::finish)) {
    const int32_t cell = element();
    if (cell == kNone) return kNone;
    cells.push_back(cell);
    ++row;
    while (name == "cases" && take(Tok::comma)) continue;
    if (take(Tok::cell)) continue;
    if (!at(Tok::row) && !at(Tok::finish)) return refuse("a matrix does not end");
    if (columns != 0 && row != columns) return refuse("the rows of a matrix differ in length");
    columns = row;
    row = 0;
    take(Tok::row);
  }
  ++at_;
  bare_argument_ = outer;
  bars_ = bars;
  if (cells.empty() || row != 0 || columns > 255) return refuse("a matrix has no cells");
  if (tree_.full()) return refuse("it has too many parts");
  if (name == "array" && cells.size() == 1) return cells[0];
  if (name == "cases" && columns == 1)
    return tree_.add(Kind::list, cells, static_cast<uint8_t>(Joined::both));
  return tree_.add(Kind::matrix, cells, static_cast<uint8_t>(columns));
}

}  // namespace vernier::math
