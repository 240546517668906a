#include "rewards/verify/math/scalar.h"

#include <cmath>

namespace vernier::math {
namespace {

// The written number of -5, 5%, 0.5: what stays below signs and percent signs.
struct Written {
  const Node* node = nullptr;
  int32_t id = kNone;
  bool negative = false, percent = false;
};

Written written(const Tree& tree, int32_t id) {
  Written out;
  while (true) {
    const Node& node = tree[id];
    if (node.kind == Kind::number) {
      out.node = &node;
      out.id = id;
      return out;
    }
    if (node.kind == Kind::negate)
      out.negative = !out.negative;
    else if (node.kind == Kind::percent && !out.percent)
      out.percent = true;
    else if (node.kind != Kind::degree)
      return {};
    id = tree.kid(id, 0);
  }
}

// Equal after rounding to 6 decimals, or within half of the last of them, which is the same but for
// values next to a tie; and of these 3 digits say something.
bool same_decimals(const Scalar& a, const Scalar& b) {
  if (a.state == Scalar::State::exact && b.state == Scalar::State::exact) {
    const Rational gap = abs(a.exact - b.exact);
    const Rational half(1, 2'000'000);
    if (gap > half && micro(a.exact) != micro(b.exact)) return false;
    return gap * 1000 <= std::max(Rational(abs(a.exact)), Rational(abs(b.exact)));
  }
  const Ball x = ball_of(a), y = ball_of(b);
  if (!x.is_finite() || !y.is_finite() || !x.is_real() || !y.is_real()) return false;
  const long double one = x.at.real(), other = y.at.real(), gap = std::abs(one - other);
  // Past 2^53 millionths a rounding to them says nothing.
  if (std::abs(one) > 1e9L) return equal(x, y).value_or(false);
  if (gap > 0.5e-6L && std::round(one * 1e6L) != std::round(other * 1e6L)) return false;
  return gap * 1000 <= std::max(std::abs(one), std::abs(other));
}

}  // namespace

Scalar scalar_of(const Tree& tree, int32_t id, int sign, Budget& budget) {
  Scalar out;
  if (tree[id].kind == Kind::based) id = tree.kid(id, 0);
  if (tree[id].kind == Kind::infinity ||
      (tree[id].kind == Kind::negate && tree[tree.kid(id, 0)].kind == Kind::infinity)) {
    out.state = Scalar::State::infinite;
    out.ball.at = tree[id].kind == Kind::infinity ? 1 : -1;
    return out;
  }
  if (const Written number = written(tree, id); number.node != nullptr) {
    out.decimal = number.node->decimal;
    const Rational& value = tree.number(number.id);
    if (is_integer(value) && !out.decimal) {
      out.percent = number.percent;
      out.whole = number.negative ? Integer(-numerator(value)) : Integer(numerator(value));
    }
  }
  Evaluator evaluator(tree, budget);
  switch (evaluator.exact(id, sign, out.exact)) {
    case Exactness::exact:
      out.state = Scalar::State::exact;
      return out;
    case Exactness::undefined:
    case Exactness::over:
      return out;
    case Exactness::irrational:
      break;
  }
  out.ball = evaluator.approximate(id, {.sign = sign});
  if (out.ball.is_finite()) out.state = Scalar::State::approximate;
  return out;
}

Ball ball_of(const Scalar& scalar) {
  if (scalar.state == Scalar::State::exact) return ball(scalar.exact);
  if (scalar.state == Scalar::State::approximate) return scalar.ball;
  return {{NAN, 0}, INFINITY};
}

bool same_number(const Scalar& a, const Scalar& b) {
  using State = Scalar::State;
  if (a.state == State::none || b.state == State::none) return false;
  if (a.state == State::infinite || b.state == State::infinite)
    return a.state == b.state && a.ball.at == b.ball.at;
  const bool both_exact = a.state == State::exact && b.state == State::exact;
  if (both_exact && a.exact == b.exact) return true;
  if ((a.percent || b.percent) && a.whole && b.whole && *a.whole == *b.whole) return true;
  if (a.decimal || b.decimal) return same_decimals(a, b);
  return !both_exact && equal(ball_of(a), ball_of(b)).value_or(false);
}

}  // namespace vernier::math
