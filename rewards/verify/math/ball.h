// Complex numbers that know how far off they may be.
//
// A ball is a centre and a radius that is at least the error of rounding, carried along to first
// order: |f(z + d)| differs from |f(z)| by |f'(z)| |d|. Two balls are equal where they cannot be
// told apart and are narrow enough for that to say something. The centre has 64 bits of mantissa.
#pragma once

#include <complex>

#include "rewards/verify/math/number.h"

namespace vernier::math {

struct Ball {
  std::complex<long double> at;
  long double off = 0;

  /// False for what overflowed or never was a number.
  bool is_finite() const;
  bool is_real() const { return std::abs(at.imag()) <= 2 * off; }
  /// True where 0 is in it or all but in it.
  bool may_be_zero() const { return std::abs(at) <= 4 * off; }
};

Ball ball(const Rational& value);
Ball ball(long double value);  // with the rounding of a last place
Ball operator-(const Ball& a);
Ball operator+(const Ball& a, const Ball& b);
Ball operator-(const Ball& a, const Ball& b);
Ball operator*(const Ball& a, const Ball& b);
Ball operator/(const Ball& a, const Ball& b);

/// A function by its value and the absolute value of its derivative at the ball's centre.
Ball image(std::complex<long double> value, long double slope, const Ball& of);

Ball exp(const Ball& a);
Ball log(const Ball& a);
/// The principal branch. Real numbers stay real where they can.
Ball pow(const Ball& a, const Ball& b);

/// Equal as far as the numbers can tell: none where they are too far off to say.
std::optional<bool> equal(const Ball& a, const Ball& b);

}  // namespace vernier::math
