// Does a response hold a mathematical answer in the right form? No ground truth is needed.
//
//   F = 1   where parse_answer finds a text whose normal form is an expression, else 0
//
// Source: the format reward of "surrogate signals" (arXiv:2505.19439), whose code extracts a box,
// normalises LaTeX to plain text and asks SymPy to parse it. Here a grammar (expression.h) takes
// SymPy's place; nothing is evaluated, and everything takes time linear in the text.
//
// `strict_sympy_compat` (default) keeps what the original counts as wrong although it is good
// mathematics: half-open intervals, unions of intervals, chained or LaTeX inequalities, matrices,
// absolute values, "\boxed 7", an unclosed last box after a closed one. Without it these are right.
#pragma once

#include <string>
#include <string_view>

namespace vernier {

/// The answer in a response; "" where there is none. In <answer> tags: the last \boxed{...}, else
/// the last \( ... \), else the inner text. Without tags: the last \boxed{...} after the last
/// </think>.
std::string parse_answer(std::string_view response, bool strict_sympy_compat = true);

/// An answer as plain text: units, text macros and LaTeX taken off, lower case, no spaces.
std::string normalize_answer(std::string_view answer, bool strict_sympy_compat = true);

/// F: there is an answer, and its normal form is_expression().
bool has_math_answer(std::string_view response, bool strict_sympy_compat = true);

/// True where "<think>" stands somewhere before a "</think>".
bool has_think_block(std::string_view response);

}  // namespace vernier
