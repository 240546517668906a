// Products of rows with panels of 32 columns, for every format of the panels. Compiled once for
// each instruction set: VERNIER_GEMM names the table, VERNIER_ROWS how many rows the register file
// holds beside two vectors of a panel row.
//
// An element of the result is one chain of fused multiply-adds over k in order, whatever the tile
// that computes it: a row does not depend on how many rows it comes with.
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "core/kernels/cpu/table.h"
#include "core/kernels/cpu/vector.h"

namespace vernier::kernels {
namespace {

// A panel gives vector v of its row k + s, where kStep rows are read together; `k` is a multiple
// of kStep and s < kStep a constant of the unrolled loop.
struct FloatPanel {
  static constexpr long kStep = 1;
  const float* b;
  long step;
  Vec column(long k, long, long v) const { return load(b + k * step + v * kLanes); }
  FloatPanel from(long v) const { return {b + v * kLanes, step}; }
};

// Rows 2i and 2i + 1 lie in the low and high halves of words: [inner / 2][32] pairs. Taking one out
// is a shift or a mask.
struct Bf16Panel {
  static constexpr long kStep = 2;
  const unsigned* b;
  Vec column(long k, long s, long v) const {
    const IntVec pairs = *reinterpret_cast<const IntVec*>(b + k / 2 * kPanelWidth + v * kLanes);
    const IntVec bits = s == 0 ? pairs << 16 : pairs & static_cast<int>(0xFFFF0000);
    return reinterpret_cast<const Vec&>(bits);
  }
  Bf16Panel from(long v) const { return {b + v * kLanes}; }
};

// The compiler's own conversion of bytes to words goes by way of single numbers.
inline Vec floats_of(const signed char* bytes) {
#if VERNIER_LANES == 16
  const __m128i packed = _mm_loadu_si128(reinterpret_cast<const __m128i_u*>(bytes));
  const __m512i words = _mm512_maskz_cvtepi8_epi32(0xFFFF, packed);
#elif VERNIER_LANES == 8
  const __m256i words = _mm256_cvtepi8_epi32(_mm_loadu_si64(bytes));
#else
  const IntVec words = {bytes[0], bytes[1], bytes[2], bytes[3]};
#endif
  return __builtin_convertvector(reinterpret_cast<const IntVec&>(words), Vec);
}

// [inner][32] bytes; the scale of a column multiplies its sum at the end.
struct Int8Panel {
  static constexpr long kStep = 1;
  const signed char* b;
  Vec column(long k, long, long v) const {
    return floats_of(b + k * kPanelWidth + v * kLanes);
  }
  Int8Panel from(long v) const { return {b + v * kLanes}; }
};

struct Rows {
  const float* a;
  long row, step;
};

struct Target {
  float* c;
  long row, columns;
  const float* scales;  // one a column, or null
  bool accumulate;

  void put(long i, long v, Vec sum) const {
    const long left = columns - v * kLanes;
    if (left <= 0) return;
    float* to = c + i * row + v * kLanes;
    const bool whole = left >= kLanes;
    if (scales != nullptr) sum *= load(scales + v * kLanes);
    if (accumulate) sum = (whole ? load(to) : load_part(to, left, 0.0f)) + sum;
    if (whole)
      store(to, sum);
    else
      store_part(to, sum, left);
  }
};

template <long kRows, long kWide, class Panel>
inline void tile(const Rows& in, const Panel& panel, const Target& out, long inner) {
  Vec sum[kRows][kWide] = {};
  const auto step = [&](long k, long s) __attribute__((always_inline)) {
    Vec column[kWide];
    for (long v = 0; v < kWide; ++v) column[v] = panel.column(k, s, v);
    for (long i = 0; i < kRows; ++i) {
      const Vec factor = all(in.a[i * in.row + (k + s) * in.step]);
      for (long v = 0; v < kWide; ++v) sum[i][v] += factor * column[v];
    }
  };
  long k = 0;
  for (; k + Panel::kStep <= inner; k += Panel::kStep)
    for (long s = 0; s < Panel::kStep; ++s) step(k, s);
  if (k < inner) step(k, 0);  // an odd row out
  for (long i = 0; i < kRows; ++i)
    for (long v = 0; v < kWide; ++v) out.put(i, v, sum[i][v]);
}

// All of a panel for kRows rows, kWide vectors at a time.
template <long kRows, long kWide, class Panel>
void across(const Rows& in, const Panel& panel, const Target& out, long inner) {
  for (long v = 0; v * kLanes < out.columns; v += kWide) {
    Target part = out;
    part.c += v * kLanes;
    part.columns -= v * kLanes;
    if (part.scales != nullptr) part.scales += v * kLanes;
    tile<kRows, kWide>(in, panel.from(v), part, inner);
  }
}

template <class Panel>
void strip(Rows in, const Panel& panel, Target out, long rows, long inner) {
  const auto pass = [&](auto kernel, long count) {
    for (; rows >= count; rows -= count) {
      kernel(in, panel, out, inner);
      in.a += count * in.row;
      out.c += count * out.row;
    }
  };
  constexpr long kMost = VERNIER_ROWS, kPair = 2;
  pass(across<kMost, kPair, Panel>, kMost);
  if constexpr (kMost > 8) pass(across<8, kPair, Panel>, 8);
  pass(across<4, kPair, Panel>, 4);
  pass(across<2, kVectors, Panel>, 2);
  pass(across<1, kVectors, Panel>, 1);
}

void fp32(const float* a, long a_row, long a_step, const float* b, long b_step, float* c,
          long c_row, long rows, long inner, long columns, bool accumulate) {
  strip(Rows{a, a_row, a_step}, FloatPanel{b, b_step},
        Target{c, c_row, columns, nullptr, accumulate}, rows, inner);
}

void bf16(const float* a, long a_row, const unsigned* b, float* c, long c_row, long rows,
          long inner, long columns) {
  strip(Rows{a, a_row, 1}, Bf16Panel{b}, Target{c, c_row, columns, nullptr, false}, rows, inner);
}

void int8(const float* a, long a_row, const signed char* b, const float* scales, float* c,
          long c_row, long rows, long inner, long columns) {
  strip(Rows{a, a_row, 1}, Int8Panel{b}, Target{c, c_row, columns, scales, false}, rows, inner);
}

}  // namespace

const GemmTable VERNIER_GEMM = {.fp32 = fp32, .bf16 = bf16, .int8 = int8};

}  // namespace vernier::kernels
