// The largest sum from the top of a triangle of digits to its foot. Question "3/12/405="; answer
// 10: each step goes down to the left or to the right (3, 2, 5).
//
// A state is one place, from the second lowest row up: its digit and the two sums below it.
//
// Wu et al., "When More is Less", arXiv:2502.07266 (maximum path sum).
#include <algorithm>

#include "core/base/text.h"
#include "rollout/tasks/family.h"

namespace vernier {
namespace {

const FamilyInfo kInfo = {.name = "max_path",
                          .area = "dynamic programming",
                          .unit = "rows",
                          .tiers = {{{3, 4}, {5, 6}, {7, 9}}},
                          .request =
                              "These are the rows of a triangle of digits. From the top, "
                              "each step goes down to the left or to the right. What is "
                              "the largest sum of a way down? {problem}"};

Problem draw(Rng& rng, int64_t length, bool with_states) {
  std::vector<std::vector<int64_t>> rows;
  Problem out;
  for (int64_t i = 1; i <= length; ++i) {
    std::vector<int64_t>& row = rows.emplace_back(static_cast<size_t>(i));
    if (i > 1) out.question += '/';
    for (int64_t& digit : row) {
      digit = rng.next_below(10);
      out.question += cat(digit);
    }
  }
  out.question += '=';
  std::vector<int64_t> below = rows.back();
  for (size_t i = rows.size() - 1; i-- > 0;) {
    for (size_t j = 0; j < rows[i].size(); ++j) {
      const int64_t digit = rows[i][j], left = below[j], right = below[j + 1];
      const int64_t best = digit + std::max(left, right);
      if (with_states)
        out.states.push_back({.input = cat(digit, ',', left, ',', right),
                              .computation = cat(digit, "+max(", left, ',', right, ")=", best),
                              .output = cat(best),
                              .variables = cat(i + 1, ',', j + 1),
                              .remaining = ""});
      below[j] = best;
    }
    below.resize(rows[i].size());
  }
  out.answer = cat(below.front());
  return out;
}

const auto entry = family_entry(kInfo,
                                {"the largest sum of a way down a triangle of digits", "", "rows",
                                 "When More is Less, arXiv:2502.07266"},
                                draw);

}  // namespace
}  // namespace vernier
