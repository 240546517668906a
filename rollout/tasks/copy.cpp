// Copying a word, and writing it backwards. Question "abca="; answer abca, or acba.
//
// With `distinct` no letter comes twice: then a short RASP-L program copies words of any length,
// which it does not otherwise. With `index_hints` each letter has its place before it, in question
// and answer ("1a2b="): Zhou et al. fix length generalisation with it.
//
// Kazemnejad et al., arXiv:2305.19466 (primitive tasks); Zhou et al., "What Algorithms can
// Transformers Learn?", arXiv:2310.16028 (copy, distinct, hints).
#include <algorithm>
#include <numeric>

#include "core/base/text.h"
#include "rollout/tasks/family.h"

namespace vernier {
namespace {

constexpr int64_t kLetters = 26;

struct Options {
  bool distinct = false, index_hints = false;

  void bind(Binder& config) {
    config.flag("distinct", distinct, "no letter comes twice; words of at most 26 letters");
    config.flag("index_hints", index_hints, "each letter has its place before it");
  }
};

// No letter twice.
std::string draw_distinct(Rng& rng, int64_t length) {
  std::string letters(kLetters, ' ');
  std::iota(letters.begin(), letters.end(), 'a');
  const auto size = static_cast<size_t>(length);
  for (size_t i = 0; i < size; ++i) {
    const auto other = i + static_cast<size_t>(rng.next_below(kLetters - static_cast<int64_t>(i)));
    std::swap(letters[i], letters[other]);
  }
  return letters.substr(0, size);
}

// "1a2b", or the word as it is.
std::string hinted(const std::string& word, bool hints) {
  if (!hints) return word;
  std::string out;
  for (size_t i = 0; i < word.size(); ++i) out += cat(i + 1, word[i]);
  return out;
}

Problem draw(Rng& rng, int64_t length, bool with_states, bool backwards, const Options& options) {
  const std::string word = options.distinct ? draw_distinct(rng, length) : draw_word(rng, length);
  std::string result = word;
  if (backwards) std::reverse(result.begin(), result.end());
  Problem out;
  out.question = hinted(word, options.index_hints) + "=";
  out.instance = word + "=";
  out.answer = hinted(result, options.index_hints);
  if (with_states)
    for (size_t i = 0; i < word.size(); ++i) {
      const size_t place = backwards ? word.size() - 1 - i : i;
      out.states.push_back(
          {.input = cat(place + 1),
           .computation = "",
           .output = std::string(1, word[place]),
           .variables = "",
           .remaining = backwards ? word.substr(0, place) : word.substr(place + 1)});
    }
  return out;
}

std::unique_ptr<Task> make(Binder& config, const std::string& name, bool backwards) {
  Options options;
  options.bind(config);
  const FamilyInfo info = {
      .name = name,
      .area = "primitive",
      .unit = "letters",
      .tiers = {{{2, 8}, {9, 16}, {17, 26}}},
      .longest = options.distinct ? kLetters : kLongestInstance,
      .request = backwards ? "Write this word backwards: {problem}" : "Copy this word: {problem}"};
  return family_task(config, info,
                     [options, backwards](Rng& rng, int64_t length, bool with_states) {
                       return draw(rng, length, with_states, backwards, options);
                     });
}

const TaskRegistry::Entry copy{
    "copy",
    {"a word again", "", "letters", "arXiv:2305.19466 (copy); arXiv:2310.16028 (distinct, hints)"},
    [](Binder& config) { return make(config, "copy", false); }};
const TaskRegistry::Entry reverse{"reverse",
                                  {"a word backwards", "", "letters", "arXiv:2305.19466 (reverse)"},
                                  [](Binder& config) { return make(config, "reverse", true); }};

}  // namespace
}  // namespace vernier
