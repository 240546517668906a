// Expressions as trees: what the parser makes, what the comparison reads.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "rewards/verify/math/number.h"

namespace vernier::math {

enum class Kind : uint8_t {
  number,
  symbol,  // a letter, a word, a name with a subscript
  pi,
  euler,
  imaginary,
  infinity,
  empty_set,
  number_set,  // detail: its letter, 'R'
  negate,
  sum,  // two kids, like the next three
  product,
  quotient,
  power,
  ratio,       // a : b : c, three kids or more
  plus_minus,  // one kid or two; detail 1: the lower sign first
  function,    // detail: Function
  percent,
  degree,
  based,     // digits with the base as subscript; two kids
  list,      // "1, 2": elements without brackets; detail: Joined
  set,       // detail 1: a set builder whose condition says more than a range
  tuple,     // detail 1: in round brackets, which may also be an open interval
  interval,  // detail: kLowOpen, kHighOpen
  set_union,
  intersection,
  difference,
  matrix,    // detail: columns
  relation,  // kids: the compared sides; relations() tells how
  member,    // of a set: element, set
};

enum class Function : uint8_t {
  sqrt,  // its second kid is the degree
  exp,
  ln,
  log,  // log: second kid the base, else 10
  sin,
  cos,
  tan,
  cot,
  sec,
  csc,
  asin,
  acos,
  atan,
  sinh,
  cosh,
  tanh,
  abs,
  floor,
  ceil,
  factorial,
  binomial,
  gcd,
  lcm,
  max,
  min,
  real_part,
  imaginary_part
};

enum class Joined : uint8_t { comma, both, either };  // "1, 2", "1 and 2", "1 or 2"

enum class Relation : uint8_t { equal, unequal, less, less_equal, greater, greater_equal, about };

constexpr uint8_t kLowOpen = 1, kHighOpen = 2;

constexpr int32_t kNone = -1;

/// The name of the symbol that "> 5" is said of.
constexpr std::string_view kUnnamed = "?";

struct Node {
  Kind kind = Kind::number;
  uint8_t detail = 0;
  bool decimal = false;  // a number that was written with a point
  int32_t first = 0;     // its kids are kids[first, first + count)
  int32_t count = 0;
  int32_t index = 0;  // of its number, of its symbol's name, of its relations
};

/// The nodes of gold and answer together, so that both know a symbol by the same id.
class Tree {
 public:
  /// Ids of new nodes. Past kMaxNodes since begin(), full() is true.
  int32_t add(Kind kind, std::span<const int32_t> kids, uint8_t detail = 0);
  int32_t add_number(Rational value, bool decimal);
  int32_t add_symbol(std::string_view name);
  int32_t add_relation(std::span<const int32_t> sides, std::span<const Relation> relations);

  /// Starts another answer: the count of nodes begins anew.
  void begin() { start_ = nodes_.size(); }
  bool full() const { return nodes_.size() - start_ > kMaxNodes; }

  const Node& operator[](int32_t id) const { return nodes_[static_cast<size_t>(id)]; }
  std::span<const int32_t> kids(int32_t id) const {
    const Node& node = (*this)[id];
    return std::span(kids_).subspan(static_cast<size_t>(node.first),
                                    static_cast<size_t>(node.count));
  }
  int32_t kid(int32_t id, size_t place) const { return kids(id)[place]; }
  const Rational& number(int32_t id) const {
    return numbers_[static_cast<size_t>((*this)[id].index)];
  }
  const std::string& name(int32_t id) const {
    return names_[static_cast<size_t>((*this)[id].index)];
  }
  std::span<const Relation> relations(int32_t id) const {
    const Node& node = (*this)[id];
    return std::span(relations_)
        .subspan(static_cast<size_t>(node.index), static_cast<size_t>(node.count - 1));
  }
  size_t num_symbols() const { return names_.size(); }
  /// The index of a symbol's name; kNone where no node has it.
  int32_t index_of(std::string_view name) const;

 private:
  std::vector<Node> nodes_;
  std::vector<int32_t> kids_;
  std::vector<Rational> numbers_;
  std::vector<std::string> names_;
  std::vector<Relation> relations_;
  size_t start_ = 0;
};

/// True where both have one shape and the same leaves.
bool same_tree(const Tree& tree, int32_t a, int32_t b);

/// True where a node of this kind is in the tree below `id`, itself included.
bool contains(const Tree& tree, int32_t id, Kind kind);

/// The letters of a symbol or of a product of symbols in their order, lower case where there are
/// several: "yes" of \text{Yes} and of y·e·s. "" for everything else.
std::string letters(const Tree& tree, int32_t id);

}  // namespace vernier::math
