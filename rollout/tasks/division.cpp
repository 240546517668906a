// Long division. Question "1234/7="; answer 176r2, quotient and remainder.
//
// The divisor has one digit, or two. A state takes down one digit of the dividend: remainder and
// digit, their quotient, the digit written, the new remainder.
//
// TAIL, class simulation.
#include "core/base/text.h"
#include "rollout/tasks/family.h"

namespace vernier {
namespace {

const FamilyInfo kInfo = {.name = "division",
                          .area = "simulation",
                          .unit = "digits",
                          .tiers = {{{2, 5}, {6, 10}, {11, 20}}},
                          .request = "Divide, with remainder (quotient r remainder): {problem}"};

Problem draw(Rng& rng, int64_t length, bool with_states) {
  const std::string dividend = draw_digits(rng, length);
  const int64_t divisor = 2 + rng.next_below(98);
  Problem out;
  out.question = cat(dividend, '/', divisor, '=');
  std::string quotient;
  int64_t rest = 0;
  for (size_t i = 0; i < dividend.size(); ++i) {
    const int64_t digit = dividend[i] - '0', value = 10 * rest + digit, times = value / divisor;
    if (with_states)
      out.states.push_back({.input = cat(rest, ',', digit),
                            .computation = cat(value, '/', divisor, '=', times),
                            .output = cat(times),
                            .variables = cat(value % divisor),
                            .remaining = dividend.substr(i + 1)});
    if (!quotient.empty() || times > 0) quotient += cat(times);
    rest = value % divisor;
  }
  out.answer = cat(quotient.empty() ? "0" : quotient, 'r', rest);
  return out;
}

const auto entry =
    family_entry(kInfo,
                 {"quotient and remainder of a number of up to 20 digits", "",
                  "digits of the dividend", "TAIL (Turing machine imitation), class simulation"},
                 draw);

}  // namespace
}  // namespace vernier
