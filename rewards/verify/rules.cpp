#include "rewards/verify/rules.h"

#include <array>

#include "core/base/errors.h"
#include "rewards/verify/math/extract.h"
#include "rewards/verify/math/math_verify.h"
#include "rewards/verify/math_format.h"
#include "rewards/verify/scan.h"

namespace vernier {
namespace {

Verdict final_digit(std::string_view text, std::string_view answer) {
  if (answer.size() != 1 || !is_digit(answer[0]))
    fail("rule final_digit: the answer '", answer, "' is not one digit");
  const size_t hash = text.find('#');
  if (hash == std::string_view::npos || text.size() - hash != 3) return {};  // also a second '#'
  if (!is_digit(text[hash + 1]) || text[hash + 2] != '.') return {};
  return {text[hash + 1] == answer[0], std::string(1, text[hash + 1])};
}

// An integer as sign and digits without leading zeros, so that equal values are equal texts.
std::string canonical(bool negative, std::string_view digits) {
  std::string out;
  for (const char c : digits)
    if (is_digit(c) && !(out.empty() && c == '0')) out += c;
  if (out.empty()) return "0";
  return negative ? cat('-', out) : out;
}

// Where the number that ends in text[begin, end) starts once its thousands are taken in: from "567"
// back over "234," and "1,". `begin` itself where the commas do not part groups of three.
size_t with_thousands(std::string_view text, size_t begin, size_t end) {
  size_t head = begin, size = end - begin;
  while (size == 3 && head >= 2 && text[head - 1] == ',' && is_digit(text[head - 2])) {
    const size_t stop = head - 1;
    head = stop;
    while (head > 0 && is_digit(text[head - 1])) --head;
    size = stop - head;
  }
  const bool grouped = size <= 3 && text[head] != '0';
  return grouped ? head : begin;
}

// True where the whole text is digits, with or without thousands commas.
bool is_unsigned(std::string_view text) {
  if (text.empty() || text.find_first_not_of("0123456789,") != std::string_view::npos) return false;
  const size_t comma = text.rfind(',');
  if (comma == text.size() - 1) return false;
  const size_t tail = comma == std::string_view::npos ? 0 : comma + 1;
  return with_thousands(text, tail, text.size()) == 0;
}

Verdict last_integer(std::string_view text, std::string_view answer) {
  std::string_view digits = answer;
  if (!digits.empty() && (digits[0] == '-' || digits[0] == '+')) digits.remove_prefix(1);
  if (!is_unsigned(digits)) fail("rule last_integer: the answer '", answer, "' is not an integer");

  size_t end = text.size();
  while (end > 0 && !is_digit(text[end - 1])) --end;
  if (end == 0) return {};
  size_t begin = end;
  while (begin > 0 && is_digit(text[begin - 1])) --begin;
  begin = with_thousands(text, begin, end);
  // "5-3" is a difference, "=-3" a number.
  const bool negative =
      begin > 0 && text[begin - 1] == '-' && (begin < 2 || !is_digit(text[begin - 2]));
  std::string found = canonical(negative, text.substr(begin, end - begin));
  const bool correct = found == canonical(answer[0] == '-', digits);
  return {correct, std::move(found)};
}

Verdict exact(std::string_view text, std::string_view answer) {
  const std::string_view own = trimmed(text);
  return {own == answer, std::string(own)};
}

// Without one mark that closes it, which is a model's end token as a rule.
std::string_view unclosed(std::string_view text) {
  text = trimmed(text);
  if (text.ends_with('.') || text.ends_with(';') || text.ends_with('~')) text.remove_suffix(1);
  return trimmed(text);
}

Verdict marked(std::string_view text, std::string_view answer) {
  const size_t mark = text.rfind('#');
  if (mark == std::string_view::npos) return {};
  const std::string_view found = unclosed(text.substr(mark + 1));
  return {found == answer, std::string(found)};
}

Verdict last_line(std::string_view text, std::string_view answer) {
  const std::string_view all = unclosed(text);
  const std::string_view found = trimmed(all.substr(all.rfind('\n') + 1));
  return {found == answer, std::string(found)};
}

Verdict format_boxed(std::string_view text, std::string_view) {
  return {has_math_answer(text), parse_answer(text)};
}

Verdict format_hash(std::string_view text, std::string_view) {
  const bool formed = text.find('#') != std::string_view::npos;
  return {formed, formed ? "#" : ""};
}

Verdict math_rule(std::string_view text, std::string_view answer, Extract extract) {
  MathVerdict verdict = verify_math(answer, text, extract);
  return {.correct = verdict.outcome == MathVerdict::Outcome::correct,
          .found = std::move(verdict.extracted),
          .unverifiable = verdict.outcome == MathVerdict::Outcome::unverifiable,
          .reason = std::move(verdict.reason)};
}

Verdict math_boxed(std::string_view text, std::string_view answer) {
  return math_rule(text, answer, Extract::boxed);
}

Verdict math_lenient(std::string_view text, std::string_view answer) {
  return math_rule(text, answer, Extract::lenient);
}

struct Rule {
  const char* name;
  Verdict (*judge)(std::string_view text, std::string_view answer);  // the answer comes trimmed
  bool needs_answer = true;
};

constexpr std::array kRules = {
    Rule{"exact", exact},
    Rule{"final_digit", final_digit},
    Rule{"format_boxed", format_boxed, false},
    Rule{"format_hash", format_hash, false},
    Rule{"last_integer", last_integer},
    Rule{"last_line", last_line},
    Rule{"marked", marked},
    Rule{"math", math_boxed},
    Rule{"math_lenient", math_lenient},
};

const Rule& rule_of(const std::string& name) {
  for (const Rule& rule : kRules)
    if (name == rule.name) return rule;
  fail("no rule of correctness is called '", name, "'", suggestion(name, verify_rules()),
       "; known: ", join(verify_rules()));
}

}  // namespace

const std::vector<std::string>& verify_rules() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> out;
    for (const Rule& rule : kRules) out.emplace_back(rule.name);
    return out;
  }();
  return names;
}

bool needs_answer(const std::string& rule) { return rule_of(rule).needs_answer; }

Verdict verify(const std::string& rule, std::string_view response_text, const std::string& answer) {
  return rule_of(rule).judge(response_text, trimmed(answer));
}

std::optional<size_t> first_correct(const std::string& rule, std::string_view response_text,
                                    const std::string& answer) {
  constexpr int kMostTried = 64;
  if (rule == "last_integer") {
    int tried = 0;
    for (size_t i = 0; i < response_text.size() && tried < kMostTried; ++i) {
      const bool ends = is_digit(response_text[i]) &&
                        (i + 1 == response_text.size() || !is_digit(response_text[i + 1]));
      if (!ends) continue;
      ++tried;
      if (verify(rule, response_text.substr(0, i + 1), answer).correct) return i + 1;
    }
  }
  if (rule == "math" || rule == "math_lenient")
    for (const size_t end : math::box_ends(response_text, kMostTried))
      if (verify(rule, response_text.substr(0, end), answer).correct) return end;
  if (!verify(rule, response_text, answer).correct) return std::nullopt;
  return response_text.size();
}

}  // namespace vernier
