// Counting from one number to another, and the most frequent letter.
//
//   count   question "3,7=", answer 3,4,5,6,7
//   mode    question "abacab=", answer a; one letter comes more often than any other
//
// Both have short RASP-L programs, and generalise in length.
//
// Zhou et al., "What Algorithms can Transformers Learn?", arXiv:2310.16028.
#include <algorithm>
#include <array>

#include "core/base/text.h"
#include "rollout/tasks/family.h"

namespace vernier {
namespace {

constexpr int64_t kLargestStart = 200, kModeLetters = 6;

const FamilyInfo kCount = {.name = "count",
                           .area = "rasp",
                           .unit = "numbers",
                           .tiers = {{{2, 15}, {16, 30}, {31, 60}}},
                           .request = "Count from the first number to the second: {problem}"};
const FamilyInfo kMode = {.name = "mode",
                          .area = "rasp",
                          .unit = "letters",
                          .tiers = {{{3, 15}, {16, 30}, {31, 60}}},
                          .request = "Which letter comes most often? {problem}"};

Problem draw_count(Rng& rng, int64_t length, bool with_states) {
  const int64_t first = rng.next_below(kLargestStart);
  Problem out;
  out.question = cat(first, ',', first + length - 1, '=');
  for (int64_t i = 0; i < length; ++i) {
    out.answer += cat(i > 0 ? "," : "", first + i);
    if (with_states)
      out.states.push_back({.input = cat(first + length - 1),
                            .computation = i == 0 ? "" : cat(first + i - 1, "+1=", first + i),
                            .output = cat(first + i),
                            .variables = "",
                            .remaining = cat(length - 1 - i)});
  }
  return out;
}

using Counts = std::array<int64_t, kModeLetters>;

std::string counts_text(const Counts& counts) {
  std::string out;
  for (size_t i = 0; i < counts.size(); ++i)
    if (counts[i] > 0) out += cat(out.empty() ? "" : ",", static_cast<char>('a' + i), counts[i]);
  return out;
}

Problem draw_mode(Rng& rng, int64_t length, bool with_states) {
  std::string word;
  Counts counts;
  const auto highest = [&] { return *std::max_element(counts.begin(), counts.end()); };
  do {  // until one letter is ahead of the others
    word.clear();
    counts = {};
    for (int64_t i = 0; i < length; ++i) {
      const int64_t letter = rng.next_below(kModeLetters);
      word += static_cast<char>('a' + letter);
      ++counts[static_cast<size_t>(letter)];
    }
  } while (std::count(counts.begin(), counts.end(), highest()) > 1);
  Problem out;
  out.question = word + "=";
  out.answer =
      static_cast<char>('a' + (std::max_element(counts.begin(), counts.end()) - counts.begin()));
  if (!with_states) return out;
  counts = {};
  for (size_t i = 0; i < word.size(); ++i) {
    const int64_t now = ++counts[static_cast<size_t>(word[i] - 'a')];
    out.states.push_back({.input = std::string(1, word[i]),
                          .computation = cat(now - 1, "+1=", now),
                          .output = cat(word[i], now),
                          .variables = counts_text(counts),
                          .remaining = word.substr(i + 1)});
  }
  return out;
}

const auto count = family_entry(
    kCount, {"the numbers from one to another", "", "numbers", "arXiv:2310.16028"}, draw_count);
const auto mode = family_entry(
    kMode, {"the most frequent letter of a word", "", "letters", "arXiv:2310.16028"}, draw_mode);

}  // namespace
}  // namespace vernier
