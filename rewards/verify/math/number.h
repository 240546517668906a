// Exact numbers of bounded size.
#pragma once

#include <boost/multiprecision/cpp_int.hpp>
#include <boost/multiprecision/rational_adaptor.hpp>
#include <cstddef>
#include <optional>
#include <string_view>

#include "rewards/verify/math/limits.h"

namespace vernier::math {

// Without expression templates: they would double the time to compile and save nothing here.
using Integer = boost::multiprecision::number<boost::multiprecision::cpp_int_backend<>,
                                              boost::multiprecision::et_off>;
using Rational = boost::multiprecision::number<
    boost::multiprecision::rational_adaptor<boost::multiprecision::cpp_int_backend<>>,
    boost::multiprecision::et_off>;

/// Bits of the absolute value.
size_t bits(const Integer& value);

/// The larger of numerator's and denominator's.
size_t bits(const Rational& value);

inline bool is_integer(const Rational& value) { return denominator(value) == 1; }

/// The value where it is an integer of at most `most` in absolute value.
std::optional<int64_t> small_integer(const Rational& value, int64_t most);

/// Digits with at most one point among them, and an exponent ("2.5e-3"); other characters, as the
/// commas between thousands, are passed over. None where the exponent is past the limits.
std::optional<Rational> read_number(std::string_view text);

/// base^exponent; none past the limits, and for 0 to a negative power.
std::optional<Rational> power(const Rational& base, int64_t exponent);

/// The square root where it is rational; none otherwise.
std::optional<Rational> exact_root(const Rational& value);

/// The largest integer that is not above.
Integer floor_of(const Rational& value);

/// value · 10^6, rounded half away from zero.
Integer micro(const Rational& value);

}  // namespace vernier::math
