#include "rewards/verify/math/naming.h"

#include <algorithm>
#include <vector>

namespace vernier::math {
namespace {

// |AB|, \max f; the sine of anything.
bool is_naming(const Tree& tree, int32_t id) {
  if (tree[id].kind != Kind::function || tree[id].count != 1) return false;
  const auto function = static_cast<Function>(tree[id].detail);
  if (function >= Function::sin && function <= Function::csc) return true;
  return (function == Function::abs || function == Function::max || function == Function::min) &&
         is_name(tree, tree.kid(id, 0));
}

// The symbols but for those that something is applied to: f of f(5).
void collect_free(const Tree& tree, int32_t id, std::vector<int32_t>& symbols) {
  if (tree[id].kind == Kind::symbol) symbols.push_back(tree[id].index);
  if (tree[id].kind == Kind::product && is_name(tree, id) &&
      !contains(tree, tree.kid(id, 1), Kind::symbol))
    return;
  for (const int32_t kid : tree.kids(id)) collect_free(tree, kid, symbols);
}

}  // namespace

bool is_name(const Tree& tree, int32_t id) {
  const auto kids = tree.kids(id);
  switch (tree[id].kind) {
    case Kind::symbol:
    case Kind::euler:
    case Kind::imaginary:
    case Kind::pi:
      return true;
    case Kind::product:
      return is_name(tree, kids[0]) &&
             (is_name(tree, kids[1]) || !contains(tree, kids[1], Kind::symbol));
    case Kind::power:
      return is_naming(tree, kids[0]) ||
             (tree[kids[0]].kind == Kind::symbol && tree[kids[1]].kind == Kind::negate);
    case Kind::function:
      return is_naming(tree, id);
    case Kind::tuple:
      return std::ranges::all_of(kids, [&](int32_t kid) { return is_name(tree, kid); });
    default:
      return false;
  }
}

bool asks_for_value(const Tree& tree, int32_t id) {
  std::vector<int32_t> symbols;
  collect_free(tree, id, symbols);
  std::ranges::sort(symbols);
  const auto different = std::ranges::unique(symbols).begin() - symbols.begin();
  return is_name(tree, id) || different > 1 || (different == 0 && contains(tree, id, Kind::symbol));
}

}  // namespace vernier::math
