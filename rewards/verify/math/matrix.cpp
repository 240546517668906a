#include "rewards/verify/math/matrix.h"

namespace vernier::math {
namespace {

int32_t transposed(Tree& tree, int32_t matrix) {
  const std::vector<int32_t> cells(tree.kids(matrix).begin(), tree.kids(matrix).end());
  const size_t columns = tree[matrix].detail, rows = cells.size() / columns;
  if (rows > 255) return kNone;
  std::vector<int32_t> out;
  for (size_t j = 0; j < columns; ++j)
    for (size_t i = 0; i < rows; ++i) out.push_back(cells[i * columns + j]);
  return tree.add(Kind::matrix, out, static_cast<uint8_t>(rows));
}

// Every cell with the same done to it; `factor` kNone where there is only a sign.
int32_t scaled(Tree& tree, int32_t matrix, Kind kind, int32_t factor) {
  const uint8_t columns = tree[matrix].detail;
  std::vector<int32_t> cells(tree.kids(matrix).begin(), tree.kids(matrix).end());
  for (int32_t& cell : cells) {
    const int32_t both[] = {cell, factor};
    cell = tree.add(kind, std::span(both, factor == kNone ? 1u : 2u));
  }
  return tree.add(Kind::matrix, cells, columns);
}

}  // namespace

int32_t as_matrix(Tree& tree, int32_t id) {
  const Kind kind = tree[id].kind;
  if (kind == Kind::matrix) return id;
  if (kind != Kind::negate && kind != Kind::product && kind != Kind::quotient &&
      kind != Kind::power)
    return kNone;
  const int32_t first = tree.kid(id, 0);
  const int32_t second = tree[id].count > 1 ? tree.kid(id, 1) : kNone;
  if (kind == Kind::power) {
    const bool is_t = tree[second].kind == Kind::symbol && tree.name(second) == "T";
    const int32_t matrix = is_t ? as_matrix(tree, first) : kNone;
    return matrix == kNone ? kNone : transposed(tree, matrix);
  }
  const bool behind = kind == Kind::product && contains(tree, second, Kind::matrix);
  const int32_t matrix = as_matrix(tree, behind ? second : first);
  const int32_t factor = behind ? first : second;
  if (matrix == kNone || (factor != kNone && contains(tree, factor, Kind::matrix))) return kNone;
  return scaled(tree, matrix, kind, factor);
}

}  // namespace vernier::math
