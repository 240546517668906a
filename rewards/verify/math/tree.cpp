#include "rewards/verify/math/tree.h"

#include <algorithm>

namespace vernier::math {

int32_t Tree::add(Kind kind, std::span<const int32_t> kids, uint8_t detail) {
  Node node;
  node.kind = kind;
  node.detail = detail;
  node.first = static_cast<int32_t>(kids_.size());
  node.count = static_cast<int32_t>(kids.size());
  kids_.insert(kids_.end(), kids.begin(), kids.end());
  nodes_.push_back(node);
  return static_cast<int32_t>(nodes_.size() - 1);
}

int32_t Tree::add_number(Rational value, bool decimal) {
  const int32_t id = add(Kind::number, {});
  nodes_.back().decimal = decimal;
  nodes_.back().index = static_cast<int32_t>(numbers_.size());
  numbers_.push_back(std::move(value));
  return id;
}

int32_t Tree::add_symbol(std::string_view name) {
  const int32_t id = add(Kind::symbol, {});
  const auto known = std::find(names_.begin(), names_.end(), name);
  nodes_.back().index = static_cast<int32_t>(known - names_.begin());
  if (known == names_.end()) names_.emplace_back(name);
  return id;
}

int32_t Tree::index_of(std::string_view name) const {
  const auto known = std::find(names_.begin(), names_.end(), name);
  return known == names_.end() ? kNone : static_cast<int32_t>(known - names_.begin());
}

int32_t Tree::add_relation(std::span<const int32_t> sides, std::span<const Relation> relations) {
  const int32_t id = add(Kind::relation, sides);
  nodes_.back().index = static_cast<int32_t>(relations_.size());
  relations_.insert(relations_.end(), relations.begin(), relations.end());
  return id;
}

bool same_tree(const Tree& tree, int32_t a, int32_t b) {
  if (a == b) return true;
  const Node &one = tree[a], &other = tree[b];
  if (one.kind != other.kind || one.detail != other.detail || one.count != other.count)
    return false;
  if (one.kind == Kind::number) return tree.number(a) == tree.number(b);
  if (one.kind == Kind::symbol) return one.index == other.index;
  if (one.kind == Kind::relation && !std::ranges::equal(tree.relations(a), tree.relations(b)))
    return false;
  for (size_t i = 0; i < static_cast<size_t>(one.count); ++i)
    if (!same_tree(tree, tree.kid(a, i), tree.kid(b, i))) return false;
  return true;
}

bool contains(const Tree& tree, int32_t id, Kind kind) {
  if (tree[id].kind == kind) return true;
  return std::ranges::any_of(tree.kids(id), [&](int32_t kid) { return contains(tree, kid, kind); });
}

namespace {

bool append_letters(const Tree& tree, int32_t id, std::string& out) {
  switch (tree[id].kind) {
    case Kind::symbol:
      out += tree.name(id);
      return true;
    case Kind::euler:
      out += 'e';
      return true;
    case Kind::imaginary:
      out += 'i';
      return true;
    case Kind::pi:
      out += "pi";
      return true;
    case Kind::product:
      return append_letters(tree, tree.kid(id, 0), out) &&
             append_letters(tree, tree.kid(id, 1), out);
    default:
      return false;
  }
}

}  // namespace

std::string letters(const Tree& tree, int32_t id) {
  std::string out;
  if (!append_letters(tree, id, out)) return "";
  if (out.size() > 1)
    for (char& c : out)
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  return out;
}

}  // namespace vernier::math
