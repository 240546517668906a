// PCFG SET: functions of strings, nested. Question "swap repeat ab , cd=": functions before their
// arguments; answer.
//
// Unary functions: copy, reverse, shift (the first letter goes to the end), swap (first and last
// change places), repeat (twice), echo (the last letter again). Binary ones, with a comma between
// their arguments: append (a b), prepend (b a), remove_first (b), remove_second (a). A state
// applies one function, innermost first, left before right. The length counts functions. Each
// repeat doubles a word: of 20,000 draws with 100 functions the longest value had 6,244 letters, of
// 3,000 with 1,000 functions 104,648, and there is no end to that, so 100 are the most.
//
// Kazemnejad et al., arXiv:2305.19466, after Hupkes et al., "Compositionality Decomposed",
// arXiv:1908.08351.
#include <algorithm>
#include <array>

#include "core/base/text.h"
#include "rollout/tasks/family.h"

namespace vernier {
namespace {

constexpr int64_t kLetters = 26;

const FamilyInfo kInfo = {
    .name = "pcfg",
    .area = "compositional",
    .unit = "functions",
    .tiers = {{{1, 3}, {4, 6}, {7, 10}}},
    .longest = 100,
    .request =
        "Apply these functions of words, the innermost first. shift takes the first letter "
        "to the end, swap changes the first and the last, echo says the last letter again; "
        "append joins two words, prepend joins them the other way round. {problem}"};

constexpr std::array kUnary = {"copy", "reverse", "shift", "swap", "repeat", "echo"};
constexpr std::array kBinary = {"append", "prepend", "remove_first", "remove_second"};

std::string applied(const std::string& name, std::string a) {
  if (name == "reverse") std::reverse(a.begin(), a.end());
  if (name == "shift") std::rotate(a.begin(), a.begin() + 1, a.end());
  if (name == "swap") std::swap(a.front(), a.back());
  if (name == "repeat") return a + a;
  if (name == "echo") return a + a.back();
  return a;
}

std::string applied(const std::string& name, const std::string& a, const std::string& b) {
  if (name == "append") return a + b;
  if (name == "prepend") return b + a;
  return name == "remove_first" ? b : a;
}

class Writer {
 public:
  Writer(Rng& rng, std::vector<ChainState>* states) : rng_(rng), states_(states) {}

  // An expression of `count` functions; text() goes on, its value comes back.
  std::string write(int64_t count) {
    if (count == 0) {
      std::string word;
      const int64_t size = 1 + rng_.next_below(3);
      for (int64_t i = 0; i < size; ++i) word += static_cast<char>('a' + rng_.next_below(kLetters));
      text_ += (text_.empty() ? "" : " ") + word;
      return word;
    }
    const auto choice = static_cast<size_t>(rng_.next_below(kUnary.size() + kBinary.size()));
    const std::string name =
        choice < kUnary.size() ? kUnary[choice] : kBinary[choice - kUnary.size()];
    text_ += (text_.empty() ? "" : " ") + name;
    if (choice < kUnary.size()) {
      const std::string a = write(count - 1);
      return note(name, a, applied(name, a));
    }
    const int64_t left = rng_.next_below(count);
    const std::string a = write(left);
    text_ += " ,";
    const std::string b = write(count - 1 - left);
    return note(name, cat(a, ',', b), applied(name, a, b));
  }

  const std::string& text() const { return text_; }

 private:
  std::string note(const std::string& name, const std::string& operands, std::string value) {
    if (states_ != nullptr)
      states_->push_back({.input = operands,
                          .computation = cat(name, '(', operands, ')'),
                          .output = value,
                          .variables = "",
                          .remaining = ""});
    return value;
  }

  Rng& rng_;
  std::vector<ChainState>* states_;
  std::string text_;
};

Problem draw(Rng& rng, int64_t length, bool with_states) {
  Problem out;
  Writer writer(rng, with_states ? &out.states : nullptr);
  out.answer = writer.write(length);
  out.question = writer.text() + "=";
  return out;
}

const auto entry = family_entry(kInfo,
                                {"nested functions of words", "", "functions",
                                 "arXiv:2305.19466, after Hupkes et al., arXiv:1908.08351"},
                                draw);

}  // namespace
}  // namespace vernier
