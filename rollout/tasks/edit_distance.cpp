// Edit distance of two words: insertions, deletions and changes of a letter. Question "abcd,bcc=";
// answer 2.
//
// A state is one cell of the table, row by row: the cells above, to the left and on the diagonal,
// the two letters, and the least of what follows from them.
//
// TAIL, class dynamic programming.
#include <algorithm>
#include <numeric>

#include "core/base/text.h"
#include "rollout/tasks/family.h"

namespace vernier {
namespace {

constexpr int64_t kAlphabet = 6;

const FamilyInfo kInfo = {.name = "edit_distance",
                          .area = "dynamic programming",
                          .unit = "letters",
                          .tiers = {{{2, 4}, {5, 7}, {8, 9}}},
                          .request =
                              "How many letters have to be put in, taken out or changed to "
                              "make one word of the other? {problem}"};

Problem draw(Rng& rng, int64_t length, bool with_states) {
  const std::string a = draw_word(rng, length, kAlphabet);
  const std::string b = draw_word(rng, std::max<int64_t>(2, length - rng.next_below(3)), kAlphabet);
  Problem out;
  out.question = cat(a, ',', b, '=');
  std::vector<int64_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), int64_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    const std::vector<int64_t> above = row;
    row[0] = static_cast<int64_t>(i) + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const int64_t change = a[i] == b[j] ? 0 : 1;
      row[j + 1] = std::min({above[j + 1] + 1, row[j] + 1, above[j] + change});
      if (with_states)
        out.states.push_back({.input = cat(a[i], ',', b[j]),
                              .computation = cat("min(", above[j + 1], "+1,", row[j], "+1,",
                                                 above[j], '+', change, ")=", row[j + 1]),
                              .output = cat(row[j + 1]),
                              .variables = cat(i + 1, ',', j + 1),
                              .remaining = ""});
    }
  }
  out.answer = cat(row.back());
  return out;
}

const auto entry = family_entry(kInfo,
                                {"the edit distance of two words", "", "letters of the longer word",
                                 "TAIL (Turing machine imitation), class dynamic programming"},
                                draw);

}  // namespace
}  // namespace vernier
