// Which of two numbers is larger. Question "12.45?12.54="; answer <, > or =.
//
// Both have as many digits, and begin alike for a while; a point may stand in either. States: the
// digits before the point are counted; where they are as many, one pair of digits after another is
// compared, until one differs.
//
// TAIL, class simulation.
#include <algorithm>

#include "core/base/text.h"
#include "rollout/tasks/family.h"

namespace vernier {
namespace {

const FamilyInfo kInfo = {.name = "compare_numbers",
                          .area = "simulation",
                          .unit = "digits",
                          .tiers = {{{5, 10}, {11, 20}, {21, 50}}},
                          .request =
                              "Which sign belongs in place of the question mark, "
                              "<, > or =? {problem}"};

char sign(int64_t a, int64_t b) { return a < b ? '<' : a > b ? '>' : '='; }

std::string with_point(const std::string& digits, size_t whole) {
  return whole == digits.size() ? digits : cat(digits.substr(0, whole), '.', digits.substr(whole));
}

Problem draw(Rng& rng, int64_t length, bool with_states) {
  const std::string a = draw_digits(rng, length);
  std::string b = a;
  // From some place on the second is drawn anew; now and then both are the same.
  const int64_t same = rng.next_below(length + 1);
  for (int64_t i = same; i < length; ++i)
    b[static_cast<size_t>(i)] =
        static_cast<char>('0' + (i == 0 ? 1 + rng.next_below(9) : rng.next_below(10)));
  const size_t whole_a = static_cast<size_t>(1 + rng.next_below(length));
  const size_t whole_b =
      rng.next_below(4) == 0 ? static_cast<size_t>(1 + rng.next_below(length)) : whole_a;
  Problem out;
  out.question = cat(with_point(a, whole_a), '?', with_point(b, whole_b), '=');
  char result = sign(static_cast<int64_t>(whole_a), static_cast<int64_t>(whole_b));
  if (with_states)
    out.states.push_back({.input = "",
                          .computation = cat(whole_a, result, whole_b),
                          .output = std::string(1, result),
                          .variables = "",
                          .remaining = ""});
  for (size_t i = 0; i < a.size() && result == '='; ++i) {
    result = sign(a[i], b[i]);
    if (with_states)
      out.states.push_back({.input = cat(a[i], ',', b[i]),
                            .computation = cat(a[i], result, b[i]),
                            .output = std::string(1, result),
                            .variables = "",
                            .remaining = a.substr(i + 1)});
  }
  out.answer = std::string(1, result);
  return out;
}

const auto entry = family_entry(kInfo,
                                {"which of two numbers is larger", "", "digits of each number",
                                 "TAIL (Turing machine imitation), class simulation"},
                                draw);

}  // namespace
}  // namespace vernier
