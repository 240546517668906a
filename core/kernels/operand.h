// What products of training read: fp32 numbers as they are, or rounded to bf16 in whole words a
// row. `Half` is float or uint16_t. For the kernels' own files.
#pragma once

#include <algorithm>
#include <type_traits>

#include "core/kernels/cpu/build.h"

namespace vernier::kernels {

template <class Half>
constexpr bool kRounded = std::is_same_v<Half, uint16_t>;

inline void store(const float* from, int64_t count, float* to) { std::copy_n(from, count, to); }
inline void store(const float* from, int64_t count, uint16_t* to) {
  table().round_bf16(from, to, count);
}

inline void load(const float* from, int64_t count, float* to) { std::copy_n(from, count, to); }
inline void load(const uint16_t* from, int64_t count, float* to) {
  table().widen_bf16(from, to, count);
}

// Numbers of a row that a product multiplies: rounded ones fill whole words of tiles.
template <class Half>
int64_t padded(int64_t width) {
  return kRounded<Half> ? 2 * pair_words(width) : width;
}

// [rows, width] as a product reads it, rows padded() apart.
inline void store_operand(const float* from, int64_t rows, int64_t width, float* to) {
  std::copy_n(from, rows * width, to);
}
inline void store_operand(const float* from, int64_t rows, int64_t width, uint16_t* to) {
  round_rows(from, rows, width, pair_words(width), to);
}

// c = a times the columns [first, first + columns) of b, which are whole panels or go to its end; a
// as store_operand() left it, rows of c `c_row` apart.
template <class Half>
void multiply(const Half* a, const PackedMatrix& b, int64_t first, int64_t columns, float* c,
              int64_t c_row, int64_t rows, const float* bias) {
  const float* numbers = nullptr;
  const uint32_t* pairs = nullptr;
  if constexpr (kRounded<Half>)
    pairs = reinterpret_cast<const uint32_t*>(a);
  else
    numbers = a;
  multiply_rows(numbers, pairs, b, first / kPanel, tasks_for(first + columns, kPanel), c, c_row,
                rows, bias);
}
template <class Half>
void multiply(const Half* a, const PackedMatrix& b, float* c, int64_t rows, const float* bias) {
  multiply(a, b, 0, b.columns, c, b.columns, rows, bias);
}

// c [columns_a, columns_b] += a^T b, for rows of halves `a_row` and `b_row` apart, of fp32 dense
// ones.
template <class Half>
void multiply_transposed(const Half* a, int64_t a_row, const Half* b, int64_t b_row, float* c,
                         int64_t rows, int64_t columns_a, int64_t columns_b) {
  if constexpr (kRounded<Half>)
    gemm_tn(a, a_row, b, b_row, c, rows, columns_a, columns_b);
  else
    gemm_tn(a, b, c, rows, columns_a, columns_b);
}

}  // namespace vernier::kernels
