// Primes in an interval. Question "10..30="; answer 6: how many, ends included.
//
// A state looks at one number: its smallest factor, or that it is prime. The length is the upper
// end; the lower one is at most 60 below, so that a chain has at most 61 states.
//
// TAIL, class enumeration.
#include <algorithm>

#include "core/base/text.h"
#include "rollout/tasks/family.h"

namespace vernier {
namespace {

constexpr int64_t kWidest = 60;

const FamilyInfo kInfo = {.name = "primes",
                          .area = "enumeration",
                          .unit = "upper end",
                          .tiers = {{{5, 100}, {101, 200}, {201, 300}}},
                          .request =
                              "How many primes are there from the first number to the "
                              "second, both included? {problem}"};

// The number itself where it is prime.
int64_t smallest_factor(int64_t number) {
  for (int64_t factor = 2; factor * factor <= number; ++factor)
    if (number % factor == 0) return factor;
  return number;
}

Problem draw(Rng& rng, int64_t length, bool with_states) {
  const int64_t lowest = std::max<int64_t>(2, length - kWidest);
  const int64_t begin = lowest + rng.next_below(length - lowest + 1);
  Problem out;
  out.question = cat(begin, "..", length, '=');
  int64_t count = 0;
  for (int64_t number = begin; number <= length; ++number) {
    const int64_t factor = smallest_factor(number);
    const bool prime = factor == number;
    count += prime ? 1 : 0;
    if (with_states)
      out.states.push_back(
          {.input = cat(number),
           .computation = prime ? cat(number, 'p') : cat(number, '=', factor, '*', number / factor),
           .output = prime ? "1" : "0",
           .variables = cat(count),
           .remaining = cat(length - number)});
  }
  out.answer = cat(count);
  return out;
}

const auto entry = family_entry(kInfo,
                                {"how many primes an interval has", "", "upper end",
                                 "TAIL (Turing machine imitation), class enumeration"},
                                draw);

}  // namespace
}  // namespace vernier
