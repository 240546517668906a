#include "rewards/verify/math/identity.h"

#include <algorithm>
#include <array>

namespace vernier::math {
namespace {

constexpr int kPositive = 6, kNegative = 3, kComplex = 2, kFar = 8, kNear = 8, kNeeded = 4;
constexpr int kPoints = kPositive + kNegative + kComplex, kAll = kPoints + kFar + kNear;

Point point_of(int place, int sign) {
  Point point;
  point.seed = static_cast<uint64_t>(place) + 1;
  point.sign = sign < 0 ? -1 : 1;
  if (place < kPositive) return point;
  place -= kPositive;
  point.where = place < kNegative                     ? Where::negative
                : place < kNegative + kComplex        ? Where::complex
                : place < kNegative + kComplex + kFar ? Where::far
                                                      : Where::near;
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

// Compares two expressions at points.
class Trial {
 public:
  Trial(const Tree& tree, Item a, Item b, Budget& budget)
      : tree_(tree), a_(a), b_(b), budget_(budget), evaluator_(tree, budget) {}

  bool run() {
    if (is_analytic(tree_, a_.id) && is_analytic(tree_, b_.id)) return analytic();
    // |x| says that x may be negative: ln|x| has values where ln x has none.
    one_absolute_ = has_absolute(a_.id) != has_absolute(b_.id);
    // Who takes a root of symbols on either side takes them for positive: sqrt(h / g) is
    // sqrt(g h) / g.
    positive_ = has_root(a_.id) && has_root(b_.id);
    const bool imaginary =
        contains(tree_, a_.id, Kind::imaginary) || contains(tree_, b_.id, Kind::imaginary);
    if (!imaginary) {
      if (!tried(0, kPositive + kNegative, true) || !tried(kPoints, kAll, true)) return false;
      if (decided_ >= kNeeded) return true;
    }
    // Real nowhere near, as the root of x - 1000.
    return tried(0, kPositive, false) && decided_ >= kNeeded;
  }

 private:
  bool analytic() {
    return tried(0, kPositive, false) && tried(kPositive, kPositive + kNegative, true) &&
           tried(kPositive + kNegative, kPoints, false) &&
           (decided_ >= kNeeded || tried(kPoints + kFar, kAll, false)) && decided_ >= kNeeded;
  }

  bool has_absolute(int32_t id) const {
    const Node& node = tree_[id];
    if (node.kind == Kind::function && node.detail == static_cast<uint8_t>(Function::abs))
      return true;
    return std::ranges::any_of(tree_.kids(id), [&](int32_t kid) { return has_absolute(kid); });
  }

  // An even root or a logarithm of something with symbols.
  bool has_root(int32_t id) const {
    const Node& node = tree_[id];
    const auto kids = tree_.kids(id);
    const auto which = static_cast<Function>(node.detail);
    const bool root =
        (node.kind == Kind::function && ((which == Function::sqrt && kids.size() == 1) ||
                                         which == Function::ln || which == Function::log)) ||
        (node.kind == Kind::power && contains(tree_, kids[1], Kind::quotient));
    if (root && contains(tree_, kids[0], Kind::symbol)) return true;
    return std::ranges::any_of(kids, [&](int32_t kid) { return has_root(kid); });
  }

  Point at(int place, int sign, bool real) const {
    Point point = point_of(place, sign);
    point.is_real = real;
    point.is_positive = positive_ && !one_absolute_;
    return point;
  }

  // False where a place tells them apart. `real`: where a root of a negative number would have a
  // branch to choose, as that of a b where both are negative, nothing is decided.
  bool tried(int from, int to, bool real) {
    for (int place = from; place < to; ++place) {
      const Ball one = evaluator_.approximate(a_.id, at(place, a_.sign, real));
      const Ball other = evaluator_.approximate(b_.id, at(place, b_.sign, real));
      if (budget_.spent()) return false;
      if (one_absolute_ && real && one.is_finite() != other.is_finite()) return false;
      if (!one.is_finite() || !other.is_finite()) continue;
      if (real && !(one.is_real() && other.is_real())) continue;
      const std::optional<bool> same = equal(one, other);
      if (!same) continue;
      if (!*same) return false;
      ++decided_;
    }
    return true;
  }

  const Tree& tree_;
  Item a_, b_;
  Budget& budget_;
  Evaluator evaluator_;
  bool one_absolute_ = false, positive_ = false;
  int decided_ = 0;
};

}  // namespace

bool identical(const Tree& tree, Item a, Item b, Budget& budget) {
  return Trial(tree, a, b, budget).run();
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
  for (int place = 0; place < kAll; ++place)
    if (evaluator.approximate(item.id, point_of(place, item.sign)).is_finite()) ++decided;
  return decided >= kNeeded;
}

}  // namespace vernier::math
