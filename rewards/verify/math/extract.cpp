#include "rewards/verify/math/extract.h"

#include <algorithm>
#include <array>
#include <utility>

#include "core/base/text.h"
#include "rewards/verify/math/limits.h"
#include "rewards/verify/scan.h"

namespace vernier::math {
namespace {

constexpr size_t kNowhere = std::string_view::npos;
constexpr size_t kMostJoined = 64;
constexpr std::string_view kBareEnds = " \t\r\n$";  // of "\\boxed 7"

struct Box {
  size_t begin = 0, end = 0;  // of the whole, macro and braces included
  std::string_view inside;
  bool closed = false;
};

// Finds macros of boxes from the end. A kind that has none before some place is not looked for
// again, so that the whole is linear in the text.
class MacrosFromEnd {
 public:
  explicit MacrosFromEnd(std::string_view text) : text_(text) {
    for (size_t kind = 0; kind < kMacros.size(); ++kind) look(kind, text.size());
  }

  // The place of the last one before all that were taken; kNowhere at the end.
  size_t take(size_t& size) {
    const size_t kind = next_[0] == kNowhere                          ? 1
                        : next_[1] == kNowhere || next_[0] > next_[1] ? 0
                                                                      : 1;
    const size_t at = next_[kind];
    if (at == kNowhere) return kNowhere;
    size = kMacros[kind].size();
    look(kind, at);
    return at;
  }

 private:
  static constexpr std::array<std::string_view, 2> kMacros = {"\\boxed", "\\fbox"};

  void look(size_t kind, size_t end) { next_[kind] = text_.substr(0, end).rfind(kMacros[kind]); }

  std::string_view text_;
  std::array<size_t, 2> next_{};
};

// The box whose macro stands at `begin`. Braces behind a backslash do not count. Longer ones than
// an answer may be are not closed, so that a text of many open boxes costs little.
Box box_at(std::string_view text, size_t begin, size_t size) {
  Box box{begin, begin + size, {}, false};
  size_t at = begin + size;
  while (at < text.size() && is_space(text[at])) ++at;
  if (at == text.size()) return box;
  if (text[at] != '{') {
    const size_t end = std::min(text.find_first_of(kBareEnds, at), text.size());
    return {begin, end, text.substr(at, end - at), true};
  }
  const size_t stop = std::min(text.size(), at + 2 * kMaxText);
  int open = 0;
  for (size_t i = at; i < stop; ++i) {
    if (text[i] == '\\') {
      ++i;
    } else if (text[i] == '{') {
      ++open;
    } else if (text[i] == '}' && --open == 0) {
      return {begin, i + 1, trimmed(text.substr(at + 1, i - at - 1)), true};
    }
  }
  return box;
}

// True where nothing stands between two boxes that would part them. White space alone joins them on
// one line.
bool joins(std::string_view between) {
  bool separator = false, line_break = false;
  while (!between.empty()) {
    size_t size = 1;
    const char c = between[0];
    if (c == ',' || c == ';') {
      separator = true;
    } else if (c == '\n') {
      line_break = true;
    } else if (between.starts_with("and") || between.starts_with("or")) {
      separator = true;
      size = c == 'a' ? 3 : 2;
    } else if (between.starts_with("\\text{")) {
      const size_t close = between.find('}');
      if (close == kNowhere || !joins(between.substr(6, close - 6))) return false;
      separator = true;
      size = close + 1;
    } else if (c == '\\' && between.size() > 1 &&
               std::string_view("()[],;: !").find(between[1]) != kNowhere) {
      size = 2;
    } else if (between.starts_with("\\quad")) {
      size = 5;
    } else if (c != '$' && !is_space(c)) {
      return false;
    }
    between.remove_prefix(size);
  }
  return separator || !line_break;
}

// `text` up to where a sentence ends: a line break, or a full stop with space or nothing behind it.
std::string_view sentence(std::string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\n') return text.substr(0, i);
    const bool last = i + 1 == text.size() || is_space(text[i + 1]);
    if ((text[i] == '.' || text[i] == '!' || text[i] == '?') && last &&
        !(text[i] == '!' && i > 0 && (is_digit(text[i - 1]) || text[i - 1] == 'n')))
      return text.substr(0, i);
  }
  return text;
}

// Takes white space, colons and Markdown's stars off the front, and the like off the end.
std::string_view without_marks(std::string_view text) {
  while (!text.empty() && (is_space(text[0]) || text[0] == '*' || text[0] == ':'))
    text.remove_prefix(1);
  while (!text.empty() && (is_space(text.back()) || text.back() == '*' || text.back() == '.'))
    text.remove_suffix(1);
  return text;
}

// A stretch of LaTeX between delimiters; `end` is behind the closing one.
struct Stretch {
  std::string_view inside;
  size_t begin = kNowhere, end = kNowhere;
};

// Finds stretches at ascending places. What closes one is looked for once: a text of delimiters
// that nothing closes takes linear time too.
class Stretches {
 public:
  explicit Stretches(std::string_view text) : text_(text) {}

  Stretch at(size_t place) {
    for (size_t kind = 0; kind < kPairs.size(); ++kind) {
      const auto& [open, close] = kPairs[kind];
      if (!text_.substr(place).starts_with(open)) continue;
      const size_t begin = place + open.size(), end = closing(kind, begin);
      if (end == kNowhere || end == begin || end - begin > kMaxText) return {};
      return {text_.substr(begin, end - begin), place, end + close.size()};
    }
    return {};
  }

 private:
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 4> kPairs = {
      {{"$$", "$$"}, {"$", "$"}, {"\\(", "\\)"}, {"\\[", "\\]"}}};

  size_t closing(size_t kind, size_t from) {
    size_t& next = next_[kind];
    if (!known_[kind] || next < from) {
      next = text_.find(kPairs[kind].second, from);
      known_[kind] = true;
    }
    return next;
  }

  std::string_view text_;
  std::array<size_t, 4> next_{};
  std::array<bool, 4> known_{};
};

// "$18 and $20" is money, not mathematics.
bool is_money(const Stretch& stretch, std::string_view text) {
  if (text[stretch.begin] != '$' || stretch.inside.empty()) return false;
  const std::string_view inside = stretch.inside;
  return is_digit(inside[0]) && is_space(inside.back());
}

// The first LaTeX of a text together with what is joined to it; "" where there is none within the
// first `reach` bytes.
std::string first_latex(std::string_view text, size_t reach) {
  Stretches stretches(text);
  std::string out;
  size_t end = 0;
  for (size_t at = 0; at < text.size(); ++at) {
    if (out.empty() && at > reach) break;
    const bool opens =
        text[at] == '$' || text.substr(at, 2) == "\\(" || text.substr(at, 2) == "\\[";
    if (!opens || (at > 0 && text[at - 1] == '\\')) continue;
    const Stretch stretch = stretches.at(at);
    if (stretch.end == kNowhere || is_money(stretch, text)) continue;
    if (!out.empty() && !joins(text.substr(end, at - end))) break;
    if (!out.empty()) out += ", ";
    out += trimmed(stretch.inside);
    end = stretch.end;
    at = end - 1;
  }
  // "$25$%"
  if (!out.empty()) {
    const std::string_view behind = trimmed(text.substr(end));
    if (behind.starts_with('%') || behind.starts_with("\\%") || behind.starts_with("percent"))
      out += "\\%";
  }
  return out;
}

// The last LaTeX of a text.
std::string last_latex(std::string_view text) {
  Stretches stretches(text);
  Stretch last;
  for (size_t at = 0; at < text.size(); ++at) {
    if (text[at] != '$' && text[at] != '\\') continue;
    const Stretch stretch = stretches.at(at);
    if (text[at] == '\\' && stretch.end == kNowhere) ++at;  // an escaped dollar sign among them
    if (stretch.end == kNowhere || is_money(stretch, text)) continue;
    last = stretch;
    at = stretch.end - 1;
  }
  return last.end == kNowhere ? "" : std::string(trimmed(last.inside));
}

bool is_number_part(char c) {
  return is_digit(c) || std::string_view(".,+-*/^()%").find(c) != kNowhere;
}

// The number or the sum of numbers at `at`: digits and operators, with spaces around operators.
std::string_view expression_at(std::string_view text, size_t at) {
  size_t end = at;
  while (end < text.size()) {
    if (is_number_part(text[end])) {
      ++end;
      continue;
    }
    // A space inside: "1 + 2", and not "1 of 2".
    const size_t next = text.find_first_not_of(' ', end);
    const bool goes_on =
        text[end] == ' ' && next != kNowhere && end > at &&
        (std::string_view("+-*/^").find(text[next]) != kNowhere ||
         (std::string_view("+-*/^").find(text[end - 1]) != kNowhere && is_number_part(text[next])));
    if (!goes_on) break;
    end = next;
  }
  while (end > at && std::string_view(".,+-*/^(").find(text[end - 1]) != kNowhere) --end;
  std::string_view found = text.substr(at, end - at);
  // "(see 5)" closes what it has not opened.
  if (std::ranges::count(found, '(') != std::ranges::count(found, ')'))
    found = found.substr(0, found.find_first_not_of("0123456789.,-+"));
  return found;
}

// Where a number may begin: no letter or digit before it, as in x2 or 3.5.
bool begins_number(std::string_view text, size_t at) {
  const bool signed_digit =
      (text[at] == '-' || text[at] == '.') && at + 1 < text.size() && is_digit(text[at + 1]);
  if (!is_digit(text[at]) && !signed_digit) return false;
  if (at == 0) return true;
  const char before = text[at - 1];
  const bool letter = (before >= 'a' && before <= 'z') || (before >= 'A' && before <= 'Z');
  return !letter && !is_digit(before) && before != '.' && before != '_' && before != '^' &&
         !(before == ',' && at > 1 && is_digit(text[at - 2]));
}

std::string first_number(std::string_view text, size_t reach) {
  for (size_t at = 0; at < std::min(text.size(), reach); ++at)
    if (begins_number(text, at)) {
      std::string out(expression_at(text, at));
      const std::string_view behind = trimmed(text.substr(at + out.size()));
      if (behind.starts_with("percent")) out += '%';
      return out;
    }
  return "";
}

std::string last_number(std::string_view text) {
  size_t end = text.find_last_of("0123456789");
  if (end == kNowhere) return "";
  // Behind the last digit: a percent sign, brackets.
  while (end < text.size() && is_number_part(text[end])) ++end;
  const size_t begin = end > kMaxText ? end - kMaxText : 0;
  text = text.substr(0, end);
  std::string_view last;
  for (size_t at = begin; at < text.size(); ++at)
    if (begins_number(text, at)) {
      last = expression_at(text, at);
      at += last.size();
    }
  return std::string(last);
}

// What stands behind the last answer phrase of a text before `end`; empty where there is none.
// `end` is set to where the phrase begins.
std::string_view behind_phrase(std::string_view text, size_t& end) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  constexpr std::string_view kWord = "answer";
  for (size_t at = end; at-- > 0;) {
    end = at;
    if (text.substr(at).starts_with("####")) return text.substr(at + 4);
    if (lower(text[at]) != 'a' || text.size() - at < kWord.size()) continue;
    if (!std::ranges::equal(text.substr(at, kWord.size()), kWord,
                            [&](char c, char want) { return lower(c) == want; }))
      continue;
    std::string_view behind = text.substr(at + kWord.size());
    if (behind.starts_with('s')) behind.remove_prefix(1);
    // "The answer to the question is": what counts is behind the verb or the colon.
    constexpr size_t kReach = 100;
    const std::string_view near = behind.substr(0, kReach);
    const size_t colon = near.find(':');
    size_t verb = kNowhere;
    for (const std::string_view word : {" is ", " are ", " is:", " is\n", " = "})
      verb = std::min(verb, near.find(word) == kNowhere ? kNowhere : near.find(word) + word.size());
    const size_t begin = std::min(verb, colon == kNowhere ? kNowhere : colon + 1);
    if (begin != kNowhere) return behind.substr(begin);
  }
  end = 0;
  return {};
}

// What an answer phrase names: its first LaTeX, its short sentence, its first number.
std::vector<std::string> named_answers(std::string_view behind) {
  constexpr size_t kReach = 50, kMostWords = 5;
  std::vector<std::string> out;
  const auto add = [&](std::string answer) {
    if (!answer.empty()) out.push_back(std::move(answer));
  };
  add(first_latex(behind, kReach));
  std::string_view rest = without_marks(behind);
  rest = without_marks(sentence(rest));
  const auto words = std::ranges::count(rest, ' ');
  const bool plain = rest.find_first_of("$\\") == kNowhere || rest.starts_with("\\text");
  // "18 dollars", "x = 5", "B": the whole of a short sentence says more than its first number.
  if (plain && words < static_cast<int64_t>(kMostWords)) add(std::string(rest));
  add(first_number(behind, kReach));
  if (plain && rest.starts_with('$')) add(first_number(rest.substr(1), kReach));
  return out;
}

// "I hope the answer is correct" names none.
bool is_verdict(std::string_view text) {
  for (const std::string_view word : {"correct", "right", "wrong", "yes", "verified", "consistent"})
    if (text == word) return true;
  return false;
}

}  // namespace

std::string_view behind_thinking(std::string_view response) {
  constexpr std::string_view kOpen = "<think>", kClose = "</think>";
  const size_t close = response.rfind(kClose);
  if (close != kNowhere) response.remove_prefix(close + kClose.size());
  return response.find(kOpen) == kNowhere ? response : std::string_view();
}

std::vector<std::string> boxed_answers(std::string_view text, bool& any_box) {
  std::vector<Box> boxes;  // the last one first
  MacrosFromEnd macros(text);
  any_box = false;
  while (boxes.size() < kMostJoined) {
    size_t size = 0;
    const size_t begin = macros.take(size);
    if (begin == kNowhere) break;
    any_box = true;
    const Box box = box_at(text, begin, size);
    if (!box.closed) break;
    if (box.inside.empty()) continue;  // says nothing
    if (!boxes.empty()) {
      const Box& later = boxes.back();
      if (box.end > later.begin || !joins(text.substr(box.end, later.begin - box.end))) break;
    }
    boxes.push_back(box);
  }
  std::vector<std::string> out;
  for (size_t i = boxes.size(); i-- > 0;) {
    const std::string_view inside = boxes[i].inside;
    if (out.empty() || inside != out.back()) out.emplace_back(inside);  // else said again
  }
  return out;
}

std::vector<size_t> box_ends(std::string_view text, size_t most) {
  std::vector<size_t> out;
  std::vector<bool> boxes;  // of the open braces: whether it opens a box
  bool opens_box = false;   // a macro was just read
  size_t bare_end = 0;      // of the last box without braces
  for (size_t at = 0; at < text.size() && out.size() < most; ++at) {
    const std::string_view here = text.substr(at);
    if (here.starts_with("\\boxed") || here.starts_with("\\fbox")) {
      const size_t size = here[1] == 'b' ? 6 : 5;
      const size_t inside = text.find_first_not_of(" \t\r\n\v\f", at + size);
      if (inside != kNowhere && text[inside] != '{' && inside >= bare_end) {
        bare_end = std::min(text.find_first_of(kBareEnds, inside), text.size());
        out.push_back(bare_end);
      } else if (inside != kNowhere && text[inside] == '{') {
        opens_box = true;
        at = inside - 1;
        continue;
      }
      at += size - 1;
    } else if (text[at] == '\\') {
      ++at;
    } else if (text[at] == '{') {
      boxes.push_back(opens_box);
    } else if (text[at] == '}' && !boxes.empty()) {
      if (boxes.back()) out.push_back(at + 1);
      boxes.pop_back();
    }
    opens_box = false;
  }
  return out;
}

std::vector<std::string> loose_answers(std::string_view text) {
  constexpr int kMostPhrases = 3;
  std::vector<std::string> out, verdicts;
  size_t end = text.size();
  for (int i = 0; i < kMostPhrases && out.empty(); ++i) {
    const std::string_view behind = behind_phrase(text, end);
    if (behind.empty()) break;
    out = named_answers(behind);
    if (i + 1 < kMostPhrases && out.size() == 1 && is_verdict(out[0]))
      verdicts.push_back(std::exchange(out, {})[0]);
  }
  if (out.empty()) out = std::move(verdicts);
  for (std::string last : {last_latex(text), last_number(text)})
    if (!last.empty()) out.push_back(std::move(last));
  return out;
}

std::string plain_gold(std::string_view gold) {
  bool any_box = false;
  const std::vector<std::string> boxes = boxed_answers(gold, any_box);
  if (!boxes.empty()) return join(boxes);
  if (const size_t hashes = gold.rfind("####"); hashes != kNowhere) gold.remove_prefix(hashes + 4);
  gold = trimmed(gold);
  for (const auto& [open, close] :
       {std::pair{"$$", "$$"}, {"$", "$"}, {"\\(", "\\)"}, {"\\[", "\\]"}}) {
    const std::string_view left(open), right(close);
    if (gold.size() <= left.size() + right.size() || !gold.starts_with(left) ||
        !gold.ends_with(right))
      continue;
    const std::string_view inside =
        gold.substr(left.size(), gold.size() - left.size() - right.size());
    if (inside.find(left) == kNowhere) return std::string(trimmed(inside));
  }
  return std::string(gold);
}

}  // namespace vernier::math
