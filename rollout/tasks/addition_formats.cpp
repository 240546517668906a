// Sums in the four formats of Teaching Arithmetic: one task, four lengths of response.
//
//   format     prompt                        response to 128+367
//   plain      128+367=                      495
//   reverse    $128+367=                     594$
//   simple     Input:\n128+367\nTarget:\n    A->5 , C->1\nA->9 , C->0\nA->4 , C->0.\n495
//   detailed   as simple                     <scratch>\n ... </scratch>\n4 9 5
//
// A response is right when its last line is that of the format. C is the carry out of the digit;
// the repository's code for `simple` overwrites it by mistake with random values from the second
// line on, its data files do not have the mistake.
//
// Sums are balanced: of numbers of n digits, each number of carries from 0 to n comes as often as
// the others.
//
// Lee et al., "Teaching Arithmetic to Small Transformers", arXiv:2307.03381;
// lee-ny/teaching_arithmetic (main_utils.py, data/ar_simple). Balance by construction, where the
// repository draws until each class is full, is ours.
#include <algorithm>

#include "core/base/text.h"
#include "rollout/tasks/family.h"

namespace vernier {
namespace {

const FamilyInfo kInfo = {.name = "addition_formats",
                          .area = "mathematics",
                          .unit = "digits",
                          .tiers = {{{1, 3}, {4, 6}, {7, 10}}},
                          .request = "{problem}",
                          .verify = "last_line",
                          .end = ";",
                          .has_format = true};

struct Sum {
  std::string a, b, total;
  std::vector<int> carries;  // out of each place, the last place of the numbers first
};

// Digits place by place, the last one first, so that exactly the places of `carrying` have a carry.
Sum draw_sum(Rng& rng, int64_t length) {
  std::vector<bool> carrying(static_cast<size_t>(length));
  int64_t left = rng.next_below(length + 1);
  for (size_t i = 0; i < carrying.size(); ++i) {
    const auto places = static_cast<int64_t>(carrying.size() - i);
    carrying[i] = rng.next_below(places) < left;
    if (carrying[i]) --left;
  }
  Sum out;
  int carry = 0;
  for (size_t i = 0; i < carrying.size(); ++i) {
    // No number of several digits begins with 0.
    const int64_t least = i + 1 == carrying.size() && length > 1 ? 1 : 0;
    int x = 0, y = 0;
    do {
      x = static_cast<int>(least + rng.next_below(10 - least));
      y = static_cast<int>(least + rng.next_below(10 - least));
    } while ((x + y + carry >= 10) != carrying[i]);
    out.total.insert(out.total.begin(), static_cast<char>('0' + (x + y + carry) % 10));
    carry = carrying[i] ? 1 : 0;
    out.a.insert(out.a.begin(), static_cast<char>('0' + x));
    out.b.insert(out.b.begin(), static_cast<char>('0' + y));
    out.carries.push_back(carry);
  }
  if (carry > 0) out.total.insert(out.total.begin(), '1');
  return out;
}

std::string spaced(const std::string& digits, char between) {
  std::string out;
  for (size_t i = 0; i < digits.size(); ++i)
    out += cat(i > 0 ? std::string(1, between) : "", digits[i]);
  return out;
}

std::string listed(const std::string& digits) { return cat('[', spaced(digits, ','), ']'); }

std::string simple(const Sum& sum) {
  std::string out;
  for (size_t i = 0; i < sum.carries.size(); ++i) {
    const char digit = sum.total[sum.total.size() - 1 - i];
    out += cat("A->", digit, " , C->", sum.carries[i], i + 1 < sum.carries.size() ? "\n" : ".\n");
  }
  return out + sum.total;
}

std::string detailed(const Sum& sum) {
  std::string out = "<scratch>\n";
  for (const std::string& number : {sum.a, sum.b})
    out += cat(listed(number), " has ", number.size(), " digits.\n");
  std::string known;  // digits of the sum so far
  int carry = 0;
  for (size_t i = 0; i < sum.carries.size(); ++i) {
    const size_t size = sum.a.size() - i;
    const int x = sum.a[size - 1] - '0', y = sum.b[size - 1] - '0', value = x + y + carry;
    out += cat(listed(sum.a.substr(0, size)), " + ", listed(sum.b.substr(0, size)),
               " , A=", listed(known), " , C=", carry, " , ", x, '+', y, '+', carry, '=', value,
               " , A->", value % 10, " , C->", sum.carries[i], '\n');
    known.insert(known.begin(), static_cast<char>('0' + value % 10));
    carry = sum.carries[i];
  }
  return out + cat("[] + [] , A=", listed(known), " C=", carry, " , END\n</scratch>\n",
                   spaced(sum.total, ' '));
}

Problem draw(Rng& rng, int64_t length, bool with_states, const std::string& format) {
  const Sum sum = draw_sum(rng, length);
  Problem out;
  const std::string asked = cat(sum.a, '+', sum.b);
  out.instance = asked + "=";  // as the plain format asks
  if (format == "plain" || format == "reverse") {
    out.question = cat(format == "reverse" ? "$" : "", asked, '=');
    out.answer = sum.total;
    if (format == "reverse") {
      std::reverse(out.answer.begin(), out.answer.end());
      out.answer += '$';
    }
    out.response = out.answer;
    return out;
  }
  out.question = cat("Input:\n", asked, "\nTarget:\n");
  out.answer = format == "simple" ? sum.total : spaced(sum.total, ' ');
  if (with_states) out.response = format == "simple" ? simple(sum) : detailed(sum);
  return out;
}

const TaskRegistry::Entry entry{
    "addition_formats",
    {"sums as in Teaching Arithmetic: plain, reversed, with a short or a long scratchpad", "",
     "digits of each number", "arXiv:2307.03381; lee-ny/teaching_arithmetic"},
    [](Binder& config) {
      std::string format = "plain";
      config.choice("format", format, {"plain", "reverse", "simple", "detailed"},
                    "how a sum is asked and answered");
      return family_task(config, kInfo, [format](Rng& rng, int64_t length, bool with_states) {
        return draw(rng, length, with_states, format);
      });
    }};

}  // namespace
}  // namespace vernier
