// Products of rows with panels of 32 columns where both are bf16, two numbers a word: what
// AVX512-BF16 multiplies. VERNIER_PAIRS names the function of one instruction set; those without
// the instruction do the same sums with more of them.
//
// An element of the result is one chain over the pairs in order, in each the odd product first, as
// the instruction has it; products of two bf16 numbers are exact in fp32.
#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

#include "core/kernels/cpu/table.h"
#include "core/kernels/cpu/vector.h"

namespace vernier::kernels {
namespace {

inline Vec as_floats(IntVec bits) { return reinterpret_cast<const Vec&>(bits); }

inline Vec add_pairs(Vec sum, IntVec a, IntVec b) {
#if defined(__AVX512BF16__)
  return _mm512_dpbf16_ps(sum, __builtin_bit_cast(__m512bh, a), __builtin_bit_cast(__m512bh, b));
#else
  constexpr int kHigh = static_cast<int>(0xFFFF0000U);
  sum += as_floats(a & kHigh) * as_floats(b & kHigh);
  return sum + as_floats(a << 16) * as_floats(b << 16);
#endif
}

inline IntVec load_words(const unsigned* p) { return *reinterpret_cast<const IntVec*>(p); }

// Where column j of a panel begins.
inline const unsigned* column_at(const unsigned* b, long j, long pairs) {
  return b + j / kPairColumns * kPairColumns * pairs + j % kPairColumns;
}

template <long kRows>
inline void tile(const unsigned* a, long a_row, const unsigned* b, float* c, long c_row, long pairs,
                 long columns) {
  constexpr long kWide = 2;
  constexpr long kThird = (kRows + 2) / 3;  // one address serves three rows
  const unsigned* at[kThird];
  for (long i = 0; i < kThird; ++i) at[i] = a + 3 * i * a_row;
  Vec sum[kRows][kWide] = {};
  for (long k = 0; k < pairs; ++k) {
    IntVec column[kWide];
    for (long v = 0; v < kWide; ++v)
      column[v] = load_words(column_at(b, v * kLanes, pairs) + k * kPairColumns);
    for (long i = 0; i < kRows; ++i) {
      const IntVec factor = static_cast<int>(at[i / 3][i % 3 * a_row]) - IntVec{};
      for (long v = 0; v < kWide; ++v) sum[i][v] = add_pairs(sum[i][v], factor, column[v]);
    }
    for (long i = 0; i < kThird; ++i) ++at[i];
  }
  for (long i = 0; i < kRows; ++i)
    for (long v = 0; v < kWide; ++v) {
      const long left = columns - v * kLanes;
      if (left >= kLanes)
        store(c + i * c_row + v * kLanes, sum[i][v]);
      else if (left > 0)
        store_part(c + i * c_row + v * kLanes, sum[i][v], left);
    }
}

// All of a panel for kRows rows, two vectors at a time.
template <long kRows>
[[gnu::noinline]] void across(const unsigned* a, long a_row, const unsigned* b, float* c,
                              long c_row, long pairs, long columns) {
  for (long at = 0; at < columns; at += 2 * kLanes)
    tile<kRows>(a, a_row, column_at(b, at, pairs), c + at, c_row, pairs, columns - at);
}

}  // namespace

void VERNIER_PAIRS(const unsigned* a, long a_row, const unsigned* b, float* c, long c_row,
                   long rows, long pairs, long columns) {
  const auto pass = [&](auto kernel, long count) {
    for (; rows >= count; rows -= count) {
      kernel(a, a_row, b, c, c_row, pairs, columns);
      a += count * a_row;
      c += count * c_row;
    }
  };
  constexpr long kMost = VERNIER_ROWS;
  pass(across<kMost>, kMost);
  if constexpr (kMost > 8) pass(across<8>, 8);
  pass(across<4>, 4);
  pass(across<2>, 2);
  pass(across<1>, 1);
}

}  // namespace vernier::kernels
