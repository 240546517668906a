#include "rewards/verify/math/verbal.h"

#include <algorithm>
#include <numeric>
#include <string_view>
#include <vector>

#include "rewards/verify/scan.h"

namespace vernier::math {
namespace {

// "(B) 5" names a choice and what it says.
struct Choice {
  char letter = '\0';  // of A to J; 0 where there is none
  size_t size = 0;     // tokens of the name
};

bool is_choice_letter(std::string_view text) {
  return text.size() == 1 && text[0] >= 'A' && text[0] <= 'J';
}

bool is_option(std::string_view text) {
  return text == "Option" || text == "option" || text == "Choice" || text == "choice";
}

// The letter of "Option B".
char after_option(std::string_view text) {
  const size_t end = std::min(text.find(' '), text.size());
  const std::string_view letter = trimmed(text.substr(end));
  return is_option(text.substr(0, end)) && is_choice_letter(letter) ? letter[0] : '\0';
}

// "B", "(B)", "B)", "B:", "Option B", and what stands behind.
Choice choice_of(const std::vector<Token>& list) {
  const auto is = [&](size_t at, Tok kind, std::string_view text) {
    return at < list.size() && list[at].kind == kind && (text.empty() || list[at].text == text);
  };
  const auto is_text = [&](size_t at) { return is(at, Tok::run, "") || is(at, Tok::word, ""); };
  size_t at = is_text(0) && is_option(list[0].text) ? 1 : 0;
  const bool opens = is(at, Tok::open, "(");
  if (opens) ++at;
  if (!is_text(at)) return {};
  const char letter =
      is_choice_letter(list[at].text) ? list[at].text[0] : after_option(list[at].text);
  const bool roman = list[at].roman;
  if (letter == '\0') return {};
  ++at;
  const bool closes = is(at, Tok::close, "(");
  if (opens && !closes) return {};
  const bool marked = closes || is(at, Tok::colon, "");
  if (marked) ++at;
  if (at == list.size()) return {letter, at};
  // "(B) 5" and not the product (B)(5), nor (B) + 5.
  const Token& next = list[at];
  const bool operand = next.kind == Tok::number || next.kind == Tok::run ||
                       next.kind == Tok::word || next.kind == Tok::name || next.kind == Tok::frac ||
                       next.kind == Tok::sqrt || next.kind == Tok::pi || next.kind == Tok::open ||
                       next.kind == Tok::minus;
  const bool apart = next.spaced || roman || (closes && !opens);
  return marked && operand && apart ? Choice{letter, at} : Choice{};
}

// What has no place behind the name of a choice: another one, "or", "not".
bool hedges(const Token& token) {
  if (token.kind == Tok::either || token.kind == Tok::both) return true;
  if (token.kind != Tok::run && token.kind != Tok::word) return false;
  const auto has = [&](std::string_view word) {
    return token.text.find(word) != std::string_view::npos;
  };
  return is_choice_letter(token.text) || has("not") || has("wrong") || has("or ") || has("no ");
}

// A time of day: 3:30, 8 pm.
struct Time {
  int minutes = 0;
  char half = '\0';     // a or p
  bool surely = false;  // it can be no ratio
};

std::optional<Time> time_of(const std::vector<Token>& list) {
  const auto digits = [&](size_t at) {
    const bool is_number = at < list.size() && list[at].kind == Tok::number &&
                           list[at].text.size() <= 2 && is_digit(list[at].text.back());
    return is_number ? list[at].text : std::string_view();
  };
  const auto value = [](std::string_view text) {
    int out = 0;
    for (const char c : text) out = out * 10 + (c - '0');
    return out;
  };
  const std::string_view hours = digits(0);
  if (hours.empty()) return std::nullopt;
  Time out{.minutes = 60 * value(hours)};
  size_t at = 1;
  if (at < list.size() && list[at].kind == Tok::colon) {
    const std::string_view minutes = digits(2);
    if (minutes.size() != 2 || value(minutes) > 59) return std::nullopt;
    out.minutes += value(minutes);
    out.surely = minutes[0] == '0' || std::gcd(value(hours), value(minutes)) > 1;
    at = 3;
  }
  std::string half;
  for (; at < list.size(); ++at) {
    if (list[at].kind != Tok::run && list[at].kind != Tok::word) return std::nullopt;
    for (const char c : list[at].text)
      if (c != '.' && !is_space(c)) half += c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  }
  if (half == "am" || half == "pm") out.half = half[0];
  if (out.half == '\0' && (!half.empty() || list.size() == 1)) return std::nullopt;
  out.surely = out.surely || out.half != '\0';
  return out;
}

}  // namespace

std::optional<Words> words_of(const Tokens& tokens) {
  Words out;
  bool upright = false;
  size_t longest = 0;
  for (const Token& token : tokens.list) {
    const bool word = token.kind == Tok::word || token.kind == Tok::run;
    const bool between = token.kind == Tok::comma || token.kind == Tok::both ||
                         token.kind == Tok::either || token.kind == Tok::prime ||
                         token.kind == Tok::minus || token.kind == Tok::element_of ||
                         ((token.kind == Tok::open || token.kind == Tok::close) &&
                          (token.text == "(" || token.text == "{"));
    if (!word && !between) return std::nullopt;
    if (token.kind == Tok::comma) out.letters += ',';
    if (token.kind == Tok::minus) out.letters += '-';
    if (token.kind == Tok::both) out.letters += "and";
    if (token.kind == Tok::either) out.letters += "or";
    if (!word) continue;
    upright = upright || token.kind == Tok::word || token.roman;
    longest = std::max(longest, token.text.size());
    ++out.count;
    for (size_t i = 0; i < token.text.size(); ++i) {
      const char c = token.text[i];
      if (is_space(c)) ++out.count;
      if (!is_space(c) && c != '.' && c != '\'' && c != '-' && c != '~') out.letters += c;
    }
  }
  // Letters side by side that nobody set as text are more likely a product, and so are consonants.
  const bool vowel = out.letters.find_first_of("aeiouAEIOU") != std::string::npos;
  if (out.count == 0 || (!upright && (longest < 3 || !vowel))) return std::nullopt;
  if (out.letters.size() > 1)
    for (char& c : out.letters)
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  return out;
}

std::optional<bool> same_choice(Tokens& gold, Tokens& answer) {
  const Choice want = choice_of(gold.list), have = choice_of(answer.list);
  if (want.letter == '\0' && have.letter == '\0') return std::nullopt;
  const bool gold_says = want.size < gold.list.size(), answer_says = have.size < answer.list.size();
  const auto drop = [](Tokens& tokens, size_t count) {
    tokens.list.erase(tokens.list.begin(), tokens.list.begin() + static_cast<int64_t>(count));
  };
  if (want.letter != '\0' && have.letter != '\0') {
    if (gold_says && answer_says) return std::nullopt;
    if (gold_says == answer_says) return want.letter == have.letter;
    // "(A) or (B)" names too many, and "(A) is wrong" none.
    Tokens& longer = gold_says ? gold : answer;
    drop(longer, gold_says ? want.size : have.size);
    return want.letter == have.letter && std::ranges::none_of(longer.list, hedges);
  }
  // "(B) 5" and "5"
  if (want.letter != '\0' && gold_says) drop(gold, want.size);
  if (have.letter != '\0' && answer_says) drop(answer, have.size);
  return std::nullopt;
}

std::optional<bool> same_time(const Tokens& gold, const Tokens& answer) {
  const std::optional<Time> want = time_of(gold.list);
  if (!want || !want->surely) return std::nullopt;
  const std::optional<Time> have = time_of(answer.list);
  if (!have) return want->half == '\0' ? std::nullopt : std::optional(false);
  const bool halves = want->half == '\0' || have->half == '\0' || want->half == have->half;
  return halves && want->minutes == have->minutes;
}

}  // namespace vernier::math
