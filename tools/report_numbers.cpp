#include "tools/report_numbers.h"

#include <cmath>
#include <string_view>

#include "core/base/text.h"

namespace vernier {
namespace {

constexpr std::string_view kNone = "–";

}  // namespace

std::string percent_text(double share) {
  return std::isnan(share) ? std::string(kNone) : fixed(100 * share, 1);
}

std::string whole_text(int64_t value) {
  const std::string digits = cat(value);
  std::string out;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && digits[i - 1] != '-' && (digits.size() - i) % 3 == 0) out += ',';
    out += digits[i];
  }
  return out;
}

std::string tokens_text(double value) {
  if (std::isnan(value)) return std::string(kNone);
  return std::abs(value) < 1000 ? fixed(value, 1) : whole_text(std::llround(value));
}

std::string seconds_text(double value) {
  return std::isnan(value) ? std::string(kNone) : human_seconds(value);
}

}  // namespace vernier
