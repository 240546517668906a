#include "rewards/verify/math/real_set.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace vernier::math {
namespace {

Scalar infinite(int sign) {
  Scalar out;
  out.state = Scalar::State::infinite;
  out.ball.at = sign;
  return out;
}

// Where a bound lies: by its value, then, of one value, which side of it.
long double place(const Scalar& scalar) {
  if (scalar.state == Scalar::State::infinite)
    return scalar.ball.at.real() * std::numeric_limits<long double>::infinity();
  return ball_of(scalar).at.real();
}

// -1, 0 or 1; values that cannot be told apart are equal.
int order(const Scalar& a, const Scalar& b) {
  if (same_number(a, b)) return 0;
  return place(a) < place(b) ? -1 : 1;
}

bool is_empty(const Span& span) {
  const int turned = order(span.low.value, span.high.value);
  return turned > 0 || (turned == 0 && (span.low.open || span.high.open));
}

// Sorts, drops what is empty, and joins spans that touch.
RealSet joined(RealSet set) {
  std::erase_if(set, is_empty);
  std::ranges::sort(set, [](const Span& a, const Span& b) {
    const int which = order(a.low.value, b.low.value);
    return which < 0 || (which == 0 && !a.low.open && b.low.open);
  });
  RealSet out;
  for (Span& span : set) {
    if (!out.empty()) {
      Bound& end = out.back().high;
      const int gap = order(end.value, span.low.value);
      if (gap > 0 || (gap == 0 && !(end.open && span.low.open))) {
        const int longer = order(end.value, span.high.value);
        if (longer < 0)
          end = span.high;
        else if (longer == 0)
          end.open = end.open && span.high.open;
        continue;
      }
    }
    out.push_back(std::move(span));
  }
  return out;
}

RealSet meeting(const RealSet& a, const RealSet& b) {
  RealSet out;
  for (const Span& one : a)
    for (const Span& other : b) {
      Span span;
      const int low = order(one.low.value, other.low.value);
      const int high = order(one.high.value, other.high.value);
      span.low = low > 0 ? one.low : other.low;
      span.high = high < 0 ? one.high : other.high;
      if (low == 0) span.low.open = one.low.open || other.low.open;
      if (high == 0) span.high.open = one.high.open || other.high.open;
      out.push_back(std::move(span));
    }
  return joined(std::move(out));
}

RealSet complement(const RealSet& set) {
  RealSet out;
  Bound from{infinite(-1), true};
  for (const Span& span : set) {
    out.push_back({from, {span.low.value, !span.low.open}});
    from = {span.high.value, !span.high.open};
  }
  out.push_back({from, {infinite(1), true}});
  // At an infinite end a turned bound would be closed.
  std::erase_if(out, [](const Span& span) {
    return order(span.low.value, span.high.value) == 0 &&
           span.low.value.state == Scalar::State::infinite;
  });
  return joined(std::move(out));
}

class Builder {
 public:
  Builder(const Tree& tree, Budget& budget) : tree_(tree), budget_(budget) {}

  std::optional<RealSet> build(int32_t id) {
    constexpr size_t kMostSpans = 64;
    std::optional<RealSet> out = build_any(id);
    if (out && out->size() > kMostSpans) return std::nullopt;
    return out;
  }

  int32_t symbol() const { return symbol_; }

 private:
  std::optional<RealSet> build_any(int32_t id) {
    const Node& node = tree_[id];
    if (!budget_.spend()) return std::nullopt;
    switch (node.kind) {
      case Kind::empty_set:
        return RealSet{};
      case Kind::number_set:
        if (node.detail != 'R') return std::nullopt;
        return RealSet{{{infinite(-1), true}, {infinite(1), true}}};
      case Kind::interval:
        return interval(id, (node.detail & kLowOpen) != 0, (node.detail & kHighOpen) != 0);
      case Kind::tuple:
        if (node.detail != 1 || node.count != 2) return std::nullopt;
        return interval(id, true, true);
      case Kind::set:
        return points(id);
      case Kind::set_union:
      case Kind::intersection:
      case Kind::difference:
        return combined(id);
      case Kind::member:
        return member(id);
      case Kind::relation:
        return relation(id);
      case Kind::list:
        return list(id);
      default:
        return std::nullopt;
    }
  }

  std::optional<RealSet> member(int32_t id) {
    const int32_t element = tree_.kid(id, 0);
    if (tree_[element].kind != Kind::symbol || !is_the_symbol(tree_[element].index))
      return std::nullopt;
    return build(tree_.kid(id, 1));
  }

  std::optional<Scalar> bound(int32_t id) {
    Scalar value = scalar_of(tree_, id, 1, budget_);
    const bool real = value.state == Scalar::State::exact ||
                      value.state == Scalar::State::infinite ||
                      (value.state == Scalar::State::approximate && value.ball.is_real());
    if (!real) return std::nullopt;
    return value;
  }

  std::optional<RealSet> interval(int32_t id, bool low_open, bool high_open) {
    const std::optional<Scalar> low = bound(tree_.kid(id, 0)), high = bound(tree_.kid(id, 1));
    if (!low || !high) return std::nullopt;
    // Turned about it is a pair of numbers, if anything.
    const int turned = order(*low, *high);
    if (turned > 0 || (turned == 0 && (low_open || high_open))) return std::nullopt;
    const auto open = [](const Scalar& value, bool is_open) {
      return is_open || value.state == Scalar::State::infinite;
    };
    return joined({{{*low, open(*low, low_open)}, {*high, open(*high, high_open)}}});
  }

  std::optional<RealSet> points(int32_t id) {
    if (tree_[id].detail != 0) return std::nullopt;
    RealSet out;
    for (const int32_t kid : tree_.kids(id)) {
      const std::optional<Scalar> value = bound(kid);
      if (!value || value->state == Scalar::State::infinite) return std::nullopt;
      out.push_back({{*value, false}, {*value, false}});
    }
    return joined(std::move(out));
  }

  std::optional<RealSet> combined(int32_t id) {
    std::optional<RealSet> a = build(tree_.kid(id, 0));
    if (!a) return std::nullopt;
    std::optional<RealSet> b = build(tree_.kid(id, 1));
    if (!b) return std::nullopt;
    if (tree_[id].kind == Kind::intersection) return meeting(*a, *b);
    if (tree_[id].kind == Kind::difference) return meeting(*a, complement(*b));
    a->insert(a->end(), b->begin(), b->end());
    return joined(*std::move(a));
  }

  // Inequalities side by side: "and" is both, "or" either; a comma is both unless nothing is left.
  std::optional<RealSet> list(int32_t id) {
    const auto how = static_cast<Joined>(tree_[id].detail);
    RealSet both = {{{infinite(-1), true}, {infinite(1), true}}}, either;
    for (const int32_t kid : tree_.kids(id)) {
      const Kind kind = tree_[kid].kind;
      if (kind == Kind::number || kind == Kind::negate || kind == Kind::list) return std::nullopt;
      const std::optional<RealSet> one = build(kid);
      if (!one) return std::nullopt;
      either.insert(either.end(), one->begin(), one->end());
      both = meeting(both, *one);
    }
    const bool use_both = how == Joined::both || (how == Joined::comma && !both.empty());
    return use_both ? both : joined(std::move(either));
  }

  // Each pair of neighbours in a chain is a half-line; the chain is what they share.
  std::optional<RealSet> relation(int32_t id) {
    RealSet out = {{{infinite(-1), true}, {infinite(1), true}}};
    const auto sides = tree_.kids(id);
    const auto relations = tree_.relations(id);
    for (size_t i = 0; i < relations.size(); ++i) {
      const std::optional<RealSet> one = half_line(sides[i], relations[i], sides[i + 1]);
      if (!one) return std::nullopt;
      out = meeting(out, *one);
    }
    return out;
  }

  std::optional<RealSet> half_line(int32_t left, Relation relation, int32_t right) {
    // x < bound, also where the bound is irrational.
    const auto is_symbol = [&](int32_t id) {
      return tree_[id].kind == Kind::symbol && tree_.name(id) != "...";
    };
    const bool turned = is_symbol(right);
    if (is_symbol(left) != turned) {
      const int32_t symbol = tree_[turned ? right : left].index;
      const std::optional<Scalar> value = bound(turned ? left : right);
      if (!value || !is_the_symbol(symbol)) return std::nullopt;
      return beyond(*value, relation, turned);
    }
    return linear(left, relation, right);
  }

  bool is_the_symbol(int32_t index) {
    if (symbol_ == kNone) symbol_ = index;
    return symbol_ == index;
  }

  // left - right = slope x + rest, read off at 0, 1 and 2.
  std::optional<RealSet> linear(int32_t left, Relation relation, int32_t right) {
    if (!only_symbol_in(left) || !only_symbol_in(right) || symbol_ == kNone) return std::nullopt;
    std::array<Rational, 3> at;
    Evaluator evaluator(tree_, budget_);
    for (int i = 0; i < 3; ++i) {
      const Rational x = i;
      Rational other;
      const auto place = static_cast<size_t>(i);
      if (evaluator.exact(left, 1, at[place], &x) != Exactness::exact ||
          evaluator.exact(right, 1, other, &x) != Exactness::exact)
        return std::nullopt;
      at[place] -= other;
    }
    const Rational slope = at[1] - at[0];
    if (slope == 0 || at[2] - at[1] != slope) return std::nullopt;
    Scalar bound;
    bound.state = Scalar::State::exact;
    bound.exact = -at[0] / slope;
    return beyond(bound, relation, slope < 0);
  }

  bool only_symbol_in(int32_t id) {
    const Kind kind = tree_[id].kind;
    if (kind == Kind::symbol) return is_the_symbol(tree_[id].index);
    // What may be no line, though three points of it are on one.
    if (kind == Kind::function || kind == Kind::power) return false;
    if (kind == Kind::quotient && contains(tree_, tree_.kid(id, 1), Kind::symbol)) return false;
    if (kind == Kind::product && contains(tree_, tree_.kid(id, 0), Kind::symbol) &&
        contains(tree_, tree_.kid(id, 1), Kind::symbol))
      return false;
    return std::ranges::all_of(tree_.kids(id), [&](int32_t kid) { return only_symbol_in(kid); });
  }

  // The x with x relation value; turned: value relation x.
  std::optional<RealSet> beyond(const Scalar& value, Relation relation, bool turned) {
    const bool is_infinite = value.state == Scalar::State::infinite;
    const Bound open{value, true}, closed{value, is_infinite};
    const Bound bottom{infinite(-1), true}, top{infinite(1), true};
    const RealSet point = {{{value, false}, {value, false}}};
    switch (relation) {
      case Relation::equal:
      case Relation::about:
        return is_infinite ? std::nullopt : std::optional(point);
      case Relation::unequal:
        return complement(is_infinite ? RealSet{} : point);
      case Relation::less:
      case Relation::less_equal: {
        const Bound& end = relation == Relation::less ? open : closed;
        return joined(turned ? RealSet{{end, top}} : RealSet{{bottom, end}});
      }
      case Relation::greater:
      case Relation::greater_equal: {
        const Bound& end = relation == Relation::greater ? open : closed;
        return joined(turned ? RealSet{{bottom, end}} : RealSet{{end, top}});
      }
    }
    return std::nullopt;
  }

  const Tree& tree_;
  Budget& budget_;
  int32_t symbol_ = kNone;  // of all the inequalities
};

}  // namespace

std::optional<Solved> real_set_of(const Tree& tree, int32_t id, Budget& budget) {
  Builder builder(tree, budget);
  std::optional<RealSet> set = builder.build(id);
  if (!set) return std::nullopt;
  return Solved{*std::move(set), builder.symbol(),
                builder.symbol() != kNone && builder.symbol() == tree.index_of(kUnnamed)};
}

bool same_set(const RealSet& a, const RealSet& b) {
  return std::ranges::equal(a, b, [](const Span& one, const Span& other) {
    return one.low.open == other.low.open && one.high.open == other.high.open &&
           same_number(one.low.value, other.low.value) &&
           same_number(one.high.value, other.high.value);
  });
}

}  // namespace vernier::math
