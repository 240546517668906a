// CPU kernels on raw pointers, each with a plain reference beside it. No torch here.
//
// Letters: T tokens (packed rows), D model width, H query heads, G key-value heads, E head size,
// F feed-forward width, V vocabulary. All arrays are dense and row-major unless a stride is given.
//
// Every fast kernel computes a row of its result from that row of its input by the same sequence of
// operations, whatever the number of rows or threads. So a token's log-probability does not depend
// on what it is batched with, and decoding with a cache equals the full forward pass bit for bit.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/base/buffer.h"

namespace vernier::kernels {

/// Columns of one panel of a packed matrix, a multiple of every vector width.
inline constexpr int64_t kPanel = 32;
/// Tokens of a page of the cache.
inline constexpr int64_t kKeyBlock = 64;
/// Tokens of a tile of keys that lie by columns: [E][kKeyTile]. A token that is added to it writes
/// one number into each cache line of the tile, all of them side by side.
inline constexpr int64_t kKeyTile = 16;
inline constexpr int64_t key_at(int64_t token, int64_t e, int64_t head_size) {
  return (token / kKeyTile * head_size + e) * kKeyTile + token % kKeyTile;
}

inline constexpr int64_t round_up(int64_t value, int64_t unit) {
  return (value + unit - 1) / unit * unit;
}

/// Words of two bf16 numbers that `inner` numbers fill, with zeros behind them.
inline constexpr int64_t pair_words(int64_t inner) { return round_up((inner + 1) / 2, 16); }

/// How the numbers of a packed matrix are stored. Products are summed in fp32 in each of them.
enum class WeightFormat {
  fp32,
  bf16,        // rounded to nearest, ties to even
  int8,        // w = scale * q, |q| <= 127, one scale for all that one output is summed from
  bf16_pairs,  // bf16, and the rows they multiply are rounded too: what AMX and AVX512-BF16 do
};

/// The format of weights in bf16 that this processor multiplies fastest.
WeightFormat bf16_format();

/// A matrix B [inner, columns] in panels of 32 columns, [inner][32] each (bf16_pairs:
/// [2][words][16][2], numbers and words filled up with zeros), the last one filled up with zeros.
struct PackedMatrix {
  WeightFormat format = WeightFormat::fp32;
  int64_t inner = 0, columns = 0;
  Buffer data;
  std::vector<float> scales;  // int8: [columns rounded up to 32]

  int64_t panels() const { return (columns + kPanel - 1) / kPanel; }
  /// bf16_pairs: the words that one output is summed from, two numbers each. Otherwise 0.
  int64_t words() const { return format == WeightFormat::bf16_pairs ? pair_words(inner) : 0; }
  /// Bytes of one panel, and of all of them.
  int64_t stride() const;
  int64_t bytes() const { return panels() * stride(); }
};

/// Packs W^T for y = x W^T: W is [columns, inner].
void pack_transposed(const float* w, int64_t columns, int64_t inner, PackedMatrix& out,
                     WeightFormat format = WeightFormat::fp32);
/// Packs W for dx = dy W: W is [inner, columns]. fp32 or bf16_pairs.
void pack_plain(const float* w, int64_t inner, int64_t columns, PackedMatrix& out,
                WeightFormat format = WeightFormat::fp32);

/// c [rows, columns] = a [rows, inner] B. Accumulates in fp32, over `inner` in order (with AMX over
/// blocks of 32, cpu/tiles.cpp); a scale multiplies the sum. A row does not depend on the others.
/// `bias` [columns] is added to it where there is one, then it to c where `accumulate`.
void gemm(const float* a, const PackedMatrix& b, float* c, int64_t rows,
          const float* bias = nullptr, bool accumulate = false);

/// c [rows, columns] = a [rows, inner] W^T from W [columns, inner] as it is: packs 32 columns at a
/// time, which is worth it for a hundred rows or more. The bits of gemm() with W in `format`.
void gemm_unpacked(const float* a, const float* w, WeightFormat format, float* c, int64_t rows,
                   int64_t inner, int64_t columns);

/// swiglu() of the product and its bias: y [rows, columns / 2]. The same bits as one after the
/// other; where columns / 2 is a multiple of kPanel the product is never in memory.
void gemm_swiglu(const float* a, const PackedMatrix& b, float* y, int64_t rows,
                 const float* bias = nullptr);

/// c [columns_a, columns_b] += a^T b, for a [rows, columns_a], b [rows, columns_b]: the gradient of
/// a weight. Accumulates in fp32, over `rows` in order.
void gemm_tn(const float* a, const float* b, float* c, int64_t rows, int64_t columns_a,
             int64_t columns_b);
/// The same of bf16 numbers in rows `a_row` and `b_row` apart, summed in fp32 over 2048 rows at a
/// time.
void gemm_tn(const uint16_t* a, int64_t a_row, const uint16_t* b, int64_t b_row, float* c,
             int64_t rows, int64_t columns_a, int64_t columns_b);

/// Bytes that gemm_tn() of bf16 numbers, and gemm() with a matrix of bf16_pairs, keep for their
/// next call: b as it is multiplied, and the rows rounded.
int64_t gemm_tn_bytes(int64_t rows, int64_t columns_b);
int64_t gemm_pairs_bytes(int64_t rows, int64_t inner);

/// y = x * w / sqrt(mean(x^2) + eps), per row. inverse_rms [T] is kept for the backward pass.
void rms_norm(const float* x, const float* w, float* y, float* inverse_rms, int64_t rows,
              int64_t width, float eps);
/// dx is written; dw [width] is added to.
void rms_norm_backward(const float* dy, const float* x, const float* w, const float* inverse_rms,
                       float* dx, float* dw, int64_t rows, int64_t width);

/// y [T, F] = silu(gate) * up, for gate_up [T, 2F] with the gate in the first half of a row.
void swiglu(const float* gate_up, float* y, int64_t rows, int64_t width);

/// An attention layer; a row of qkv is [H*E queries | G*E keys | G*E values].
struct AttentionShape {
  int64_t heads = 0, kv_heads = 0, head_size = 0;
  int64_t rotary_size = 0;  // dimensions R of a head that rotate, the first ones; 0: no RoPE
  int64_t window = 0;       // a token sees this many, itself the last; 0: all before it
  /// With a window: the first tokens of a sequence, which all see. From behind the window they are
  /// seen as if they were `window` away: keys that are not rotated, and a query rotated by as much
  /// (LM-Infinite, arXiv:2308.16137). At most kKeyBlock.
  int64_t sinks = 0;
  bool alibi = false;       // scores less a slope times the distance (arXiv:2108.12409)
  bool log_length = false;  // scores times ln n, n the tokens up to this one (arXiv:2202.12172)

  int64_t row() const { return (heads + 2 * kv_heads) * head_size; }
  int64_t group() const { return heads / kv_heads; }
  /// The first token of a segment that token t of it sees.
  int64_t first_seen(int64_t t) const { return window > 0 && t >= window ? t + 1 - window : 0; }
  /// Sinks that token t sees from behind the window: [0, far(t)).
  int64_t far(int64_t t) const { return std::min(sinks, first_seen(t)); }
  /// Of the scores of token t.
  float scale(int64_t t) const {
    const float plain = 1.0f / std::sqrt(static_cast<float>(head_size));
    return log_length ? plain * std::log(static_cast<float>(t + 1)) : plain;
  }
};

/// The slopes of ALiBi [heads]: 2^(-8 (h + 1) / heads) where the heads are a power of two; else
/// those of the largest power below, and every second one of twice as many heads (`transformers`,
/// build_alibi_tensor).
std::vector<float> alibi_slopes(int64_t heads);

/// Which values of queries and keys share one mean square: those of a head, or all of them.
enum class QkNorm { none, head, all };

/// Means of a row of qkv: one a head of queries and keys, or two.
int64_t qk_norms(const AttentionShape& shape, QkNorm kind);

/// RMSNorm of the queries and keys of qkv [T, row] into out [T, row]; values are copied. Weights
/// are [E] with QkNorm::head, [H*E] and [G*E] with QkNorm::all. inverse_rms [T, qk_norms] is kept
/// for the backward pass.
void qk_norm(const float* qkv, const float* q_weight, const float* k_weight, float* out,
             float* inverse_rms, const AttentionShape& shape, QkNorm kind, int64_t rows, float eps);
/// Rotates queries and keys of qkv [T, row] in place, pairs (i, i + R/2). `positions` [T] index the
/// tables cosine, sine [positions, R/2]. `inverse` applies the transpose, which is the backward
/// pass, and rotates back where the tables are not scaled.
void rope(float* qkv, const int32_t* positions, const float* cosine, const float* sine,
          const AttentionShape& shape, int64_t rows, bool inverse);

/// The rotations of the positions, [positions, R/2] each; what sinks are seen with.
struct Rotations {
  const float *cosine = nullptr, *sine = nullptr;
};

/// Packed rows: segment s is rows [starts[s], starts[s + 1]).
struct Segments {
  const int32_t* starts = nullptr;  // [count + 1]
  int64_t count = 0;
  /// [count]: an earlier segment whose tokens come before those of this one, as a prompt's before a
  /// response, or -1. Such a segment has none itself. Null: all begin a sequence.
  const int32_t* prefix = nullptr;
};

/// Causal attention within the sequences of packed rows: each segment with its prefix. qkv [T, row]
/// is rotated already; out [T, H*E]; log_sum [T, H] is kept for the backward pass. A segment has
/// the bits that it has behind a prefix of its own. `rotations` are those of rope(), not scaled,
/// where the shape has sinks and rotates.
void attention(const float* qkv, const Segments& segments, float* out, float* log_sum,
               const AttentionShape& shape, const Rotations& rotations = {});
/// d_qkv [T, row] is written. What a prefix gets is summed over those that see it, in order.
void attention_backward(const float* d_out, const float* qkv, const float* out,
                        const float* log_sum, const Segments& segments, float* d_qkv,
                        const AttentionShape& shape, const Rotations& rotations = {});

/// One layer of a cache in pages of kKeyBlock tokens: page i begins at base + i * stride, with keys
/// [G][kKeyBlock / kKeyTile] tiles and behind them values [G][kKeyBlock][E].
struct PagedLayer {
  float* base = nullptr;
  int64_t stride = 0;  // floats from one page to the next

  static int64_t floats(const AttentionShape& shape) {
    return 2 * shape.kv_heads * shape.head_size * kKeyBlock;
  }
};

/// Tokens [first, first + count) of one sequence, in the rows [row, row + count) of a pass. `pages`
/// are those of its tokens from 0 on.
struct PagedSpan {
  const int32_t* pages = nullptr;
  int64_t first = 0, count = 0, row = 0;
};

/// Writes the keys and values of qkv (rotated) where the spans say.
void paged_append(const float* qkv, const PagedLayer& cache, const PagedSpan* spans, int64_t count,
                  const AttentionShape& shape);

/// Every token of the spans attends to the tokens of its sequence up to itself, which are all in
/// the cache; out [T, H*E]. The same bits as attention() gives for the whole sequence.
void paged_attention(const float* qkv, const PagedLayer& cache, const PagedSpan* spans,
                     int64_t count, float* out, const AttentionShape& shape,
                     const Rotations& rotations = {});

/// The largest of `count` numbers, NaN left out; -3.4e38 where there is none. On the calling
/// thread.
float largest(const float* values, int64_t count);
/// weights = exp((logits - top) * scale); returns their sum, NaN where a logit is. On the calling
/// thread.
float weigh(const float* logits, float top, float scale, float* weights, int64_t count);

/// Of logits [T, V] times `scale` (1 / temperature): log-sum-exp [T], and the log-probability
/// [T] of targets [T] where logprob is not null, the entropy [T] in nats where it is not null, and
/// the sum over the vocabulary of p^2 [T] where square_mass is not null.
void log_softmax(const float* logits, const int32_t* targets, float scale, float* log_sum,
                 float* logprob, float* entropy, int64_t rows, int64_t vocabulary,
                 float* square_mass = nullptr);
struct AdamStep {
  double learning_rate = 0, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
  double grad_scale = 1;  // the clip factor
  int64_t step = 1;       // counts from 1
};
/// AdamW with decoupled decay (Loshchilov and Hutter, arXiv:1711.05101), moments in fp32.
void adamw(float* weights, const float* gradient, float* moment1, float* moment2, int64_t count,
           const AdamStep& step);

/// Whether no value is infinite or NaN. On the calling thread alone.
bool all_finite(const float* values, int64_t count);

/// Sum of squares, in double, in one fixed order: those of blocks of kSumBlock numbers, and then
/// these sums one after the other.
double sum_of_squares(const float* values, int64_t count);
inline constexpr int64_t kSumBlock = 1 << 16;
/// The sums of the blocks [count / kSumBlock, rounded up].
std::vector<double> block_sums_of_squares(const float* values, int64_t count);

/// "avx512+amx", "avx512+bf16", "avx512", "avx2" or "x86-64": which build of the kernels this
/// processor runs.
const char* instruction_set();

/// The same functions as plain loops a reader can check, double accumulation; T is float or double.
/// Tests hold the fast kernels to these. fp64 tensors run on them.
namespace ref {
template <class T>
void matmul(const T* a, bool transpose_a, const T* b, bool transpose_b, T* c, int64_t rows,
            int64_t inner, int64_t columns, bool accumulate);
template <class T>
void rms_norm(const T* x, const T* w, T* y, T* inverse_rms, int64_t rows, int64_t width,
              double eps);
template <class T>
void rms_norm_backward(const T* dy, const T* x, const T* w, const T* inverse_rms, T* dx, T* dw,
                       int64_t rows, int64_t width);
template <class T>
void swiglu(const T* gate_up, T* y, int64_t rows, int64_t width);
template <class T>
void swiglu_backward(const T* dy, const T* gate_up, T* d_gate_up, int64_t rows, int64_t width);
template <class T>
void add_bias(T* y, const T* bias, int64_t rows, int64_t width);
template <class T>
void add_bias_backward(const T* dy, T* d_bias, int64_t rows, int64_t width);
template <class T>
void qk_norm(const T* qkv, const T* q_weight, const T* k_weight, T* out, T* inverse_rms,
             const AttentionShape& shape, QkNorm kind, int64_t rows, double eps);
template <class T>
void qk_norm_backward(const T* d_out, const T* qkv, const T* q_weight, const T* k_weight,
                      const T* inverse_rms, T* d_qkv, T* dq_weight, T* dk_weight,
                      const AttentionShape& shape, QkNorm kind, int64_t rows);
template <class T>
void rope(T* qkv, const int32_t* positions, const float* cosine, const float* sine,
          const AttentionShape& shape, int64_t rows, bool inverse);
template <class T>
void attention(const T* qkv, const Segments& segments, T* out, T* log_sum,
               const AttentionShape& shape, const Rotations& rotations = {});
template <class T>
void attention_backward(const T* d_out, const T* qkv, const T* out, const T* log_sum,
                        const Segments& segments, T* d_qkv, const AttentionShape& shape,
                        const Rotations& rotations = {});
template <class T>
void log_softmax(const T* logits, const int32_t* targets, double scale, T* log_sum, T* logprob,
                 T* entropy, int64_t rows, int64_t vocabulary, T* square_mass = nullptr);
template <class T>
void log_softmax_backward(T* logits, const int32_t* targets, double scale, const T* log_sum,
                          const T* entropy, const T* d_logprob, const T* d_entropy, int64_t rows,
                          int64_t vocabulary);
template <class T>
void adamw(T* weights, const T* gradient, T* moment1, T* moment2, int64_t count,
           const AdamStep& step);
}  // namespace ref

}  // namespace vernier::kernels
