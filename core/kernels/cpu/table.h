// The inner loops, built once for each instruction set. Plain pointers and no standard library:
// these files have flags of their own, and an inline function of a library compiled here could end
// up serving the whole program (on a processor that does not have the instructions).
#pragma once

namespace vernier::kernels {

/// Heads that read keys and values together.
constexpr long kHeadsTogether = 3;

/// One build of gemm.cpp: c [rows, columns] = a times a panel, columns <= 32. A panel is `inner`
/// rows of 32 columns, all of them readable, in the format of the function's name.
struct GemmTable {
  /// c (=, or += where `accumulate`) sum over k of a(i, k) b(k, j), where a(i, k) is
  /// a[i * a_row + k * a_step] and b(k, j) is b[k * b_step + j].
  void (*fp32)(const float* a, long a_row, long a_step, const float* b, long b_step, float* c,
               long c_row, long rows, long inner, long columns, bool accumulate);
  /// The upper half of the fp32 number b(k, j) is b[k * 32 + j].
  void (*bf16)(const float* a, long a_row, const unsigned short* b, float* c, long c_row, long rows,
               long inner, long columns);
  /// b(k, j) is b[k * 32 + j] * scales[j].
  void (*int8)(const float* a, long a_row, const signed char* b, const float* scales, float* c,
               long c_row, long rows, long inner, long columns);
};

extern const GemmTable kGemmAvx512, kGemmAvx2, kGemmBase;

/// Columns of a panel of pairs that lie together.
constexpr long kPairColumns = 16;

/// One build of pairs.cpp: c [rows, columns] = a times a panel, columns <= 32, both in words of two
/// bf16 numbers, that of an even k in the low half: a(i, k) is in a[i * a_row + k / 2], b(k, j) in
/// b[(j / 16 * pairs + k / 2) * 16 + j % 16]. Sums are fp32. `pairs` is a multiple of 16, and a row
/// has as many words.
using PairsProduct = void(const unsigned* a, long a_row, const unsigned* b, float* c, long c_row,
                          long rows, long pairs, long columns);
PairsProduct pairs_amx, pairs_avx512bf16, pairs_avx512, pairs_avx2, pairs_base;

/// One build of loops.cpp. Sizes are longs, all arrays fp32.
struct CpuTable {
  void (*rms_norm)(const float* x, const float* w, float* y, float* inverse_rms, long rows,
                   long width, float eps);
  void (*rms_norm_backward)(const float* dy, const float* x, const float* w,
                            const float* inverse_rms, float* dx, float* dw, long rows, long width);
  void (*swiglu)(const float* gate_up, float* y, long y_row, long rows, long width);
  void (*swiglu_backward)(const float* dy, const float* gate_up, float* d_gate_up, long rows,
                          long width);

  /// Queries [heads][size] of one token against the tokens [from, to), whose keys and values all
  /// the heads share. k_columns is tiles of 16 tokens, [size][16] each, v [to][size] a value a row.
  /// `scores` has room for kHeadsTogether times (`to` - `from` + 48). out [heads][size], log_sums
  /// [heads]: the log-sum-exp of the scaled scores, where it is not null. `slopes` [heads], where
  /// it is not null: what a token of distance takes from a score.
  void (*attend)(const float* queries, long heads, const float* k_columns, const float* v,
                 float* out, float* log_sums, float* scores, const float* slopes, long from,
                 long to, long size, float scale);
  /// The same from pages of 64 tokens: at pages[i] + at lie four tiles of keys, and values_at
  /// floats on values [64][size].
  void (*attend_paged)(const float* queries, long heads, const float* const* pages, long at,
                       long values_at, float* out, float* log_sums, float* scores,
                       const float* slopes, long from, long to, long size, float scale);
  /// The gradients of the first of them, of all heads. `k` [to][size] by rows too; v_columns like
  /// k_columns. dq [heads][size] is written, and for the tokens [from, to) the weights and the
  /// gradients of the scores, of a head `row` apart; `row` is at least `to` - `from` + 48.
  /// `scratch`: room for 2 kHeadsTogether rows.
  void (*attend_backward)(const float* d_out, const float* queries, long heads,
                          const float* k_columns, const float* v_columns, const float* k,
                          const float* out, const float* log_sums, float* dq, float* weights,
                          float* d_scores, long row, float* scratch, const float* slopes, long from,
                          long to, long size, float scale);
  /// out [rows][size] += sum over r < count, in order, of weights[r * row + j] vectors[r][size].
  void (*add_outer)(const float* weights, long row, const float* vectors, long count, float* out,
                    long rows, long size);

  /// The largest of `count` numbers, NaN left out; -3.4e38 where there is none.
  float (*largest)(const float* values, long count);
  /// weights = exp((logits - top) * scale), and their sum; NaN where a logit is.
  float (*weigh)(const float* logits, float top, float scale, float* weights, long count);

  /// Rounded to bf16, to nearest and ties to even; a NaN stays one.
  void (*round_bf16)(const float* values, unsigned short* out, long count);
  void (*widen_bf16)(const unsigned short* values, float* out, long count);
  /// The transpose of 16 rows of 16 words, into rows `to_row` apart.
  void (*transpose_words)(const unsigned* from, unsigned* to, long to_row);

  /// One row: log-sum-exp of logits * scale; where `entropy` is not null, the entropy too.
  float (*log_sum_exp)(const float* logits, float scale, float* entropy, long count);
  /// The sum of p^2, p = exp(logits * scale - log_sum).
  float (*square_mass)(const float* logits, float scale, float log_sum, long count);
  /// A target below 0 is not among these logits.
  void (*log_softmax_backward)(float* logits, long target, float scale, float log_sum,
                               float entropy, float d_logprob, float d_entropy, long count);

  void (*adamw)(float* weights, const float* gradient, float* moment1, float* moment2, long count,
                float learning_rate, float beta1, float beta2, float eps, float decay,
                float correction1, float correction2, float grad_scale);
  double (*sum_of_squares)(const float* values, long count);
};

extern const CpuTable kTableAvx512, kTableAvx2, kTableBase;

}  // namespace vernier::kernels
