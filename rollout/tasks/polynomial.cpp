// Value of a polynomial modulo 10. Question "3xx+5x+7,x=4="; answer 5.
//
// A state adds one term: coefficient, power of x, their product and the running value, all modulo
// 10. The length counts terms; powers go from 0 to 3, and come again in long ones.
//
// Kazemnejad et al., arXiv:2305.19466 (polynomial evaluation).
#include "core/base/text.h"
#include "rollout/tasks/family.h"

namespace vernier {
namespace {

const FamilyInfo kInfo = {
    .name = "polynomial",
    .area = "mathematics",
    .unit = "terms",
    .tiers = {{{1, 3}, {4, 6}, {7, 10}}},
    .request = "What is the last digit of this polynomial's value? {problem}"};

Problem draw(Rng& rng, int64_t length, bool with_states) {
  constexpr int64_t kPowers = 4;
  const int64_t x = rng.next_below(10);
  Problem out;
  std::vector<std::pair<int64_t, int64_t>> terms;  // coefficient, power
  for (int64_t i = 0; i < length; ++i) {
    terms.emplace_back(1 + rng.next_below(9), rng.next_below(kPowers));
    out.question += cat(i > 0 ? "+" : "", terms.back().first,
                        std::string(static_cast<size_t>(terms.back().second), 'x'));
  }
  out.question += cat(",x=", x, '=');
  int64_t value = 0;
  for (const auto& [coefficient, power] : terms) {
    int64_t raised = 1;
    for (int64_t i = 0; i < power; ++i) raised = raised * x % 10;
    const int64_t next = (value + coefficient * raised) % 10;
    if (with_states)
      out.states.push_back({.input = cat(coefficient, ',', power, ',', raised),
                            .computation = cat(value, '+', coefficient, '*', raised, '=', next),
                            .output = cat(next),
                            .variables = "",
                            .remaining = ""});
    value = next;
  }
  out.answer = cat(value);
  return out;
}

const auto entry = family_entry(
    kInfo, {"the last digit of a polynomial's value", "", "terms", "arXiv:2305.19466"}, draw);

}  // namespace
}  // namespace vernier
