// How often a letter stands in a word. Question "banana:a="; answer 3.
//
// A state looks at one letter. TAIL's words have 2 to 20 letters; the letters are drawn from five,
// so that the one asked for comes again.
//
// TAIL, class enumeration.
#include "core/base/text.h"
#include "rollout/tasks/family.h"

namespace vernier {
namespace {

constexpr int64_t kAlphabet = 26, kInWord = 5;

const FamilyInfo kInfo = {.name = "count_letters",
                          .area = "enumeration",
                          .unit = "letters",
                          .tiers = {{{2, 6}, {7, 10}, {11, 20}}},
                          .request =
                              "How often does the letter behind the colon stand in the "
                              "word before it? {problem}"};

Problem draw(Rng& rng, int64_t length, bool with_states) {
  std::string letters, word;
  for (int64_t i = 0; i < kInWord; ++i)
    letters += static_cast<char>('a' + rng.next_below(kAlphabet));
  for (int64_t i = 0; i < length; ++i)
    word += letters[static_cast<size_t>(rng.next_below(kInWord))];
  const char wanted = letters[static_cast<size_t>(rng.next_below(kInWord))];
  Problem out;
  out.question = cat(word, ':', wanted, '=');
  int64_t count = 0;
  for (size_t i = 0; i < word.size(); ++i) {
    const bool found = word[i] == wanted;
    count += found ? 1 : 0;
    if (with_states)
      out.states.push_back({.input = std::string(1, word[i]),
                            .computation = cat(word[i], found ? "=" : "!=", wanted),
                            .output = found ? "1" : "0",
                            .variables = cat(count),
                            .remaining = word.substr(i + 1)});
  }
  out.answer = cat(count);
  return out;
}

const auto entry = family_entry(kInfo,
                                {"how often a letter stands in a word", "", "letters of the word",
                                 "TAIL (Turing machine imitation), class enumeration"},
                                draw);

}  // namespace
}  // namespace vernier
