// Parity of bits. Question "01101="; answer 1: whether the ones are odd in number.
//
// No short RASP-L program has it; with a state for each bit (the running parity) it has one.
//
// Kazemnejad et al., arXiv:2305.19466; Zhou et al., arXiv:2310.16028.
#include "core/base/text.h"
#include "rollout/tasks/family.h"

namespace vernier {
namespace {

const FamilyInfo kInfo = {.name = "parity",
                          .area = "mathematics",
                          .unit = "bits",
                          .tiers = {{{2, 15}, {16, 30}, {31, 60}}},
                          .request =
                              "Is the number of ones odd? Answer 1 if it is, else 0. "
                              "{problem}"};

Problem draw(Rng& rng, int64_t length, bool with_states, bool index_hints) {
  Problem out;
  std::string bits;
  for (int64_t i = 0; i < length; ++i) {
    bits += static_cast<char>('0' + rng.next_below(2));
    out.question += index_hints ? cat(static_cast<char>('a' + i % 26), bits.back())
                                : std::string(1, bits.back());
  }
  out.question += "=";
  out.instance = bits + "=";
  int parity = 0;
  for (size_t i = 0; i < bits.size(); ++i) {
    const int bit = bits[i] - '0', next = parity ^ bit;
    if (with_states)
      out.states.push_back({.input = cat(bit),
                            .computation = cat(parity, '+', bit, '=', next),
                            .output = cat(next),
                            .variables = cat(i + 1),
                            .remaining = bits.substr(i + 1)});
    parity = next;
  }
  out.answer = cat(parity);
  return out;
}

const TaskRegistry::Entry entry{
    "parity",
    {"whether the ones among bits are odd in number", "", "bits",
     "arXiv:2305.19466; arXiv:2310.16028"},
    [](Binder& config) {
      bool hints = false;
      config.flag("index_hints", hints, "each bit has a letter before it, a to z and again");
      return family_task(config, kInfo, [hints](Rng& rng, int64_t length, bool with_states) {
        return draw(rng, length, with_states, hints);
      });
    }};

}  // namespace
}  // namespace vernier
