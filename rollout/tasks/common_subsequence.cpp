// Longest common subsequence. Question "abcb,bdab="; answer 3: its length.
//
// A state is one cell of the table, row by row: the cells above, to the left and on the diagonal,
// the two letters, and what follows.
//
// TAIL, class dynamic programming.
#include <algorithm>

#include "core/base/text.h"
#include "rollout/tasks/family.h"

namespace vernier {
namespace {

constexpr int64_t kAlphabet = 4;  // few, so that words have something in common

const FamilyInfo kInfo = {.name = "common_subsequence",
                          .area = "dynamic programming",
                          .unit = "letters",
                          .tiers = {{{2, 6}, {7, 9}, {10, 12}}},
                          .request =
                              "How long is the longest common subsequence of these two "
                              "words? {problem}"};

Problem draw(Rng& rng, int64_t length, bool with_states) {
  const std::string a = draw_word(rng, length, kAlphabet);
  const std::string b = draw_word(rng, std::max<int64_t>(2, length - rng.next_below(3)), kAlphabet);
  Problem out;
  out.question = cat(a, ',', b, '=');
  std::vector<int64_t> row(b.size() + 1);
  for (size_t i = 0; i < a.size(); ++i) {
    const std::vector<int64_t> above = row;
    for (size_t j = 0; j < b.size(); ++j) {
      const bool same = a[i] == b[j];
      row[j + 1] = same ? above[j] + 1 : std::max(above[j + 1], row[j]);
      if (with_states)
        out.states.push_back(
            {.input = cat(a[i], ',', b[j], ',', above[j + 1], ',', row[j], ',', above[j]),
             .computation = same ? cat(above[j], "+1=", row[j + 1])
                                 : cat("max(", above[j + 1], ',', row[j], ")=", row[j + 1]),
             .output = cat(row[j + 1]),
             .variables = cat(i + 1, ',', j + 1),
             .remaining = ""});
    }
  }
  out.answer = cat(row.back());
  return out;
}

const auto entry = family_entry(
    kInfo,
    {"the length of the longest common subsequence of two words", "", "letters of the longer word",
     "TAIL (Turing machine imitation), class dynamic programming"},
    draw);

}  // namespace
}  // namespace vernier
