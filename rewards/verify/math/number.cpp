#include "rewards/verify/math/number.h"

#include "rewards/verify/scan.h"

namespace vernier::math {

size_t bits(const Integer& value) { return value == 0 ? 0 : msb(abs(value)) + 1; }

size_t bits(const Rational& value) {
  return std::max(bits(Integer(numerator(value))), bits(Integer(denominator(value))));
}

std::optional<int64_t> small_integer(const Rational& value, int64_t most) {
  if (!is_integer(value) || abs(numerator(value)) > most) return std::nullopt;
  return static_cast<int64_t>(numerator(value));
}

std::optional<Rational> read_number(std::string_view text) {
  constexpr int64_t kMostDigits = 3000;  // of an exponent's value: about the 10^4 bits of a power
  uint64_t chunk = 0, scale = 1;
  Integer digits = 0;
  int64_t after_point = 0, exponent = 0;
  bool point = false;
  size_t at = 0;
  for (; at < text.size() && text[at] != 'e' && text[at] != 'E'; ++at) {
    if (text[at] == '.') point = true;
    if (!is_digit(text[at])) continue;
    chunk = chunk * 10 + static_cast<uint64_t>(text[at] - '0');
    scale *= 10;
    if (point) ++after_point;
    if (scale < 1'000'000'000'000'000'000) continue;
    digits = digits * scale + chunk;
    chunk = 0;
    scale = 1;
  }
  digits = digits == 0 ? Integer(chunk) : Integer(digits * scale + chunk);
  if (at < text.size()) {
    const bool negative = at + 1 < text.size() && text[at + 1] == '-';
    for (++at; at < text.size(); ++at)
      if (is_digit(text[at]) && exponent <= kMostDigits)
        exponent = exponent * 10 + (text[at] - '0');
    if (exponent > kMostDigits) return std::nullopt;
    if (negative) exponent = -exponent;
  }
  exponent -= after_point;
  if (exponent == 0) return Rational(digits);
  const Integer ten = 10;
  const Integer factor = pow(ten, static_cast<unsigned>(exponent < 0 ? -exponent : exponent));
  return exponent < 0 ? Rational(digits, factor) : Rational(Integer(digits * factor));
}

std::optional<Rational> power(const Rational& base, int64_t exponent) {
  if (base == 0 && exponent < 0) return std::nullopt;
  if (exponent == 0 || base == 1) return Rational(1);
  if (base == 0) return Rational(0);
  const uint64_t size = static_cast<uint64_t>(exponent < 0 ? -exponent : exponent);
  if (base == -1) return Rational(size % 2 == 0 ? 1 : -1);
  // Of b bits, a power n has at least (b - 1) n: past this test it is at most twice the limit.
  if (size > kMaxBits || (bits(base) - 1) * size > kMaxBits) return std::nullopt;
  const auto raised = static_cast<unsigned>(size);
  const Integer above = pow(Integer(numerator(base)), raised);
  const Integer below = pow(Integer(denominator(base)), raised);
  if (bits(above) > kMaxBits || bits(below) > kMaxBits) return std::nullopt;
  return exponent < 0 ? Rational(below, above) : Rational(above, below);
}

std::optional<Rational> exact_root(const Rational& value) {
  if (value < 0) return std::nullopt;
  const Integer above = sqrt(Integer(numerator(value)));
  if (above * above != numerator(value)) return std::nullopt;
  const Integer below = sqrt(Integer(denominator(value)));
  if (below * below != denominator(value)) return std::nullopt;
  return Rational(above, below);
}

Integer floor_of(const Rational& value) {
  const Integer above = numerator(value), below = denominator(value);
  Integer quotient = above / below;  // towards zero
  if (above < 0 && quotient * below != above) quotient -= 1;
  return quotient;
}

Integer micro(const Rational& value) {
  const Rational scaled = abs(value) * Rational(1'000'000) + Rational(1, 2);
  const Integer rounded = floor_of(scaled);
  return value < 0 ? Integer(-rounded) : rounded;
}

}  // namespace vernier::math
