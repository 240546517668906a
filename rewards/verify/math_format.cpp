#include "rewards/verify/math_format.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <utility>
#include <vector>

#include "core/base/text.h"
#include "rewards/verify/expression.h"
#include "rewards/verify/latex_text.h"
#include "rewards/verify/scan.h"

namespace vernier {
namespace {

constexpr size_t kNone = std::string_view::npos;
constexpr std::string_view kBox = "\\boxed";

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  while (true) {
    const size_t at = text.find(from);
    out += text.substr(0, at);
    if (at == kNone) return out;
    out += to;
    text.remove_prefix(at + from.size());
  }
}

size_t skip_spaces(std::string_view text, size_t at) {
  while (at < text.size() && text[at] == ' ') ++at;
  return at;
}

struct Found {
  bool any = false;
  std::string_view text;
};

// The original's reading: the last box counts, and only with its brace directly behind the macro.
Found last_box(std::string_view text) {
  const size_t box = text.rfind(kBox);
  if (box == kNone) return {};
  const size_t begin = box + kBox.size() + 1;
  if (begin > text.size() || text[begin - 1] != '{') return {};
  size_t open = 1;
  for (size_t at = begin; at < text.size(); ++at) {
    if (text[at] == '{') ++open;
    if (text[at] == '}' && --open == 0) return {true, text.substr(begin, at - begin)};
  }
  return {};
}

// The last box that is closed, space before its brace allowed; else the word after the last box.
Found last_box_leniently(std::string_view text) {
  std::vector<std::pair<size_t, bool>> open;  // place of a brace, and whether it opens a box
  Found found;
  size_t best = 0, box_brace = kNone, after_box = kNone;
  for (size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '\\' && text.substr(at, kBox.size()) == kBox) {
      after_box = box_brace = skip_spaces(text, at + kBox.size());
      at = after_box - 1;
    } else if (text[at] == '{') {
      open.emplace_back(at, at == box_brace);
    } else if (text[at] == '}' && !open.empty()) {
      const auto [begin, boxed] = open.back();
      open.pop_back();
      if (boxed && begin >= best) {
        best = begin;
        found = {true, text.substr(begin + 1, at - begin - 1)};
      }
    }
  }
  if (found.any || after_box == kNone || after_box >= text.size() || text[after_box] == '{')
    return found;
  const std::string_view word = text.substr(after_box);
  return {true, word.substr(0, word.find_first_of(" \t\r\n$"))};
}

// The inside of the last \( ... \).
Found last_inline_math(std::string_view text) {
  Found found;
  while (true) {
    const size_t begin = text.find("\\(");
    if (begin == kNone) return found;
    const size_t end = text.find("\\)", begin + 2);
    if (end == kNone) return found;
    found = {true, text.substr(begin + 2, end - begin - 2)};
    text.remove_prefix(end + 2);
  }
}

// Inner text of answer tags that holds neither box nor \( \). The original runs a list of some
// fifty replacements; what of it bears on the form is the mathematics in $ $ or \[ \], and no line
// breaks.
std::string plain_inner_text(std::string_view text) {
  const size_t end = text.rfind('$');
  const size_t begin = end == kNone || end == 0 ? kNone : text.rfind('$', end - 1);
  if (begin != kNone && end - begin > 1) text = text.substr(begin + 1, end - begin - 1);
  std::string out;
  for (const char c : replace_all(replace_all(text, "\\[", ""), "\\]", ""))
    if (!is_space(c)) out += c;
  return out;
}

// ^\text{...}$ on one line.
std::string_view without_text_macro(std::string_view text) {
  constexpr std::string_view kText = "\\text{";
  if (!text.starts_with(kText) || !text.ends_with('}') || text.size() < kText.size() + 2 ||
      text.find('\n') != kNone)
    return text;
  return text.substr(kText.size(), text.size() - kText.size() - 1);
}

// Removes each `unit`, its plural, the spaces behind it and an exponent: "cm ^2", "inches".
std::string without_unit(std::string_view text, std::string_view unit) {
  std::string out;
  while (true) {
    size_t at = text.find(unit);
    out += text.substr(0, at);
    if (at == kNone) return out;
    at += unit.size();
    if (text.substr(at).starts_with("es")) at += 2;
    if (text.substr(at).starts_with('s')) ++at;
    at = skip_spaces(text, at);
    if (at + 1 < text.size() && text[at] == '^' && is_digit(text[at + 1])) {
      ++at;
      while (at < text.size() && is_digit(text[at])) ++at;
    }
    text.remove_prefix(at);
  }
}

std::string without_words(std::string text) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 9> kReplaced = {{
      {"\\%", "%"},
      {"\\$", "$"},
      {"$", ""},
      {"%", ""},
      {" or ", " , "},
      {" and ", " , "},
      {"million", "*10^6"},
      {"billion", "*10^9"},
      {"trillion", "*10^12"},
  }};
  constexpr std::array<std::string_view, 16> kUnits = {
      "degree", "cm",   "centimeter", "meter", "mile", "second", "minute", "hour",
      "day",    "week", "month",      "year",  "foot", "feet",   "inch",   "yard"};
  for (const auto& [from, to] : kReplaced) text = replace_all(text, from, to);
  for (const std::string_view unit : kUnits) text = without_unit(text, unit);
  return text;
}

// "^ \circ": a caret, spaces, the macro.
std::string without_degrees(std::string_view text) {
  constexpr std::string_view kCircle = "\\circ";
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t macro = text[at] == '^' ? skip_spaces(text, at + 1) : at;
    if (text[at] == '^' && text.substr(macro).starts_with(kCircle)) {
      at = macro + kCircle.size();
    } else {
      // Also takes the spaces behind a caret, so that no space is looked at twice.
      const size_t next = std::max(macro, at + 1);
      out += text.substr(at, next - at);
      at = next;
    }
  }
  return out;
}

// Takes out each `mark` together with the spaces behind it, and puts `instead` there.
std::string replace_with_spaces(std::string_view text, std::string_view mark,
                                std::string_view instead) {
  std::string out;
  while (true) {
    const size_t at = text.find(mark);
    out += text.substr(0, at);
    if (at == kNone) return out;
    out += instead;
    text.remove_prefix(skip_spaces(text, at + mark.size()));
  }
}

// A number in any notation whose value is an integer, as that integer; other texts as they are.
std::string whole_number(std::string text) {
  const std::string_view number = trimmed(text);
  double value = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
  if (error != std::errc() || end != number.data() + number.size()) return text;
  if (!(std::abs(value) < 1e15) || std::abs(value - std::round(value)) > 1e-7) return text;
  return cat(static_cast<int64_t>(std::round(value)));
}

std::string plain_latex(std::string_view text, std::string_view cell) {
  constexpr std::array<std::string_view, 3> kFractions = {"\\frac", "\\dfrac", "\\tfrac"};
  constexpr std::array<std::pair<std::string_view, std::string_view>, 6> kNames = {
      {{"√", "sqrt"}, {"π", "pi"}, {"∞", "inf"}, {"∪", "u"}, {"·", "*"}, {"×", "*"}}};
  // A space before a fraction keeps mixed numbers apart: 7\frac{3}{4} is 7 3/4, not 73/4.
  std::string out(text);
  for (const std::string_view macro : kFractions) out = replace_all(out, macro, cat(' ', macro));
  out = latex_to_text(out, cell);
  for (const auto& [from, to] : kNames) out = replace_all(out, from, to);
  return std::string(trimmed(out));
}

// "7 3/4" becomes "7+3/4"; a digit that ended one pair does not begin the next.
std::string join_mixed_numbers(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    out += text[at];
    const size_t next = is_digit(text[at]) ? skip_spaces(text, at + 1) : at + 1;
    const bool spaces = next > at + 1;
    at = next;
    if (spaces && at < text.size() && is_digit(text[at]))
      out += cat('+', text[at++]);
    else if (spaces)
      out += ' ';
  }
  return out;
}

// 1,234 is one number, (1,234) a pair: commas go only where the whole text is an integer.
std::string without_thousands(std::string text) {
  std::string digits;
  size_t group = 0;  // digits since the last comma
  bool grouped = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (is_digit(text[i])) {
      digits += text[i];
      ++group;
    } else if (text[i] == ',' && (grouped ? group == 3 : group > 0)) {
      grouped = true;
      group = 0;
    } else if (i == 0 && text[i] == '-') {
      digits += text[i];
    } else {
      return text;
    }
  }
  return grouped && group == 3 ? digits : text;
}

}  // namespace

std::string parse_answer(std::string_view response, bool strict_sympy_compat) {
  const auto box = strict_sympy_compat ? last_box : last_box_leniently;
  constexpr std::string_view kOpen = "<answer>", kClose = "</answer>", kThought = "</think>";
  const size_t open = response.find(kOpen), close = response.rfind(kClose);
  if (open != kNone && close != kNone && close >= open + kOpen.size()) {
    const std::string_view inner =
        response.substr(open + kOpen.size(), close - open - kOpen.size());
    if (const Found found = box(inner); found.any) return std::string(found.text);
    if (const Found found = last_inline_math(inner); found.any) return std::string(found.text);
    return plain_inner_text(inner);
  }
  const size_t thought = response.rfind(kThought);
  if (thought != kNone) response.remove_prefix(thought + kThought.size());
  return std::string(box(response).text);
}

std::string normalize_answer(std::string_view answer, bool strict_sympy_compat) {
  std::string text = without_degrees(without_words(std::string(without_text_macro(answer))));
  if (text.starts_with('{') && text.ends_with('}')) text = text.substr(1, text.size() - 2);
  text = whole_number(replace_with_spaces(text, ",\\!", ""));
  if (text.find('\\') != std::string::npos)
    text = plain_latex(text, strict_sympy_compat ? " " : ",");
  text = join_mixed_numbers(replace_with_spaces(text, "-", "-"));
  std::string out;
  for (const char c : text)
    if (c != ' ' && c != '{' && c != '}')
      out += c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return whole_number(without_thousands(std::move(out)));
}

bool has_math_answer(std::string_view response, bool strict_sympy_compat) {
  const std::string answer = parse_answer(response, strict_sympy_compat);
  return !answer.empty() &&
         is_expression(normalize_answer(answer, strict_sympy_compat), strict_sympy_compat);
}

bool has_think_block(std::string_view response) {
  const size_t open = response.find("<think>");
  return open != kNone && response.find("</think>", open + 7) != kNone;
}

}  // namespace vernier
