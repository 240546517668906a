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

// Numbers that are stored in less than a word. The compiler's own conversion of a vector of bytes
// goes by way of single numbers.
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
inline Vec floats_of(const unsigned short* halves) {
#if VERNIER_LANES == 16
  const __m256i packed = _mm256_loadu_si256(reinterpret_cast<const __m256i_u*>(halves));
  const __m512i words = _mm512_maskz_cvtepu16_epi32(0xFFFF, packed);
#elif VERNIER_LANES == 8
  const __m128i packed = _mm_loadu_si128(reinterpret_cast<const __m128i_u*>(halves));
  const __m256i words = _mm256_cvtepu16_epi32(packed);
#else
  const IntVec words = {halves[0], halves[1], halves[2], halves[3]};
#endif
  const IntVec bits = reinterpret_cast<const IntVec&>(words) << 16;
  return reinterpret_cast<const Vec&>(bits);
}

// A panel gives vector v of its row k. With a row or two the memory sets the pace: what comes after
// is asked for early.
constexpr long kAhead = 8192;  // bytes
struct FloatPanel {
  const float* b;
  long step;
  Vec column(long k, long v) const { return load(b + k * step + v * kLanes); }
  void fetch(long) const {}
  FloatPanel from(long v) const { return {b + v * kLanes, step}; }
};

template <class Stored>
struct SmallPanel {
  const Stored* b;
  Vec column(long k, long v) const { return floats_of(b + k * kPanelWidth + v * kLanes); }
  void fetch(long k) const { __builtin_prefetch(b + k * kPanelWidth + kAhead / sizeof(Stored)); }
  SmallPanel from(long v) const { return {b + v * kLanes}; }
};

// Rows of a: a(i, k) is a[i * row + k * step]. A step of 1 is a constant where all formats but fp32
// have it: few registers are left for addresses.
template <bool kDense>
struct Rows {
  const float* a;
  long row, step;
  long next() const { return kDense ? 1 : step; }
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

template <long kRows, long kWide, bool kDense, class Panel>
inline void tile(const Rows<kDense>& in, const Panel& panel, const Target& out, long inner) {
  constexpr long kThird = (kRows + 2) / 3;  // one address serves three rows
  const float* at[kThird];
  for (long i = 0; i < kThird; ++i) at[i] = in.a + 3 * i * in.row;
  const long row = in.row, next = in.next();
  Vec sum[kRows][kWide] = {};
  for (long k = 0; k < inner; ++k) {
    Vec column[kWide];
    for (long v = 0; v < kWide; ++v) column[v] = panel.column(k, v);
    if (kRows <= 2) panel.fetch(k);
    for (long i = 0; i < kRows; ++i) {
      const Vec factor = all(at[i / 3][i % 3 * row]);
      for (long v = 0; v < kWide; ++v) sum[i][v] += factor * column[v];
    }
    for (long i = 0; i < kThird; ++i) at[i] += next;
  }
  for (long i = 0; i < kRows; ++i)
    for (long v = 0; v < kWide; ++v) out.put(i, v, sum[i][v]);
}

// All of a panel for kRows rows, kWide vectors at a time.
template <long kRows, long kWide, bool kDense, class Panel>
[[gnu::noinline]] void across(const Rows<kDense>& in, const Panel& panel, const Target& out,
                              long inner) {
  for (long v = 0; v * kLanes < out.columns; v += kWide) {
    Target part = out;
    part.c += v * kLanes;
    part.columns -= v * kLanes;
    if (part.scales != nullptr) part.scales += v * kLanes;
    tile<kRows, kWide>(in, panel.from(v), part, inner);
  }
}

template <bool kDense, class Panel>
void strip(Rows<kDense> in, const Panel& panel, Target out, long rows, long inner) {
  const auto pass = [&](auto kernel, long count) {
    for (; rows >= count; rows -= count) {
      kernel(in, panel, out, inner);
      in.a += count * in.row;
      out.c += count * out.row;
    }
  };
  constexpr long kMost = VERNIER_ROWS, kPair = 2;
  pass(across<kMost, kPair, kDense, Panel>, kMost);
  if constexpr (kMost > 8) pass(across<8, kPair, kDense, Panel>, 8);
  pass(across<4, kPair, kDense, Panel>, 4);
  pass(across<2, kVectors, kDense, Panel>, 2);
  pass(across<1, kVectors, kDense, Panel>, 1);
}

void fp32(const float* a, long a_row, long a_step, const float* b, long b_step, float* c,
          long c_row, long rows, long inner, long columns, bool accumulate) {
  const Target out{c, c_row, columns, nullptr, accumulate};
  if (a_step == 1)
    strip(Rows<true>{a, a_row, 1}, FloatPanel{b, b_step}, out, rows, inner);
  else
    strip(Rows<false>{a, a_row, a_step}, FloatPanel{b, b_step}, out, rows, inner);
}

void bf16(const float* a, long a_row, const unsigned short* b, float* c, long c_row, long rows,
          long inner, long columns) {
  strip(Rows<true>{a, a_row, 1}, SmallPanel<unsigned short>{b},
        Target{c, c_row, columns, nullptr, false}, rows, inner);
}

void int8(const float* a, long a_row, const signed char* b, const float* scales, float* c,
          long c_row, long rows, long inner, long columns) {
  strip(Rows<true>{a, a_row, 1}, SmallPanel<signed char>{b},
        Target{c, c_row, columns, scales, false}, rows, inner);
}

}  // namespace

const GemmTable VERNIER_GEMM = {.fp32 = fp32, .bf16 = bf16, .int8 = int8};

}  // namespace vernier::kernels
