// LaTeX and plain mathematical text as tokens: the notations of one thing become one token.
//
// Fonts, sizes, spacing, dollar signs and \left \right fall away; \text{and} is a separator;
// π, \pi and "pi" are one token; 1{,}000, 1,000 and 1\,000 one number. Linear in the text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace vernier::math {

enum class Tok : uint8_t {
  end,
  number,     // text: its digits, with what parts them
  run,        // text: letters side by side
  word,       // text: the inside of \text{...} and its like, letters and spaces
  name,       // text: a symbol of several letters, as "alpha"
  decorated,  // text: a mark over or before what follows, as "vec"
  function,   // id: Function
  frac,
  over,    // of {1 \over 2}
  choose,  // of {5 \choose 2}
  sqrt,
  binomial,
  log,    // id: Function
  open,   // text: one of ( [ { S A F C L: S \{, A \langle, F floor, C ceiling, L |
  close,  // the same by its opening
  bar,    // | that opens or closes
  mid,    // \mid
  plus,
  minus,
  plus_minus,
  minus_plus,
  times,
  divide,
  power,
  subscript,
  bang,
  percent,
  degree,
  prime,
  comma,   // also ;
  both,    // "and"
  either,  // "or"
  colon,
  relation,  // id: Relation
  element_of,
  unite,
  intersect,
  without,
  cell,  // &
  row,
  begin,  // text: the environment
  finish,
  pi,
  infinity,
  empty_set,
  number_set,  // text: its letter
  dots,
  overline,
};

struct Token {
  Tok kind = Tok::end;
  uint8_t id = 0;
  bool spaced = false;  // white space before it
  bool roman = false;   // of a run: it was inside \mathrm or \text
  std::string_view text;
};

struct Tokens {
  std::vector<Token> list;     // without an end token
  bool grouped_comma = false;  // a comma with three digits behind it was read as thousands
  std::string_view currency;   // of a sign of currency, as "dollar"; "" where there is none
  std::string problem;         // why the text is no mathematics; "" where it may be
};

/// The tokens view `text`. `thousands`: 1,234 outside of brackets is a number, and not a list.
Tokens tokenize(std::string_view text, bool thousands);

}  // namespace vernier::math
