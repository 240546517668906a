#include "rewards/verify/math/identity.h"

#include <algorithm>
#include <array>

namespace vernier::math {
namespace {

constexpr int kPositive = 6, kNegative = 3, kComplex = 2, kNeeded = 4;
constexpr int kPoints = kPositive + kNegative + kComplex;

Point point_of(int place, int sign) {
  Point point;
  point.seed = static_cast<uint64_t>(place) + 1;
  point.sign = sign < 0 ? -1 : 1;
  point.negative = place >= kPositive && place < kPositive + kNegative;
  point.complex = place >= kPositive + kNegative;
  return point;
}

// True where nothing in the tree breaks on the way through complex numbers, as |z| does, and
// nothing has a branch to choose: (x^4)^{1/2} is x^2 or its negative.
bool is_analytic(const Tree& tree, int32_t id) {
  if (tree[id].kind == Kind::power) {
    const int32_t exponent = tree.kid(id, 1);
    const bool whole = tree[exponent].kind == Kind::number && is_integer(tree.number(exponent));
    if (!whole && tree[tree.kid(id, 0)].kind != Kind::euler) return false;
  }
  if (tree[id].kind == Kind::function) {
    switch (static_cast<Function>(tree[id].detail)) {
      case Function::sqrt:
      case Function::ln:
      case Function::log:
      case Function::asin:
      case Function::acos:
      case Function::atan:
      case Function::abs:
      case Function::floor:
      case Function::ceil:
      case Function::gcd:
      case Function::lcm:
      case Function::max:
      case Function::min:
      case Function::real_part:
      case Function::imaginary_part:
        return false;
      default:
        break;
    }
  }
  return std::ranges::all_of(tree.kids(id), [&](int32_t kid) { return is_analytic(tree, kid); });
}

}  // namespace

bool identical(const Tree& tree, Item a, Item b, Budget& budget) {
  Evaluator evaluator(tree, budget);
  const bool analytic = is_analytic(tree, a.id) && is_analytic(tree, b.id);
  int decided = 0;
  for (int place = 0; place < kPoints; ++place) {
    const Point at = point_of(place, a.sign);
    if (at.complex && !analytic) break;
    const Ball one = evaluator.approximate(a.id, at);
    if (!one.is_finite()) continue;
    const Ball other = evaluator.approximate(b.id, point_of(place, b.sign));
    if (budget.spent()) return false;
    // Where a root of a negative number would have a branch to choose, reals decide nothing.
    if (at.negative && !(one.is_real() && other.is_real())) continue;
    const std::optional<bool> same = equal(one, other);
    if (!same) continue;
    if (!*same) return false;
    if (!at.negative) ++decided;
  }
  return decided >= kNeeded;
}

bool proportional(const Tree& tree, Item left, Item right, Item other_left, Item other_right,
                  bool positive, Budget& budget) {
  Evaluator evaluator(tree, budget);
  Ball first, other_first;
  int decided = 0;
  for (int place = 0; place < kPositive + kNegative; ++place) {
    const auto difference = [&](Item a, Item b) {
      return evaluator.approximate(a.id, point_of(place, a.sign)) -
             evaluator.approximate(b.id, point_of(place, b.sign));
    };
    const Ball one = difference(left, right), other = difference(other_left, other_right);
    if (budget.spent()) return false;
    if (!one.is_finite() || !other.is_finite()) continue;
    if (one.may_be_zero() != other.may_be_zero()) return false;
    if (one.may_be_zero()) continue;
    if (positive &&
        (!one.is_real() || !other.is_real() || (one.at.real() > 0) != (other.at.real() > 0)))
      return false;
    if (decided == 0) {
      first = one;
      other_first = other;
    } else {
      const std::optional<bool> same = equal(one * other_first, other * first);
      if (!same) continue;
      if (!*same) return false;
    }
    ++decided;
  }
  return decided >= kNeeded;
}

bool is_defined(const Tree& tree, Item item, Budget& budget) {
  Evaluator evaluator(tree, budget);
  int decided = 0;
  for (int place = 0; place < kPoints; ++place)
    if (evaluator.approximate(item.id, point_of(place, item.sign)).is_finite()) ++decided;
  return decided >= kNeeded;
}

}  // namespace vernier::math
