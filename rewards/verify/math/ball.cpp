#include "rewards/verify/math/ball.h"

#include <algorithm>
#include <cmath>

namespace vernier::math {
namespace {

using Real = long double;

constexpr Real kRounding = 1.1e-19L;  // two units of the last of 64 bits

// Radius of what was just computed: the operands' part, and a rounding of its own.
Ball rounded(std::complex<Real> at, Real off) {
  return {at, off + kRounding * (std::abs(at.real()) + std::abs(at.imag()))};
}

Real size(const Ball& a) { return std::abs(a.at); }

}  // namespace

bool Ball::is_finite() const {
  return std::isfinite(at.real()) && std::isfinite(at.imag()) && std::isfinite(off);
}

Ball ball(const Rational& value) {
  // Past the range of long double a quotient of two large numbers may still be a small one.
  const Integer above = numerator(value), below = denominator(value);
  constexpr size_t kMost = 16'000;
  if (bits(above) > kMost || bits(below) > kMost) return {{INFINITY, 0}, INFINITY};
  const Real quotient = above.convert_to<Real>() / below.convert_to<Real>();
  const bool whole = below == 1 && bits(above) <= 64;
  return {{quotient, 0}, whole ? 0 : 2 * kRounding * std::abs(quotient)};
}

Ball ball(Real value) { return rounded({value, 0}, 0); }

Ball operator-(const Ball& a) { return {-a.at, a.off}; }

Ball operator+(const Ball& a, const Ball& b) { return rounded(a.at + b.at, a.off + b.off); }

Ball operator-(const Ball& a, const Ball& b) { return rounded(a.at - b.at, a.off + b.off); }

Ball operator*(const Ball& a, const Ball& b) {
  const Real ar = a.at.real(), ai = a.at.imag(), br = b.at.real(), bi = b.at.imag();
  const Real off = size(a) * b.off + size(b) * a.off + a.off * b.off;
  if (ai == 0 && bi == 0) return rounded({ar * br, 0}, off);
  return rounded({ar * br - ai * bi, ar * bi + ai * br}, off + kRounding * size(a) * size(b));
}

Ball operator/(const Ball& a, const Ball& b) {
  if (b.may_be_zero()) return {{NAN, 0}, INFINITY};
  const Real below = size(b);
  const std::complex<Real> at = a.at.imag() == 0 && b.at.imag() == 0
                                    ? std::complex<Real>(a.at.real() / b.at.real(), 0)
                                    : a.at * std::conj(b.at) / (below * below);
  return rounded(at, (a.off + std::abs(at) * b.off) / (below - b.off) + kRounding * std::abs(at));
}

Ball image(std::complex<Real> value, Real slope, const Ball& of) {
  return rounded(value, slope * of.off + kRounding * std::abs(value));
}

Ball exp(const Ball& a) {
  if (a.at.imag() == 0) {
    const Real value = std::exp(a.at.real());
    return image({value, 0}, value * (1 + a.off), a);
  }
  const std::complex<Real> value = std::exp(a.at);
  return image(value, std::abs(value) * (1 + a.off), a);
}

Ball log(const Ball& a) {
  if (a.may_be_zero()) return {{NAN, 0}, INFINITY};
  const Real slope = 1 / (size(a) - a.off);
  if (a.at.imag() == 0 && a.at.real() > 0) return image({std::log(a.at.real()), 0}, slope, a);
  return image(std::log(a.at), slope, a);
}

Ball pow(const Ball& a, const Ball& b) {
  if (a.at == std::complex<Real>(0, 0) && a.off == 0)
    return b.at.real() > 0 && b.is_real() ? Ball{} : Ball{{NAN, 0}, INFINITY};
  // Whole powers by multiplication: exact signs, and no branch.
  const Real whole = std::round(b.at.real());
  constexpr Real kMostWhole = 64;
  if (b.off == 0 && b.at.imag() == 0 && b.at.real() == whole && std::abs(whole) <= kMostWhole) {
    Ball out = {{1, 0}, 0}, factor = a;
    for (auto left = static_cast<int>(std::abs(whole)); left > 0; left /= 2) {
      if (left % 2 == 1) out = out * factor;
      if (left > 1) factor = factor * factor;
    }
    return whole < 0 ? Ball{{1, 0}, 0} / out : out;
  }
  if (b.off == 0 && b.at == std::complex<Real>(0.5L, 0) && a.at.imag() == 0 && a.at.real() > 0 &&
      !a.may_be_zero()) {
    const Real root = std::sqrt(a.at.real());
    return image({root, 0}, 1 / (2 * root), a);
  }
  return exp(b * log(a));
}

std::optional<bool> equal(const Ball& a, const Ball& b) {
  if (!a.is_finite() || !b.is_finite()) return std::nullopt;
  const Real off = a.off + b.off, gap = std::abs(a.at - b.at), scale = std::max(size(a), size(b));
  if (gap > 8 * off + 8 * kRounding * scale) return false;
  constexpr Real kNarrow = 1e-10L, kNarrowAtZero = 1e-14L;
  if (off > std::max(kNarrow * scale, kNarrowAtZero)) return std::nullopt;
  return true;
}

}  // namespace vernier::math
