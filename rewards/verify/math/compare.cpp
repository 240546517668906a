#include "rewards/verify/math/compare.h"

#include <algorithm>
#include <array>

#include "rewards/verify/math/identity.h"
#include "rewards/verify/math/matching.h"
#include "rewards/verify/math/matrix.h"
#include "rewards/verify/math/naming.h"
#include "rewards/verify/math/real_set.h"
#include "rewards/verify/scan.h"

namespace vernier::math {
namespace {

bool is_collection(Kind kind) {
  return kind == Kind::list || kind == Kind::set || kind == Kind::tuple;
}

bool is_set_like(Kind kind) {
  switch (kind) {
    case Kind::list:
    case Kind::set:
    case Kind::tuple:
    case Kind::interval:
    case Kind::set_union:
    case Kind::intersection:
    case Kind::difference:
    case Kind::number_set:
    case Kind::empty_set:
      return true;
    default:
      return false;
  }
}

class Comparison {
 public:
  Comparison(Tree& tree, Budget& budget) : tree_(tree), budget_(budget) {}

  bool equal(Item gold, Item answer) {
    constexpr int64_t kCost = 4;
    if (!budget_.spend(kCost)) return false;
    if (gold.sign == answer.sign && same_tree(tree_, gold.id, answer.id)) return true;
    if (kind(gold) == Kind::member && kind(answer) != Kind::member)
      return equal({tree_.kid(gold.id, 1), gold.sign}, answer);
    if (kind(answer) == Kind::member && kind(gold) != Kind::member)
      return equal(gold, {tree_.kid(answer.id, 1), answer.sign});
    if (const std::optional<bool> same = same_named(gold, answer)) return *same;
    if (const std::optional<int32_t> rounded = rounded_side(gold, answer);
        rounded && equal(gold, {*rounded, answer.sign}))
      return true;
    unwrap(gold, answer);
    if (is_open(gold) || is_open(answer)) return both_signs(gold, answer);
    const bool relations = kind(gold) == Kind::relation && kind(answer) == Kind::relation;
    if (relations) return same_relation(gold, answer);
    if (kind(gold) == Kind::relation || kind(answer) == Kind::relation)
      return same_reals(gold, answer);
    if (is_set_like(kind(gold)) || is_set_like(kind(answer))) return same_sets(gold, answer);
    if (kind(gold) == Kind::ratio || kind(answer) == Kind::ratio) return same_ratio(gold, answer);
    return same_scalar(gold, answer);
  }

 private:
  Kind kind(Item item) const { return tree_[item.id].kind; }

  // ± stands for two values, and nobody has said yet which.
  bool is_open(Item item) const {
    return item.sign == 0 && !is_set_like(kind(item)) && contains(tree_, item.id, Kind::plus_minus);
  }

  std::vector<Item> signs(Item item) const {
    if (!is_open(item)) return {item};
    return {{item.id, 1}, {item.id, -1}};
  }

  std::vector<Item> items(Item collection) const {
    std::vector<Item> out;
    for (const int32_t kid : tree_.kids(collection.id))
      for (const Item item : signs({kid, collection.sign})) out.push_back(item);
    return out;
  }

  bool both_signs(Item gold, Item answer) {
    const std::vector<Item> a = is_collection(kind(gold)) ? items(gold) : signs(gold);
    const std::vector<Item> b = is_collection(kind(answer)) ? items(answer) : signs(answer);
    return match(a, b);
  }

  bool match(const std::vector<Item>& a, const std::vector<Item>& b) {
    return can_match(a.size(), b.size(), [&](size_t i, size_t j) { return equal(a[i], b[j]); });
  }

  bool in_order(const std::vector<Item>& a, const std::vector<Item>& b) {
    return std::ranges::equal(a, b, [&](Item x, Item y) { return equal(x, y); });
  }

  // Relations.

  bool is_equation(Item item) const {
    return kind(item) == Kind::relation &&
           std::ranges::all_of(tree_.relations(item.id), [](Relation relation) {
             return relation == Relation::equal || relation == Relation::about;
           });
  }

  // 2 + 3 = 5; x = 2 + 3 = 5; and 1/3 = 0.33, but not 1 = 3 = 2. Sides with symbols say nothing.
  bool holds_about(Item item) {
    Ball first;
    bool any = false;
    for (const int32_t side : tree_.kids(item.id)) {
      if (contains(tree_, side, Kind::symbol)) continue;
      const Ball value = ball_of(scalar_of(tree_, side, sign_of(item), budget_));
      if (!value.is_finite()) continue;
      if (any && std::abs(value.at - first.at) > 0.01L * std::abs(first.at)) return false;
      if (!any) first = value;
      any = true;
    }
    return true;
  }

  bool names_a_value(Item item) const {
    if (!is_equation(item)) return false;
    const int32_t left = tree_.kid(item.id, 0);
    return is_name(tree_, left) || !contains(tree_, left, Kind::symbol);
  }

  bool answers_with_value(Item item) {
    if (!is_equation(item)) return false;
    const auto sides = tree_.kids(item.id);
    const bool named = asks_for_value(tree_, sides.front()) || is_name(tree_, sides.back()) ||
                       !contains(tree_, item.id, Kind::symbol);
    return named && holds_about(item);
  }

  // The side with the value: the last one that is exact, or the first of "5 = x".
  int32_t value_side(Item item) const {
    const auto sides = tree_.kids(item.id);
    const int32_t last = sides.back();
    if (is_name(tree_, last) && !is_name(tree_, sides.front())) return sides.front();
    const auto relations = tree_.relations(item.id);
    const auto about = std::ranges::find(relations, Relation::about) - relations.begin();
    const int32_t exact = sides[static_cast<size_t>(about)];
    return about > 0 || !is_name(tree_, exact) ? exact : last;
  }

  void unwrap(Item& gold, Item& answer) {
    const bool gold_equation = is_equation(gold), answer_equation = is_equation(answer);
    if (answer_equation && !gold_equation && answers_with_value(answer))
      answer.id = value_side(answer);
    else if (names_a_value(gold) && !answer_equation)
      gold.id = value_side(gold);
  }

  // "9/19 ≈ 0.474" answers 0.474 too.
  std::optional<int32_t> rounded_side(Item gold, Item answer) {
    if (!is_equation(answer) || is_equation(gold) ||
        tree_.relations(answer.id).back() != Relation::about)
      return std::nullopt;
    if (!answers_with_value(answer)) return std::nullopt;
    return tree_.kids(answer.id).back();
  }

  // x = 1, y = 2, or (x, y) = (1, 2): values by their names. Empty where it is something else.
  struct Named {
    int32_t name = kNone;
    Item value;
  };

  std::vector<Named> named_values(Item item) const {
    std::vector<Named> out;
    if (is_equation(item) && tree_[item.id].count == 2) {
      const int32_t left = tree_.kid(item.id, 0), right = tree_.kid(item.id, 1);
      if (tree_[left].kind != Kind::tuple || tree_[right].kind != Kind::tuple ||
          tree_[left].count != tree_[right].count)
        return {};
      for (size_t i = 0; i < tree_.kids(left).size(); ++i)
        out.push_back({tree_.kid(left, i), {tree_.kid(right, i), item.sign}});
    } else if (is_collection(kind(item))) {
      for (const int32_t kid : tree_.kids(item.id)) {
        const Item part{kid, item.sign};
        if (!is_equation(part)) return {};
        out.push_back({tree_.kid(kid, 0), {tree_.kids(kid).back(), item.sign}});
      }
    }
    for (size_t i = 0; i < out.size(); ++i) {
      if (!is_name(tree_, out[i].name)) return {};
      // x = 1 or x = 2 are values of one name.
      for (size_t j = 0; j < i; ++j)
        if (same_tree(tree_, out[i].name, out[j].name)) return {};
    }
    return out.size() > 1 ? out : std::vector<Named>();
  }

  // x_1, x_2: one name with subscripts.
  bool are_indexed(const std::vector<Named>& named) const {
    const auto base = [&](const Named& one) -> std::string_view {
      if (tree_[one.name].kind != Kind::symbol) return "";
      const std::string_view name = tree_.name(one.name);
      return name.substr(0, name.find('_') == std::string_view::npos ? 0 : name.find('_'));
    };
    return std::ranges::all_of(named, [&](const Named& one) {
      return !base(one).empty() && base(one) == base(named.front());
    });
  }

  // By their names where both sides name the values, in order where one does.
  std::optional<bool> same_named(Item gold, Item answer) {
    const std::vector<Named> a = named_values(gold), b = named_values(answer);
    if (a.empty() && b.empty()) return std::nullopt;
    if (!a.empty() && !b.empty()) {
      if (a.size() != b.size()) return false;
      return std::ranges::all_of(a, [&](const Named& one) {
        const auto other = std::ranges::find_if(
            b, [&](const Named& named) { return same_tree(tree_, one.name, named.name); });
        return other != b.end() && equal(one.value, other->value);
      });
    }
    const Item bare = a.empty() ? gold : answer;
    if (!is_collection(kind(bare))) return std::nullopt;
    const std::vector<Named>& named = a.empty() ? b : a;
    if (are_indexed(named) && kind(bare) != Kind::tuple)
      return std::nullopt;  // as roots: any order
    if (tree_.kids(bare.id).size() != named.size()) return false;
    for (size_t i = 0; i < named.size(); ++i) {
      const Item value = named[i].value;
      // equal() may add nodes, and so move kids.
      const Item other{tree_.kid(bare.id, i), bare.sign};
      if (!(a.empty() ? equal(other, value) : equal(value, other))) return false;
    }
    return true;
  }

  bool same_relation(Item gold, Item answer) {
    if (names_a_value(gold) && names_a_value(answer)) {
      const Item name{tree_.kid(gold.id, 0), gold.sign},
          other{tree_.kid(answer.id, 0), answer.sign};
      const Item value{tree_.kids(gold.id).back(), gold.sign},
          other_value{tree_.kids(answer.id).back(), answer.sign};
      if (same_tree(tree_, name.id, other.id) && equal(value, other_value)) return true;
      return proportional(tree_, name, value, other, other_value, false, budget_);
    }
    if (const std::optional<bool> same = same_solutions(gold, answer)) return *same;
    const auto relations = tree_.relations(gold.id), others = tree_.relations(answer.id);
    if (relations.size() != others.size()) return false;
    for (size_t i = 0; i < relations.size(); ++i)
      if (!same_step(gold, relations[i], answer, others[i], i, i)) return same_turned(gold, answer);
    return true;
  }

  // a < b < c read from the right: c > b > a.
  bool same_turned(Item gold, Item answer) {
    const auto relations = tree_.relations(gold.id), others = tree_.relations(answer.id);
    for (size_t i = 0; i < relations.size(); ++i)
      if (!same_step(gold, relations[i], answer, others[others.size() - 1 - i], i,
                     others.size() - 1 - i))
        return false;
    return true;
  }

  bool same_step(Item gold, Relation relation, Item answer, Relation other, size_t at,
                 size_t other_at) {
    Item left{tree_.kid(gold.id, at), gold.sign}, right{tree_.kid(gold.id, at + 1), gold.sign};
    Item other_left{tree_.kid(answer.id, other_at), answer.sign};
    Item other_right{tree_.kid(answer.id, other_at + 1), answer.sign};
    if (turned_up(relation)) std::swap(left, right);
    if (turned_up(other)) std::swap(other_left, other_right);
    if (relation != other) return false;
    const bool up_to_sign =
        relation == Relation::equal || relation == Relation::unequal || relation == Relation::about;
    return proportional(tree_, left, right, other_left, other_right, !up_to_sign, budget_);
  }

  // Makes > a <, and tells that the sides change.
  static bool turned_up(Relation& relation) {
    if (relation == Relation::greater)
      relation = Relation::less;
    else if (relation == Relation::greater_equal)
      relation = Relation::less_equal;
    else
      return false;
    return true;
  }

  // Of inequalities in one symbol each.
  std::optional<bool> same_solutions(Item gold, Item answer) {
    if (is_equation(gold) || is_equation(answer)) return std::nullopt;
    return reals(gold, answer);
  }

  // Sets.

  std::optional<bool> reals(Item gold, Item answer) {
    const std::optional<Solved> a = real_set_of(tree_, gold.id, budget_);
    if (!a) return std::nullopt;
    const std::optional<Solved> b = real_set_of(tree_, answer.id, budget_);
    if (!b) return std::nullopt;
    const auto unnamed = [&](const Solved& one) { return one.symbol == kNone || one.is_unnamed; };
    if (!unnamed(*a) && !unnamed(*b) && a->symbol != b->symbol) return false;
    return same_set(a->set, b->set);
  }

  bool same_reals(Item gold, Item answer) { return reals(gold, answer).value_or(false); }

  bool same_sets(Item gold, Item answer) {
    const Kind a = kind(gold), b = kind(answer);
    const bool finite = a == Kind::list || a == Kind::set,
               other_finite = b == Kind::list || b == Kind::set;
    if (finite && other_finite) {
      if (!differ_in_joining(gold, answer) && match(items(gold), items(answer))) return true;
      return a == Kind::list && b == Kind::list && same_reals(gold, answer);
    }
    if (a == Kind::tuple && b == Kind::tuple) return in_order(items(gold), items(answer));
    if ((a == Kind::tuple && b == Kind::list) || (a == Kind::list && b == Kind::tuple))
      return in_order(items(gold), items(answer)) || same_reals(gold, answer);
    if ((a == Kind::tuple && b == Kind::set) || (a == Kind::set && b == Kind::tuple)) return false;
    // One element in brackets of a set, or without.
    if (finite && !is_set_like(b)) return match(items(gold), {answer});
    if (other_finite && !is_set_like(a)) return match({gold}, items(answer));
    if (a == Kind::interval && b == Kind::interval)
      return tree_[gold.id].detail == tree_[answer.id].detail &&
             in_order(items(gold), items(answer));
    if (const std::optional<bool> same = reals(gold, answer)) return *same;
    // Unions of what has symbols in its bounds.
    if (a != b || a != Kind::set_union) return false;
    std::vector<Item> parts, others;
    collect(gold, parts);
    collect(answer, others);
    return match(parts, others);
  }

  // "x > 3 and x < 5" is not "x > 3 or x < 5".
  bool differ_in_joining(Item gold, Item answer) const {
    const auto joined = [&](Item item) {
      return kind(item) == Kind::list ? static_cast<Joined>(tree_[item.id].detail) : Joined::comma;
    };
    const bool both = joined(gold) == Joined::both || joined(answer) == Joined::both;
    const bool either = joined(gold) == Joined::either || joined(answer) == Joined::either;
    const auto is_inequality = [&](int32_t kid) {
      return tree_[kid].kind == Kind::relation && !is_equation({kid});
    };
    return both && either && std::ranges::any_of(tree_.kids(gold.id), is_inequality);
  }

  void collect(Item item, std::vector<Item>& parts) const {
    if (kind(item) != Kind::set_union) return parts.push_back(item);
    for (const int32_t kid : tree_.kids(item.id)) collect({kid, item.sign}, parts);
  }

  // What is no set.

  bool same_scalar(Item gold, Item answer) {
    if (const std::optional<bool> same = same_matrices(gold, answer)) return *same;
    if (kind(answer) == Kind::based) return same_based(gold, answer);
    if (is_word(gold) || is_word(answer)) {
      const std::string word = letters(tree_, gold.id);
      if (!word.empty() && word == letters(tree_, answer.id)) return true;
    }
    const bool symbols =
        contains(tree_, gold.id, Kind::symbol) || contains(tree_, answer.id, Kind::symbol);
    if (symbols) return identical(tree_, gold, answer, budget_);
    const Scalar a = scalar_of(tree_, gold.id, sign_of(gold), budget_);
    if (a.state == Scalar::State::none) return false;
    return same_number(a, scalar_of(tree_, answer.id, sign_of(answer), budget_));
  }

  // a : b : c up to a factor.
  bool same_ratio(Item gold, Item answer) {
    if (kind(gold) != kind(answer) || tree_[gold.id].count != tree_[answer.id].count) return false;
    for (size_t i = 1; i < static_cast<size_t>(tree_[gold.id].count); ++i) {
      if (tree_.full()) return false;
      const std::array<int32_t, 2> one = {tree_.kid(gold.id, 0), tree_.kid(answer.id, i)},
                                   other = {tree_.kid(gold.id, i), tree_.kid(answer.id, 0)};
      const int32_t left = tree_.add(Kind::product, one), right = tree_.add(Kind::product, other);
      if (!same_scalar({left, gold.sign}, {right, gold.sign})) return false;
    }
    return true;
  }

  // 13_7 is 10; a gold in that base asks for the digits. An answer may leave out the base (see
  // scalar_of), and not add one.
  bool same_based(Item gold, Item answer) {
    if (kind(gold) == Kind::based)
      return equal({tree_.kid(gold.id, 0)}, {tree_.kid(answer.id, 0)}) &&
             equal({tree_.kid(gold.id, 1)}, {tree_.kid(answer.id, 1)});
    Rational digits, base;
    Evaluator evaluator(tree_, budget_);
    if (evaluator.exact(tree_.kid(answer.id, 0), 1, digits) != Exactness::exact ||
        evaluator.exact(tree_.kid(answer.id, 1), 1, base) != Exactness::exact ||
        !is_integer(digits) || !is_integer(base) || base < 2 || base > 10)
      return false;
    Integer value = 0;
    for (const char digit : numerator(digits).str()) {
      if (!is_digit(digit) || digit - '0' >= base || !budget_.spend()) return false;
      value = value * Integer(numerator(base)) + (digit - '0');
    }
    Scalar scalar;
    scalar.state = Scalar::State::exact;
    scalar.exact = Rational(value);
    return same_number(scalar_of(tree_, gold.id, sign_of(gold), budget_), scalar);
  }

  static int sign_of(Item item) { return item.sign < 0 ? -1 : 1; }

  // A name of several letters, as \text{Yes}.
  bool is_word(Item item) const {
    return kind(item) == Kind::symbol && tree_.name(item.id).size() > 1;
  }

  std::optional<bool> same_matrices(Item gold, Item answer) {
    if (!contains(tree_, gold.id, Kind::matrix) && !contains(tree_, answer.id, Kind::matrix))
      return std::nullopt;
    const int32_t a = as_matrix(tree_, gold.id), b = as_matrix(tree_, answer.id);
    if (a == kNone || b == kNone || tree_[a].detail != tree_[b].detail) return false;
    return in_order(items({a, gold.sign}), items({b, answer.sign}));
  }

  Tree& tree_;
  Budget& budget_;
};

}  // namespace

bool same_answer(Tree& tree, int32_t gold, int32_t answer, Budget& budget) {
  return Comparison(tree, budget).equal({gold}, {answer}) && !budget.spent();
}

bool has_value(const Tree& tree, int32_t id, Budget& budget) {
  switch (tree[id].kind) {
    case Kind::list:
    case Kind::set:
    case Kind::tuple:
    case Kind::ratio:
    case Kind::interval:
    case Kind::set_union:
    case Kind::intersection:
    case Kind::difference:
    case Kind::matrix:
    case Kind::relation:
    case Kind::member:
      return std::ranges::all_of(tree.kids(id),
                                 [&](int32_t kid) { return has_value(tree, kid, budget); });
    case Kind::empty_set:
    case Kind::number_set:
      return true;
    default:
      break;
  }
  if (contains(tree, id, Kind::matrix)) return true;
  if (contains(tree, id, Kind::symbol)) return is_defined(tree, {id}, budget);
  return scalar_of(tree, id, 1, budget).state != Scalar::State::none;
}

}  // namespace vernier::math
