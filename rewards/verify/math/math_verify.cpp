#include "rewards/verify/math/math_verify.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "core/base/text.h"
#include "rewards/verify/math/compare.h"
#include "rewards/verify/math/extract.h"
#include "rewards/verify/math/parser.h"
#include "rewards/verify/math/units.h"
#include "rewards/verify/math/verbal.h"
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
  if (!a.currency.empty() && !b.currency.empty() && a.currency != b.currency) return false;
  return std::ranges::equal(a.list, b.list, [](const Token& x, const Token& y) {
    // White space tells 1 2/3 from 12/3.
    return x.kind == y.kind && x.id == y.id && x.text == y.text &&
           (x.kind != Tok::number || x.spaced == y.spaced);
  });
}

// Whether 1/2 x stands at a place: by the rules 1/(2x), and who writes it may mean x/2.
bool is_slash_coefficient(const std::vector<Token>& list, size_t at) {
  if (at + 3 >= list.size() || list[at].kind != Tok::number || list[at + 1].kind != Tok::divide ||
      list[at + 2].kind != Tok::number)
    return false;
  const Tok next = list[at + 3].kind;
  return next == Tok::run || next == Tok::name || next == Tok::pi || next == Tok::sqrt;
}

bool has_slash_coefficient(const std::vector<Token>& list) {
  for (size_t at = 0; at < list.size(); ++at)
    if (is_slash_coefficient(list, at)) return true;
  return false;
}

void bracket_slashes(std::vector<Token>& list) {
  std::vector<Token> out;
  for (size_t at = 0; at < list.size(); ++at) {
    const bool coefficient = is_slash_coefficient(list, at);
    if (coefficient) out.push_back({.kind = Tok::open, .text = "{"});
    out.push_back(list[at]);
    if (!coefficient) continue;
    out.push_back(list[++at]);
    out.push_back(list[++at]);
    out.push_back({.kind = Tok::close, .text = "{"});
  }
  list = std::move(out);
}

// "P(A | B) = 10": what stands behind a label that need not be an expression. None where there is
// no such label.
std::optional<Tokens> behind_label(const Tokens& tokens) {
  const std::vector<Token>& list = tokens.list;
  if (list.size() < 4 || !tokens.problem.empty()) return std::nullopt;
  const Tok first = list[0].kind;
  if (first != Tok::run && first != Tok::name && first != Tok::word && first != Tok::number_set)
    return std::nullopt;
  if (list[1].kind != Tok::open) return std::nullopt;
  size_t equals = 0;
  int depth = 0;
  for (size_t at = 0; at < list.size(); ++at) {
    if (list[at].kind == Tok::open) ++depth;
    if (list[at].kind == Tok::close) --depth;
    if (list[at].kind != Tok::relation || depth != 0) continue;
    if (equals != 0 || list[at].id != static_cast<uint8_t>(Relation::equal)) return std::nullopt;
    equals = at;
  }
  if (equals == 0 || equals + 1 == list.size()) return std::nullopt;
  Tokens out;
  out.list.assign(list.begin() + static_cast<int64_t>(equals) + 1, list.end());
  return out;
}

// How the two texts are read, where there is more than one way.
struct Reading {
  bool thousands = true;  // 1,234 is a number
  bool doubtful = false;  // the m of "5 m" is a unit
  bool units = true;      // the km of "2km" is a unit
  bool slash = false;     // 1/2x is half of x
};

class Judge {
 public:
  Judge(std::string_view gold, std::string_view answer) : gold_(gold), answer_(answer) {}

  Judged run() {
    Judged out = read({});
    if (out.outcome != Outcome::wrong || !may_differ_) return out;
    // Another way to read the same characters may make them equal.
    for (const Reading reading : {Reading{true, true}, Reading{false, false}, Reading{false, true},
                                  Reading{true, false, false}, Reading{true, false, true, true}}) {
      if ((reading.doubtful && !doubtful_) || (!reading.thousands && !grouped_)) continue;
      if ((!reading.units && !letters_) || (reading.slash && !slashed_)) continue;
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
    if (const std::optional<bool> same = same_time(gold, answer))
      return {*same ? Outcome::correct : Outcome::wrong, *same ? "the same time" : "not equal"};
    const std::optional<Words> words = words_of(gold);
    if (words) {
      const std::optional<Words> other = words_of(answer);
      if (other && other->letters == words->letters) return {Outcome::correct, "the same words"};
      if (words->count > kMostWords) return {Outcome::unverifiable, "the gold is a sentence"};
    }
    Units unit, other_unit;
    if (reading.units) {
      unit = take_units(gold, reading.doubtful);
      other_unit = take_units(answer, reading.doubtful);
      doubtful_ = unit.doubtful || other_unit.doubtful;
      letters_ = unit.letters || other_unit.letters;
    }
    slashed_ = has_slash_coefficient(gold.list) || has_slash_coefficient(answer.list);
    if (reading.slash) {
      bracket_slashes(gold.list);
      bracket_slashes(answer.list);
    }
    may_differ_ = grouped_ || doubtful_ || letters_ || slashed_;
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
    const std::optional<Tokens> value = behind_label(answer);
    Parsed have = parse(std::move(answer), tree);
    if (have.root == kNone && value) have = parse(Tokens(*value), tree);
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
  bool grouped_ = false, doubtful_ = false, letters_ = false, slashed_ = false;
  bool may_differ_ = false;
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

// The parts of the answer: the boxes that belong together, or one text.
std::vector<std::string> extracted_parts(std::string_view response, Extract extract) {
  const std::string_view text = behind_thinking(response);
  bool any_box = false;
  std::vector<std::string> boxes = boxed_answers(text, any_box);
  if (any_box || extract == Extract::boxed) return boxes;
  std::vector<std::string> candidates = loose_answers(text);
  for (std::string& candidate : candidates)
    if (reads_as_answer(candidate)) return {std::move(candidate)};
  if (candidates.size() > 1) candidates.resize(1);
  return candidates;
}

// The verdict on an answer of several boxes: a list, or one thing in several spellings.
Judged judge_parts(std::string_view gold, std::string_view whole,
                   const std::vector<std::string>& parts) {
  Judged out = judge(gold, whole);
  constexpr size_t kMostSpellings = 4;
  if (out.outcome != Outcome::wrong || parts.size() < 2 || parts.size() > kMostSpellings)
    return out;
  for (size_t i = 1; i < parts.size(); ++i)
    if (judge(parts[0], parts[i]).outcome != Outcome::correct) return out;
  return judge(gold, parts[0]);
}

}  // namespace
}  // namespace math

MathVerdict verify_math(std::string_view gold, std::string_view response, Extract extract) {
  using Outcome = MathVerdict::Outcome;
  MathVerdict out;
  const std::string want = math::plain_gold(gold);
  const std::vector<std::string> parts = math::extracted_parts(response, extract);
  out.extracted = join(parts);
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
  math::Judged judged = math::judge_parts(want, trimmed(out.extracted), parts);
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
