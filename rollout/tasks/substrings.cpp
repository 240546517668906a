// All substrings of a word. Question "abc="; answer a,ab,abc,b,bc,c: by where they begin, then by
// length.
//
// A state makes one of the one before: a letter more, or the next letter alone. The answer has
// n (n + 1) (n + 2) / 6 letters, 1.4 million for the longest word that there may be.
//
// TAIL, class recursion.
#include "core/base/text.h"
#include "rollout/tasks/family.h"

namespace vernier {
namespace {

const FamilyInfo kInfo = {.name = "substrings",
                          .area = "recursion",
                          .unit = "letters",
                          .tiers = {{{3, 5}, {6, 9}, {10, 14}}},
                          .longest = 200,
                          .request =
                              "List all substrings, by where they begin, then by length, "
                              "with commas between them: {problem}"};

Problem draw(Rng& rng, int64_t length, bool with_states) {
  const std::string word = draw_word(rng, length);
  Problem out;
  out.question = word + "=";
  for (size_t begin = 0; begin < word.size(); ++begin)
    for (size_t size = 1; begin + size <= word.size(); ++size) {
      const std::string part = word.substr(begin, size);
      out.answer += cat(out.answer.empty() ? "" : ",", part);
      if (!with_states) continue;
      const std::string before = word.substr(begin, size - 1);
      out.states.push_back({.input = cat(before, ',', part.back()),
                            .computation = cat(before, '+', part.back()),
                            .output = part,
                            .variables = cat(begin + 1),
                            .remaining = word.substr(begin + size)});
    }
  return out;
}

const auto entry = family_entry(kInfo,
                                {"all substrings of a word", "", "letters of the word",
                                 "TAIL (Turing machine imitation), class recursion"},
                                draw);

}  // namespace
}  // namespace vernier
