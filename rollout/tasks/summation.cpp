// Sums of digits modulo 10, several operands a state. Question "3+5+8+4="; answer 0.
//
// A state adds `per_state` digits to the running value. Few a state make long chains whose states
// are easy, many make short ones whose states are hard: between them lies the length of highest
// accuracy of Wu et al., N* of `vernier reference lengths`. With `mistake_rate` a state is now and
// then written wrong and then again right ("3+5=9?3+5=8"), which halves N* in their run.
//
// Wu et al., "When More is Less", arXiv:2502.07266 (multi-operator sums); Kazemnejad et al.,
// arXiv:2305.19466 (summation).
#include <algorithm>

#include "core/base/text.h"
#include "rollout/tasks/family.h"

namespace vernier {
namespace {

const FamilyInfo kInfo = {.name = "summation",
                          .area = "mathematics",
                          .unit = "digits",
                          .tiers = {{{2, 8}, {9, 16}, {17, 32}}},
                          .request = "Add these digits modulo 10: {problem}"};

struct Options {
  std::vector<int64_t> per_state = {1};
  double mistake_rate = 0;

  void bind(Binder& config) {
    config.list("per_state", per_state, 1, 32,
                "digits that a state of the chain adds; of several one is drawn for each chain");
    config.number("mistake_rate", mistake_rate, 0.0, 1.0,
                  "states that are written wrong, then right");
    if (per_state.empty()) {
      config.error("per_state", "is empty; one number at least is wanted");
      per_state = {1};
    }
  }
};

std::string joined(const std::vector<int64_t>& digits, size_t begin, size_t end, char between) {
  std::string out;
  for (size_t i = begin; i < end; ++i) {
    if (i > begin) out += between;
    out += cat(digits[i]);
  }
  return out;
}

Problem draw(Rng& rng, int64_t length, bool with_states, const Options& options) {
  std::vector<int64_t> digits(static_cast<size_t>(length));
  for (int64_t& digit : digits) digit = rng.next_below(10);
  Problem out;
  out.question = joined(digits, 0, digits.size(), '+') + "=";
  int64_t sum = 0;
  for (const int64_t digit : digits) sum += digit;
  out.answer = cat(sum % 10);
  if (!with_states) return out;
  const auto stride = static_cast<size_t>(
      options.per_state[static_cast<size_t>(rng.next_below(std::ssize(options.per_state)))]);
  int64_t value = 0;
  for (size_t begin = 0; begin < digits.size(); begin += stride) {
    const size_t end = std::min(begin + stride, digits.size());
    int64_t next = value;
    for (size_t i = begin; i < end; ++i) next += digits[i];
    next %= 10;
    const std::string work = cat(value, '+', joined(digits, begin, end, '+'), '=');
    const bool mistaken = rng.next_uniform() < options.mistake_rate;
    const std::string wrong = mistaken ? cat(work, (next + 1 + rng.next_below(9)) % 10, '?') : "";
    out.states.push_back({.input = joined(digits, begin, end, ','),
                          .computation = cat(wrong, work, next),
                          .output = cat(next),
                          .variables = cat(end),
                          .remaining = joined(digits, end, digits.size(), '+')});
    value = next;
  }
  return out;
}

const TaskRegistry::Entry entry{
    "summation",
    {"sum of digits modulo 10, some operands a state", "", "digits",
     "When More is Less, arXiv:2502.07266; arXiv:2305.19466"},
    [](Binder& config) {
      Options options;
      options.bind(config);
      return family_task(config, kInfo, [options](Rng& rng, int64_t length, bool with_states) {
        return draw(rng, length, with_states, options);
      });
    }};

}  // namespace
}  // namespace vernier
