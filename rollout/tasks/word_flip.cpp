// A word backwards. Question "abcde="; answer edcba.
//
// A state takes the last letter of what is left.
//
// TAIL, class simulation.
#include "core/base/text.h"
#include "rollout/tasks/family.h"

namespace vernier {
namespace {

const FamilyInfo kInfo = {.name = "word_flip",
                          .area = "simulation",
                          .unit = "letters",
                          .tiers = {{{10, 20}, {21, 50}, {51, 100}}},
                          .request = "Write this word backwards: {problem}"};

Problem draw(Rng& rng, int64_t length, bool with_states) {
  const std::string word = draw_word(rng, length);
  Problem out;
  out.question = word + "=";
  out.answer.assign(word.rbegin(), word.rend());
  if (with_states)
    for (size_t i = word.size(); i-- > 0;)
      out.states.push_back({.input = cat(i + 1),
                            .computation = "",
                            .output = std::string(1, word[i]),
                            .variables = "",
                            .remaining = word.substr(0, i)});
  return out;
}

const auto entry = family_entry(kInfo,
                                {"a word of random letters backwards", "", "letters of the word",
                                 "TAIL (Turing machine imitation), class simulation"},
                                draw);

}  // namespace
}  // namespace vernier
