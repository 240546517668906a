#include "rewards/verify/math/math_verify.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "core/base/text.h"
#include "rewards/verify/math/compare.h"
#include "rewards/verify/math/extract.h"
#include "rewards/verify/math/parser.h"
#include "rewards/verify/math/units.h"
#include "rewards/verify/scan.h"

namespace vernier {
namespace math {
namespace {

using Outcome = MathVerdict::Outcome;

struct Judged {
  Outcome outcome = Outcome::wrong;
  std::string reason;
};

// A number that needs no tree: 42, -7, 3/4, \frac{3}{4}, 0.5 within 64 bits.
struct Plain {
  int64_t above = 0, below = 1;
  bool decimal = false;
};

// Digits at the front; none where there are none or more than 15, so that products of two numbers
// fit below.
std::optional<int64_t> take_digits(std::string_view& text) {
  int64_t value = 0;
  size_t size = 0;
  for (; size < text.size() && is_digit(text[size]); ++size) {
    if (size == 15) return std::nullopt;
    value = value * 10 + (text[size] - '0');
  }
  if (size == 0) return std::nullopt;
  text.remove_prefix(size);
  return value;
}

bool take(std::string_view& text, std::string_view mark) {
  if (!text.starts_with(mark)) return false;
  text.remove_prefix(mark.size());
  return true;
}

std::optional<Plain> plain_number(std::string_view text) {
  Plain out;
  const bool negative = take(text, "-");
  const bool macro = take(text, "\\frac{") || take(text, "\\dfrac{") || take(text, "\\tfrac{");
  const std::optional<int64_t> first = take_digits(text);
  if (!first) return std::nullopt;
  out.above = *first;
  if (macro ? take(text, "}{") : take(text, "/")) {
    const std::optional<int64_t> second = take_digits(text);
    if (!second || *second == 0) return std::nullopt;
    out.below = *second;
    if (macro && !take(text, "}")) return std::nullopt;
  } else if (macro) {
    return std::nullopt;
  } else if (take(text, ".")) {
    const size_t size = text.size();
    const std::optional<int64_t> second = take_digits(text);
    if (!second || size > 9 || out.above > 99'999) return std::nullopt;
    for (size_t i = 0; i < size; ++i) out.below *= 10;
    out.above = out.above * out.below + *second;
    out.decimal = true;
  }
  if (!text.empty()) return std::nullopt;
  if (negative) out.above = -out.above;
  return out;
}

// The verdict on two plain numbers; none where more has to be known: decimals may be equal that
// differ.
std::optional<bool> same_plain(std::string_view gold, std::string_view answer) {
  const std::optional<Plain> a = plain_number(gold);
  if (!a) return std::nullopt;
  const std::optional<Plain> b = plain_number(answer);
  if (!b) return std::nullopt;
  __extension__ using Wide = __int128;
  if (Wide{a->above} * b->below == Wide{b->above} * a->below) return true;
  if (a->decimal || b->decimal) return std::nullopt;
  return false;
}

bool same_tokens(const Tokens& a, const Tokens& b) {
  if (!a.problem.empty() || !b.problem.empty()) return false;
  return std::ranges::equal(a.list, b.list, [](const Token& x, const Token& y) {
    // White space tells 1 2/3 from 12/3.
    return x.kind == y.kind && x.id == y.id && x.text == y.text &&
           (x.kind != Tok::number || x.spaced == y.spaced);
  });
}

// Of an answer in words: its letters, and how many words they are.
struct Words {
  std::string letters;
  int count = 0;
};

// None where there is anything but words, brackets around them, and commas and marks between them.
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

// "(B) 5" names a choice and what it says.
struct Choice {
  char letter = '\0';  // of A to J; 0 where there is none
  size_t size = 0;     // tokens of the name
};

Choice choice_of(const std::vector<Token>& list) {
  const auto letter = [&](size_t at) {
    const bool is_letter =
        at < list.size() && (list[at].kind == Tok::run || list[at].kind == Tok::word) &&
        list[at].text.size() == 1 && list[at].text[0] >= 'A' && list[at].text[0] <= 'J';
    return is_letter ? list[at].text[0] : '\0';
  };
  const auto is = [&](size_t at, Tok kind, std::string_view text) {
    return at < list.size() && list[at].kind == kind && list[at].text == text;
  };
  if (list.size() == 1) return {letter(0), 1};
  if (!is(0, Tok::open, "(") || letter(1) == '\0' || !is(2, Tok::close, "(")) return {};
  if (list.size() == 3) return {letter(1), 3};
  // "(B) 5" and not the product (B)(5), nor (B) + 5.
  const Token& next = list[3];
  const bool operand = next.kind == Tok::number || next.kind == Tok::run ||
                       next.kind == Tok::word || next.kind == Tok::name || next.kind == Tok::frac ||
                       next.kind == Tok::sqrt || next.kind == Tok::pi || next.kind == Tok::open ||
                       next.kind == Tok::minus;
  if (!operand || !(next.spaced || list[1].roman)) return {};
  return {letter(1), 3};
}

// Whether one names a choice and the other adds what that choice says, "(B) 5" and "B", or "(B) 5"
// and "5"; none where this is no matter of choices.
std::optional<bool> same_choice(Tokens& gold, Tokens& answer) {
  const Choice want = choice_of(gold.list), have = choice_of(answer.list);
  if (want.letter == '\0' && have.letter == '\0') return std::nullopt;
  const bool gold_says = want.size < gold.list.size(), answer_says = have.size < answer.list.size();
  const auto drop = [](Tokens& tokens, size_t count) {
    tokens.list.erase(tokens.list.begin(), tokens.list.begin() + static_cast<int64_t>(count));
  };
  if (want.letter != '\0' && have.letter != '\0') {
    if (gold_says == answer_says) return std::nullopt;
    // "(A) (B)" names too many.
    Tokens& longer = gold_says ? gold : answer;
    drop(longer, gold_says ? want.size : have.size);
    if (choice_of(longer.list).letter == '\0') return want.letter == have.letter;
    return false;
  }
  // "(B) 5" and "5"
  if (want.letter != '\0' && gold_says) drop(gold, want.size);
  if (have.letter != '\0' && answer_says) drop(answer, have.size);
  return std::nullopt;
}

// How the two texts are read, where there is more than one way.
struct Reading {
  bool thousands = true;  // 1,234 is a number
  bool doubtful = false;  // the m of "5 m" is a unit
};

class Judge {
 public:
  Judge(std::string_view gold, std::string_view answer) : gold_(gold), answer_(answer) {}

  Judged run() {
    Judged out = read({});
    if (out.outcome != Outcome::wrong || !may_differ_) return out;
    // Another way to read the same characters may make them equal.
    for (const Reading reading :
         {Reading{true, true}, Reading{false, false}, Reading{false, true}}) {
      if ((reading.doubtful && !doubtful_) || (!reading.thousands && !grouped_)) continue;
      Judged other = read(reading);
      if (other.outcome == Outcome::correct) return other;
    }
    return out;
  }

  // Whether a gold answer can be compared with at all; the reason where it cannot.
  static std::string problem_of(std::string_view gold) {
    if (gold.size() > kMaxText) return cat("the gold is longer than ", kMaxText, " bytes");
    Tokens tokens = tokenize(gold, true);
    const std::optional<Words> words = words_of(tokens);
    if (words && words->count <= kMostWords) return "";
    if (words) return "the gold is a sentence";
    take_units(tokens, false);
    Tree tree;
    const Parsed parsed = parse(std::move(tokens), tree);
    if (parsed.root == kNone) return cat("the gold does not parse: ", parsed.problem);
    Budget budget;
    return has_value(tree, parsed.root, budget) ? "" : "the gold has no value within the limits";
  }

 private:
  static constexpr int kMostWords = 8;  // of an answer; more are a sentence

  Judged read(Reading reading) {
    Tokens gold = tokenize(gold_, reading.thousands), answer = tokenize(answer_, reading.thousands);
    grouped_ = gold.grouped_comma || answer.grouped_comma;
    if (same_tokens(gold, answer)) return {Outcome::correct, "the same tokens"};
    if (const std::optional<bool> same = same_choice(gold, answer))
      return {*same ? Outcome::correct : Outcome::wrong, *same ? "the same choice" : "not equal"};
    const std::optional<Words> words = words_of(gold);
    if (words) {
      const std::optional<Words> other = words_of(answer);
      if (other && other->letters == words->letters) return {Outcome::correct, "the same words"};
      if (words->count > kMostWords) return {Outcome::unverifiable, "the gold is a sentence"};
    }
    const Units unit = take_units(gold, reading.doubtful);
    const Units other_unit = take_units(answer, reading.doubtful);
    doubtful_ = unit.doubtful || other_unit.doubtful;
    may_differ_ = grouped_ || doubtful_;
    if (same_tokens(gold, answer) && units_agree(unit, other_unit))
      return {Outcome::correct, "the same tokens"};
    Judged out = compare(std::move(gold), std::move(answer));
    if (out.outcome == Outcome::correct && !units_agree(unit, other_unit))
      return {Outcome::wrong, cat("the units differ: ", unit.name, " and ", other_unit.name)};
    return out;
  }

  Judged compare(Tokens gold, Tokens answer) {
    Tree tree;
    const Parsed want = parse(std::move(gold), tree);
    if (want.root == kNone)
      return {Outcome::unverifiable, cat("the gold does not parse: ", want.problem)};
    const Parsed have = parse(std::move(answer), tree);
    Budget budget;
    if (have.root != kNone && same_answer(tree, want.root, have.root, budget))
      return {Outcome::correct, "equal"};
    // A gold without a value is equal to nothing, and that says nothing of the answer.
    Budget own;
    if (!has_value(tree, want.root, own))
      return {Outcome::unverifiable, "the gold has no value within the limits"};
    if (have.root == kNone)
      return {Outcome::wrong, cat("the answer does not parse: ", have.problem)};
    if (budget.spent()) return {Outcome::wrong, "the comparison ran over its budget"};
    return {Outcome::wrong, "not equal"};
  }

  std::string_view gold_, answer_;
  bool grouped_ = false, doubtful_ = false, may_differ_ = false;
};

Judged judge(std::string_view gold, std::string_view answer) {
  if (gold == answer) return {Outcome::correct, "the same text"};
  if (const std::optional<bool> same = same_plain(gold, answer))
    return {*same ? Outcome::correct : Outcome::wrong, *same ? "the same number" : "not equal"};
  if (gold.size() > kMaxText)
    return {Outcome::unverifiable, cat("the gold is longer than ", kMaxText, " bytes")};
  if (answer.size() > kMaxText) {
    const std::string problem = Judge::problem_of(gold);
    if (!problem.empty()) return {Outcome::unverifiable, problem};
    return {Outcome::wrong, cat("the answer is longer than ", kMaxText, " bytes")};
  }
  return Judge(gold, answer).run();
}

bool reads_as_answer(std::string_view text) {
  if (text.size() > kMaxText) return false;
  Tokens tokens = tokenize(text, true);
  if (words_of(tokens)) return true;
  take_units(tokens, true);
  Tree tree;
  return parse(std::move(tokens), tree).root != kNone;
}

std::string extracted_answer(std::string_view response, Extract extract) {
  const std::string_view text = behind_thinking(response);
  bool any_box = false;
  std::string boxed = boxed_answer(text, any_box);
  if (any_box || extract == Extract::boxed) return boxed;
  std::vector<std::string> candidates = loose_answers(text);
  for (std::string& candidate : candidates)
    if (reads_as_answer(candidate)) return std::move(candidate);
  return candidates.empty() ? "" : std::move(candidates.front());
}

}  // namespace
}  // namespace math

MathVerdict verify_math(std::string_view gold, std::string_view response, Extract extract) {
  using Outcome = MathVerdict::Outcome;
  MathVerdict out;
  const std::string want = math::plain_gold(gold);
  out.extracted = math::extracted_answer(response, extract);
  if (want.empty()) {
    out.outcome = Outcome::unverifiable;
    out.reason = "the gold is empty";
    return out;
  }
  if (out.extracted.empty()) {
    const std::string problem = math::Judge::problem_of(want);
    out.outcome = problem.empty() ? Outcome::wrong : Outcome::unverifiable;
    out.reason = problem.empty() ? "no answer" : problem;
    return out;
  }
  math::Judged judged = math::judge(want, trimmed(out.extracted));
  out.outcome = judged.outcome;
  out.reason = std::move(judged.reason);
  return out;
}

const char* name_of(MathVerdict::Outcome outcome) {
  switch (outcome) {
    case MathVerdict::Outcome::correct:
      return "correct";
    case MathVerdict::Outcome::wrong:
      return "wrong";
    case MathVerdict::Outcome::unverifiable:
      return "unverifiable";
  }
  return "";
}

}  // namespace vernier
