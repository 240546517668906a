#include "rewards/verify/math/evaluate.h"

#include <array>
#include <cmath>
#include <limits>
#include <numbers>

namespace vernier::math {
namespace {

constexpr long double kPi = std::numbers::pi_v<long double>;

Ball undefined() { return {{NAN, 0}, INFINITY}; }

uint64_t mixed(uint64_t x) {  // splitmix64
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

long double within(uint64_t bits, long double low, long double high) {
  return low + (high - low) * static_cast<long double>(bits >> 11) * 0x1p-53L;
}

// Steps of an operation on numbers of this many bits: products and common divisors of large ones
// are quadratic.
int64_t cost(const Rational& value) {
  const auto limbs = static_cast<int64_t>(bits(value) / 64);
  return 1 + limbs * limbs / 8;
}

Integer binomial(int64_t n, int64_t k) {
  Integer out = 1;
  for (int64_t i = 1; i <= k; ++i) out = out * (n - k + i) / i;
  return out;
}

}  // namespace

Ball symbol_value(int32_t index, const Point& point) {
  if (point.seed == 0) return undefined();
  const uint64_t real = mixed(point.seed * 1024 + static_cast<uint64_t>(index));
  const long double value = within(real, 0.3L, 2.7L);
  // All signs of the first three symbols come up in eight points.
  const bool below = !point.is_positive && ((point.seed >> (index % 3)) & 1) != 0;
  switch (point.where) {
    case Where::positive:
      return {{value, 0}, 0};
    case Where::negative:
      return {{real % 3 != 0 && !point.is_positive ? -value : value, 0}, 0};
    case Where::complex:
      return {{value, within(mixed(real), 0.2L, 0.9L)}, 0};
    case Where::far: {
      const long double size = 3 * std::pow(1000.0L, within(real, 0, 1));
      return {{below ? -size : size, 0}, 0};
    }
    case Where::near: {
      const long double size = within(real, 0.05L, 0.95L);
      return {{below ? -size : size, 0}, 0};
    }
  }
  return undefined();
}

Exactness Evaluator::kept(Rational& out) {
  const int64_t steps = cost(out);
  if (!budget_.spend(steps) || bits(out) > kMaxBits) return Exactness::over;
  return Exactness::exact;
}

Exactness Evaluator::exact(int32_t id, int sign, Rational& out, const Rational* symbol) {
  if (!budget_.spend()) return Exactness::over;
  const Node& node = tree_[id];
  switch (node.kind) {
    case Kind::number:
      out = tree_.number(id);
      return Exactness::exact;
    case Kind::symbol:
      if (symbol == nullptr) return Exactness::irrational;
      out = *symbol;
      return Exactness::exact;
    case Kind::degree:
      return exact(tree_.kid(id, 0), sign, out, symbol);
    case Kind::function:
      return exact_function(id, sign, out, symbol);
    case Kind::power:
      return exact_power(id, sign, out, symbol);
    case Kind::negate:
    case Kind::percent:
    case Kind::sum:
    case Kind::product:
    case Kind::quotient:
    case Kind::plus_minus:
      break;
    default:
      return Exactness::irrational;
  }
  if (const Exactness first = exact(tree_.kid(id, 0), sign, out, symbol); first != Exactness::exact)
    return first;
  if (node.kind == Kind::plus_minus && (node.detail == 1) == (sign > 0) && node.count == 1)
    out = -out;
  if (node.kind == Kind::negate) out = -out;
  if (node.kind == Kind::percent) out /= 100;
  if (node.count == 1) return kept(out);
  Rational right;
  if (const Exactness second = exact(tree_.kid(id, 1), sign, right, symbol);
      second != Exactness::exact)
    return second;
  if (node.kind == Kind::sum) {
    out += right;
  } else if (node.kind == Kind::product) {
    out *= right;
  } else if (node.kind == Kind::plus_minus) {
    if ((node.detail == 0) == (sign > 0))
      out += right;
    else
      out -= right;
  } else {
    if (right == 0) return Exactness::undefined;
    out /= right;
  }
  return kept(out);
}

Exactness Evaluator::exact_power(int32_t id, int sign, Rational& out, const Rational* symbol) {
  Rational exponent;
  if (const Exactness base = exact(tree_.kid(id, 0), sign, out, symbol); base != Exactness::exact)
    return base;
  if (const Exactness raised = exact(tree_.kid(id, 1), sign, exponent, symbol);
      raised != Exactness::exact)
    return raised;
  if (out == 0 && exponent < 0) return Exactness::undefined;
  if (denominator(exponent) == 2 && out >= 0) {
    const std::optional<Rational> root = exact_root(out);
    if (!root) return Exactness::irrational;
    out = *root;
    exponent *= 2;
  }
  if (!is_integer(exponent)) return Exactness::irrational;
  const std::optional<int64_t> whole = small_integer(exponent, int64_t{1} << 40);
  std::optional<Rational> value;
  if (whole) value = power(out, *whole);
  if (!value) return Exactness::over;
  out = *std::move(value);
  return kept(out);
}

Exactness Evaluator::exact_function(int32_t id, int sign, Rational& out, const Rational* symbol) {
  const auto function = static_cast<Function>(tree_[id].detail);
  const auto kids = tree_.kids(id);
  if (kids.empty()) return Exactness::irrational;
  if (const Exactness first = exact(kids[0], sign, out, symbol); first != Exactness::exact)
    return first;
  if (function == Function::sqrt && kids.size() == 1) {
    if (out < 0) return Exactness::irrational;
    const std::optional<Rational> root = exact_root(out);
    if (!root) return Exactness::irrational;
    out = *root;
    return kept(out);
  }
  if (function == Function::abs)
    out = abs(out);
  else if (function == Function::floor)
    out = Rational(floor_of(out));
  else if (function == Function::ceil)
    out = Rational(Integer(-floor_of(-out)));
  else if (function == Function::real_part)
    return Exactness::exact;
  else if (function == Function::factorial) {
    const std::optional<int64_t> n = small_integer(out, int64_t{1} << 40);
    if (!n || *n < 0) return Exactness::irrational;
    if (*n > kMaxFactorial || !budget_.spend(*n * *n / 100)) return Exactness::over;
    Integer value = 1;
    for (int64_t i = 2; i <= *n; ++i) value *= i;
    out = Rational(value);
  } else if (function == Function::binomial && kids.size() == 2) {
    Rational below;
    if (const Exactness second = exact(kids[1], sign, below, symbol); second != Exactness::exact)
      return second;
    const std::optional<int64_t> n = small_integer(out, kMaxFactorial);
    const std::optional<int64_t> k = small_integer(below, kMaxFactorial);
    if (!n || !k)
      return is_integer(out) && is_integer(below) ? Exactness::over : Exactness::irrational;
    if (*n < 0 || *k < 0 || *k > *n) return Exactness::irrational;
    if (!budget_.spend(*n * 4)) return Exactness::over;
    out = Rational(binomial(*n, *k));
  } else if (function == Function::gcd || function == Function::lcm || function == Function::max ||
             function == Function::min) {
    for (const int32_t kid : kids.subspan(1)) {
      Rational next;
      if (const Exactness other = exact(kid, sign, next, symbol); other != Exactness::exact)
        return other;
      if (function == Function::max)
        out = std::max(out, next);
      else if (function == Function::min)
        out = std::min(out, next);
      else if (!is_integer(out) || !is_integer(next))
        return Exactness::irrational;
      else if (function == Function::gcd)
        out = Rational(gcd(Integer(numerator(out)), Integer(numerator(next))));
      else
        out = Rational(lcm(Integer(numerator(out)), Integer(numerator(next))));
    }
  } else {
    return Exactness::irrational;
  }
  return kept(out);
}

Ball Evaluator::approximate(int32_t id, const Point& point) {
  if (!budget_.spend()) return undefined();
  const auto kid = [&](size_t place) { return approximate(tree_.kid(id, place), point); };
  const Node& node = tree_[id];
  switch (node.kind) {
    case Kind::number:
      return ball(tree_.number(id));
    case Kind::symbol:
      return symbol_value(node.index, point);
    case Kind::pi:
      return ball(kPi);
    case Kind::euler:
      return ball(std::numbers::e_v<long double>);
    case Kind::imaginary:
      return {{0, 1}, 0};
    case Kind::negate:
      return -kid(0);
    case Kind::sum:
      return kid(0) + kid(1);
    case Kind::product:
      return kid(0) * kid(1);
    case Kind::quotient:
      return kid(0) / kid(1);
    case Kind::power:
      return raised(id, point);
    case Kind::percent:
      return kid(0) / Ball{{100, 0}, 0};
    case Kind::degree:
      return kid(0);
    case Kind::function:
      return function(id, point);
    case Kind::plus_minus: {
      const bool adds = (node.detail == 0) == (point.sign > 0);
      if (node.count == 1) return adds ? kid(0) : -kid(0);
      return adds ? kid(0) + kid(1) : kid(0) - kid(1);
    }
    default:
      return undefined();
  }
}

// 30^\circ inside of a trigonometric function.
Ball Evaluator::angle(int32_t id, const Point& point) {
  const Node& node = tree_[id];
  if (node.kind == Kind::negate) return -angle(tree_.kid(id, 0), point);
  if (node.kind == Kind::degree) return approximate(id, point) * ball(kPi) / Ball{{180, 0}, 0};
  if (node.kind == Kind::sum)
    return angle(tree_.kid(id, 0), point) + angle(tree_.kid(id, 1), point);
  return approximate(id, point);
}

// Of a symbol's negative value x^{1/3} is the real root, as \sqrt[3]{x} is.
Ball Evaluator::raised(int32_t id, const Point& point) {
  const Ball base = approximate(tree_.kid(id, 0), point);
  const Ball exponent = approximate(tree_.kid(id, 1), point);
  if (point.seed == 0 || base.at.imag() != 0 || base.at.real() >= 0) return pow(base, exponent);
  Rational fraction;
  const bool rational = exact(tree_.kid(id, 1), point.sign, fraction) == Exactness::exact;
  if (rational && is_integer(fraction)) return pow(base, exponent);
  if (!rational || denominator(fraction) % 2 == 0)
    return point.is_real ? undefined() : pow(base, exponent);
  const Ball size = pow(-base, exponent);
  return numerator(fraction) % 2 == 0 ? size : -size;
}

Ball Evaluator::root(int32_t id, const Point& point) {
  const Ball inside = approximate(tree_.kid(id, 0), point);
  const bool negative = inside.at.imag() == 0 && inside.at.real() < 0;
  if (tree_[id].count == 1)
    return negative && point.is_real ? undefined() : pow(inside, Ball{{0.5L, 0}, 0});
  const Ball degree = approximate(tree_.kid(id, 1), point);
  const Ball inverse = Ball{{1, 0}, 0} / degree;
  // The cube root of a negative number is the real one.
  const long double whole = std::round(degree.at.real());
  const bool odd = degree.at.imag() == 0 && degree.off == 0 && degree.at.real() == whole &&
                   std::fmod(std::abs(whole), 2.0L) == 1;
  if (odd && negative) return -pow(-inside, inverse);
  return negative && point.is_real ? undefined() : pow(inside, inverse);
}

Ball Evaluator::function(int32_t id, const Point& point) {
  constexpr size_t kMostArguments = 8;
  const auto which = static_cast<Function>(tree_[id].detail);
  const auto kids = tree_.kids(id);
  if (kids.empty() || kids.size() > kMostArguments) return undefined();
  if (which == Function::sqrt) return root(id, point);
  if (which >= Function::sin && which <= Function::csc) {
    if (kids.size() != 1) return undefined();
    return trigonometric(which, angle(kids[0], point));
  }
  std::array<Ball, kMostArguments> of;
  for (size_t i = 0; i < kids.size(); ++i) of[i] = approximate(kids[i], point);
  const Ball& a = of[0];
  const bool is_log = which == Function::ln || which == Function::log;
  if (is_log && point.is_real && a.at.imag() == 0 && a.at.real() < 0) return undefined();
  switch (which) {
    case Function::exp:
      return exp(a);
    case Function::ln:
      return log(a);
    case Function::log:
      return log(a) / log(kids.size() > 1 ? of[1] : Ball{{10, 0}, 0});
    case Function::abs:
      return image({std::abs(a.at), 0}, 1, a);
    case Function::real_part:
      return {{a.at.real(), 0}, a.off};
    case Function::imaginary_part:
      return {{a.at.imag(), 0}, a.off};
    case Function::asin:
    case Function::acos:
    case Function::atan:
    case Function::sinh:
    case Function::cosh:
    case Function::tanh:
      return trigonometric(which, a);
    default:
      return real_function(which, std::span(of).first(kids.size()));
  }
}

Ball Evaluator::trigonometric(Function function, const Ball& a) {
  if (!a.is_finite()) return undefined();
  const std::complex<long double> z = a.at;
  const bool real = z.imag() == 0;
  const auto sine = real ? std::complex<long double>(std::sin(z.real()), 0) : std::sin(z);
  const auto cosine = real ? std::complex<long double>(std::cos(z.real()), 0) : std::cos(z);
  // The reduction of a large angle by a rounded π is off by its size.
  const Ball wide = {z, a.off + 1.1e-19L * std::abs(z)};
  const Ball one = {{1, 0}, 0};
  const auto sin_ball = [&] { return image(sine, std::abs(cosine) + wide.off, wide); };
  const auto cos_ball = [&] { return image(cosine, std::abs(sine) + wide.off, wide); };
  switch (function) {
    case Function::sin:
      return sin_ball();
    case Function::cos:
      return cos_ball();
    case Function::tan:
      return sin_ball() / cos_ball();
    case Function::cot:
      return cos_ball() / sin_ball();
    case Function::sec:
      return one / cos_ball();
    case Function::csc:
      return one / sin_ball();
    case Function::atan:
      return image(real ? std::complex<long double>(std::atan(z.real()), 0) : std::atan(z),
                   1 / std::abs(1.0L + z * z), a);
    case Function::asin:
    case Function::acos: {
      if (real && std::abs(z.real()) > 1) return undefined();
      const auto value =
          function == Function::asin
              ? (real ? std::complex<long double>(std::asin(z.real()), 0) : std::asin(z))
              : (real ? std::complex<long double>(std::acos(z.real()), 0) : std::acos(z));
      // At ±1 the slope is infinite; an exact argument has no error to carry.
      return image(value, a.off == 0 ? 0 : 1 / std::sqrt(std::abs(1.0L - z * z)), a);
    }
    case Function::sinh:
      return (exp(a) - exp(-a)) / Ball{{2, 0}, 0};
    case Function::cosh:
      return (exp(a) + exp(-a)) / Ball{{2, 0}, 0};
    default: {
      const Ball up = exp(a), down = exp(-a);
      return (up - down) / (up + down);
    }
  }
}

// Functions of real numbers.
Ball Evaluator::real_function(Function function, std::span<const Ball> of) {
  for (const Ball& a : of)
    if (!a.is_finite() || !a.is_real()) return undefined();
  const long double x = of[0].at.real();
  const auto gamma = [](long double n) { return std::tgamma(n + 1); };
  switch (function) {
    case Function::floor:
    case Function::ceil: {
      // Next to an integer the error decides, and it is not to.
      if (std::abs(x - std::round(x)) <= 4 * of[0].off && of[0].off > 0) return undefined();
      return {{function == Function::floor ? std::floor(x) : std::ceil(x), 0}, 0};
    }
    case Function::factorial: {
      const long double value = gamma(x);
      return image({value, 0}, std::abs(value) * (std::abs(std::log(std::abs(x) + 2)) + 20),
                   {{x, 0}, of[0].off + 1.1e-19L});
    }
    case Function::binomial: {
      if (of.size() != 2) return undefined();
      const long double k = of[1].at.real();
      const long double value = gamma(x) / (gamma(k) * gamma(x - k));
      return image({value, 0}, std::abs(value) * 100, {{x, 0}, of[0].off + of[1].off + 1.1e-19L});
    }
    case Function::max:
    case Function::min: {
      Ball out = of[0];
      for (const Ball& a : of.subspan(1))
        if ((a.at.real() > out.at.real()) == (function == Function::max)) out = a;
      return out;
    }
    default:
      return undefined();
  }
}

}  // namespace vernier::math
