// Rewriting of strings by a Markov algorithm. Question "ab>c,cb>a:abbab="; answer: what is left
// when no rule fits.
//
// In each step the first rule that fits is applied at its leftmost place. Every rule makes the word
// shorter, so it ends. A state is one step. The length counts the letters of the word.
//
// Only-IF (Zhang et al.), whose probe is string rewriting.
#include <algorithm>

#include "core/base/text.h"
#include "rollout/tasks/family.h"

namespace vernier {
namespace {

constexpr int64_t kLetters = 4, kMostRules = 4;

const FamilyInfo kInfo = {.name = "rewrite",
                          .area = "rewriting",
                          .unit = "letters",
                          .tiers = {{{3, 8}, {9, 16}, {17, 32}}},
                          .request =
                              "These are rules, then a word. Again and again, apply the "
                              "first rule that fits, at its leftmost place, until none "
                              "does. What is left? {problem}"};

Problem draw(Rng& rng, int64_t length, bool with_states) {
  struct Rule {
    std::string from, to;
  };
  std::vector<Rule> rules;
  Problem out;
  const int64_t count = 2 + rng.next_below(kMostRules - 1);
  for (int64_t i = 0; i < count; ++i) {
    Rule& rule = rules.emplace_back();
    rule.from = draw_word(rng, 2, kLetters);
    rule.to = draw_word(rng, 1, kLetters);
    out.question += cat(i > 0 ? "," : "", rule.from, '>', rule.to);
  }
  std::string word = draw_word(rng, length, kLetters);
  out.question += cat(':', word, '=');
  for (bool fits = true; fits;) {
    fits = false;
    for (const Rule& rule : rules) {
      const size_t place = word.find(rule.from);
      if (place == std::string::npos) continue;
      fits = true;
      word.replace(place, rule.from.size(), rule.to);
      if (with_states)
        out.states.push_back({.input = cat(rule.from, '>', rule.to),
                              .computation = cat('@', place + 1),
                              .output = word,
                              .variables = "",
                              .remaining = ""});
      break;
    }
  }
  out.answer = word;
  return out;
}

const auto entry = family_entry(kInfo,
                                {"a word rewritten by rules until none fits", "", "letters",
                                 "Only-IF (its probe; rules are ours)"},
                                draw);

}  // namespace
}  // namespace vernier
