// Addition of two long numbers, digit by digit with a carry. Question "907+85="; answer 992.
//
// A state adds one place, the last one first: digits and carry, the sum, the digit written, the new
// carry. With `decimals` a point stands anywhere in either number ("9.07+8.5=", answer 17.57; as
// many decimals as the longer has).
//
// With `index_hints` both numbers are padded with zeros to one place more than the longer has, each
// digit has a letter of its place before it ("a0b9c0d7+a0b0c8d5="), and so has the answer
// ("a0b9c9d2"); with `reversed` the answer's last digit comes first. Together they give addition a
// short RASP-L program.
//
// TAIL, class simulation; hints: Zhou et al., "What Algorithms can Transformers Learn?",
// arXiv:2310.16028.
#include <algorithm>

#include "core/base/text.h"
#include "rollout/tasks/family.h"

namespace vernier {
namespace {

constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

const FamilyInfo kInfo = {.name = "addition",
                          .area = "simulation",
                          .unit = "digits",
                          .tiers = {{{10, 30}, {31, 40}, {41, 50}}},
                          .request = "Add: {problem}"};

// Digits of a number, and how many of them stand behind the point.
struct Number {
  std::string digits;
  size_t decimals = 0;

  std::string text() const {
    if (decimals == 0) return digits;
    return cat(digits.substr(0, digits.size() - decimals), '.',
               digits.substr(digits.size() - decimals));
  }
  // With `places` decimals and `size` digits in all.
  std::string padded(size_t places, size_t size) const {
    std::string out = digits + std::string(places - decimals, '0');
    return std::string(size - out.size(), '0') + out;
  }
};

Number draw_number(Rng& rng, int64_t num_digits, bool decimals) {
  Number out;
  out.digits = draw_digits(rng, num_digits);
  if (decimals) out.decimals = static_cast<size_t>(rng.next_below(num_digits));
  return out;
}

struct Options {
  bool decimals = false, index_hints = false, reversed = false;

  void bind(Binder& config) {
    config.flag("decimals", decimals, "a point anywhere in the numbers");
    config.flag("index_hints", index_hints,
                "numbers padded with zeros, each digit with a letter of its place, a to z, A to Z; "
                "of at most 51 digits");
    config.flag("reversed", reversed, "the answer's last digit comes first");
    for (const auto& [key, on] :
         {std::pair("index_hints", index_hints), std::pair("reversed", reversed)})
      if (on && decimals) config.error(key, "does not go with decimals");
  }
};

// Each digit behind the letter of its place, the first place of the number being "a".
std::string hinted(const std::string& digits) {
  std::string out;
  for (size_t i = 0; i < digits.size(); ++i) out += cat(kLetters[i], digits[i]);
  return out;
}

// "b2a1" of "a1b2": pairs of letter and digit in reverse, or digits.
std::string backwards(const std::string& text, size_t item) {
  std::string out;
  for (size_t end = text.size(); end > 0; end -= item) out += text.substr(end - item, item);
  return out;
}

Problem draw(Rng& rng, int64_t length, bool with_states, const Options& options) {
  const bool decimals = options.decimals;
  // One of the two has all digits, the other as many or fewer.
  Number a = draw_number(rng, length, decimals);
  Number b = draw_number(rng, 1 + rng.next_below(length), decimals);
  if (rng.next_below(2) == 1) std::swap(a, b);
  Problem out;
  out.question = cat(a.text(), '+', b.text(), '=');
  const size_t places = std::max(a.decimals, b.decimals);
  const size_t size =
      std::max(a.digits.size() + places - a.decimals, b.digits.size() + places - b.decimals) +
      (options.index_hints ? 1 : 0);
  const std::string left = a.padded(places, size), right = b.padded(places, size);
  if (options.index_hints) {
    out.instance = out.question;
    out.question = cat(hinted(left), '+', hinted(right), '=');
  }
  std::string sum;  // reversed
  int carry = 0;
  for (size_t i = size; i-- > 0;) {
    const int x = left[i] - '0', y = right[i] - '0', total = x + y + carry;
    if (with_states)
      out.states.push_back(
          {.input = cat(x, ',', y, ',', carry),
           .computation = cat(x, '+', y, '+', carry, '=', total),
           .output = cat(total % 10),
           .variables = cat(total / 10),
           .remaining = i == 0 ? "" : cat(left.substr(0, i), '+', right.substr(0, i))});
    sum += static_cast<char>('0' + total % 10);
    carry = total / 10;
  }
  if (carry > 0) sum += '1';
  std::reverse(sum.begin(), sum.end());
  out.answer = options.index_hints ? hinted(sum) : Number{sum, places}.text();
  if (options.reversed) out.answer = backwards(out.answer, options.index_hints ? 2 : 1);
  return out;
}

const TaskRegistry::Entry entry{
    "addition",
    {"sum of two numbers of up to 50 digits", "", "digits of the longer number",
     "TAIL (Turing machine imitation), class simulation"},
    [](Binder& config) {
      Options options;
      options.bind(config);
      FamilyInfo info = kInfo;
      info.has_points = options.decimals;
      if (options.index_hints) info.longest = std::ssize(kLetters) - 1;  // a place for the carry
      return family_task(config, info, [options](Rng& rng, int64_t length, bool with_states) {
        return draw(rng, length, with_states, options);
      });
    }};

}  // namespace
}  // namespace vernier
