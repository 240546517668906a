// The form of plain mathematical text: is it an expression?
//
//   list     := relation (',' relation)* [',']
//   relation := sum (('=' | '==' | '<' | '>') sum)*
//   sum      := term (('+' | '-') term)*
//   term     := factor (('*' | '/') factor | factor)*
//   factor   := ('+' | '-')* post ('^' ('+' | '-')* post)*        '**' is '^'
//   post     := atom '!'*
//   atom     := number | name ['(' [list] ')'] | '(' [list] ')' | '[' [list] ']'
//
// One pass, no backtracking; brackets nest 200 deep at most, which is also Python's limit.
#pragma once

#include <string_view>

namespace vernier {

/// True where the whole of `text` is a list of the grammar, and not empty. Nothing is evaluated.
///
/// With `strict_sympy_compat` some of these texts are refused because SymPy raises an error on
/// them: calculating with a tuple (which is what makes (0,1)∪(2,3) fail), a chain such as 0 < x <
/// 5, a name that is a word of Python. Without it the grammar also knows ≤ ≥ ≠ ∈ ± × ÷ √ ∞ ∅ … | |
/// ⌊ ⌋ and their like, "<=", brackets that close one another as in [0,1), and ";" between the rows
/// of a matrix.
bool is_expression(std::string_view text, bool strict_sympy_compat = true);

}  // namespace vernier
