// Values along a chain of equations, as in LEGO. Question "b=-a,a=+1,c=+b:c="; answer -1.
//
// Equations come in any order. A state resolves one of them, along the chain.
//
// Kazemnejad et al., arXiv:2305.19466 (LEGO), after Zhang et al., "Unveiling Transformers with
// LEGO", arXiv:2206.04301.
#include <algorithm>

#include "core/base/text.h"
#include "rollout/tasks/family.h"

namespace vernier {
namespace {

constexpr int64_t kLetters = 26;

const FamilyInfo kInfo = {.name = "lego",
                          .area = "mathematics",
                          .unit = "equations",
                          .tiers = {{{2, 6}, {7, 12}, {13, 26}}},
                          .longest = kLetters,
                          .request =
                              "Each letter is +1 or -1. What is the one behind the colon? "
                              "{problem}"};

template <class Items>
void shuffle(Rng& rng, Items& items) {
  for (size_t i = 0; i + 1 < items.size(); ++i)
    std::swap(
        items[i],
        items[i + static_cast<size_t>(rng.next_below(static_cast<int64_t>(items.size() - i)))]);
}

Problem draw(Rng& rng, int64_t length, bool with_states) {
  std::string letters;
  for (int64_t i = 0; i < kLetters; ++i) letters += static_cast<char>('a' + i);
  shuffle(rng, letters);
  const auto size = static_cast<size_t>(length);
  std::vector<bool> negative(size);
  std::vector<std::string> equations;
  for (size_t i = 0; i < size; ++i) {
    negative[i] = rng.next_below(2) == 1;
    equations.push_back(cat(letters[i], '=', negative[i] ? '-' : '+',
                            i == 0 ? std::string("1") : std::string(1, letters[i - 1])));
  }
  const auto target = static_cast<size_t>(rng.next_below(static_cast<int64_t>(size)));
  Problem out;
  std::vector<std::string> shown(equations);
  shuffle(rng, shown);
  out.question = cat(join(shown, ","), ':', letters[target], '=');
  bool value = false;  // whether it is -1
  for (size_t i = 0; i <= target; ++i) {
    value = value != negative[i];
    if (with_states)
      out.states.push_back({.input = equations[i],
                            .computation = "",
                            .output = cat(letters[i], value ? "-1" : "+1"),
                            .variables = "",
                            .remaining = cat(target - i)});
  }
  out.answer = value ? "-1" : "+1";
  return out;
}

const auto entry = family_entry(kInfo,
                                {"a sign along a chain of equations in any order", "", "equations",
                                 "arXiv:2305.19466, after arXiv:2206.04301"},
                                draw);

}  // namespace
}  // namespace vernier
