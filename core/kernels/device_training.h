// Kernels of training on a GPU, beside the library's products and attention (ops_device.h). A build
// without CUDA has the same functions; they raise DeviceError.
//
// Pointers are device memory, arrays dense and row-major, T is float or Bf16: what products
// multiply. The residual stream, its gradient, gradients of weights and all sums are fp32. Launches
// run on `stream`, do not wait and take no memory. Letters are those of kernels.h.
//
// The tests hold every kernel to a plain reference of kernels.h or below: fp32 within 2e-5 of the
// largest value, Bf16 within the rounding of one result (4e-3).
#pragma once

#include <algorithm>

#include "core/kernels/device.h"

namespace vernier::kernels::device {

// ---- Norms --------------------------------------------------------------------------------------

/// Rows of `partial` in which the gradient of a norm's weight is summed first, each by one block in
/// the order of its rows. Their sum over the rows is the gradient.
inline constexpr int64_t norm_partials(int64_t rows) { return std::min<int64_t>(rows, 512); }
/// The same of qk_norm_backward(), each by one warp.
inline constexpr int64_t qk_norm_partials(int64_t rows) {
  return std::min<int64_t>(round_up(rows, 8), 2048);
}

/// d [rows, D] += the gradient of x, for dy that of y = rms_norm(x, w). `partial`
/// [norm_partials(rows), D] is written.
template <class T>
void rms_norm_backward_add(const T* dy, const float* x, const T* w, float* d, float* partial,
                           int64_t rows, int64_t width, float eps, CUstream_st* stream);

/// The same for what a block gives: dx [rows, D] is written.
template <class T>
void rms_norm_backward(const float* dy, const T* x, const T* w, T* dx, float* partial, int64_t rows,
                       int64_t width, float eps, CUstream_st* stream);

/// d [rows, row] holds the gradient of qk_norm(qkv) and becomes that of qkv. `partial`
/// [qk_norm_partials(rows), widths of both weights] is written: queries, then keys.
template <class T>
void qk_norm_backward(T* d, const T* qkv, const T* q_weight, const T* k_weight, float* partial,
                      const AttentionShape& shape, QkNorm kind, int64_t rows, float eps,
                      CUstream_st* stream);

// ---- Element by element -------------------------------------------------------------------------

/// As kernels::rope.
template <class T>
void rope(T* qkv, const int32_t* positions, const float* cosine, const float* sine,
          const AttentionShape& shape, int64_t rows, bool inverse, CUstream_st* stream);

/// d_gate_up [rows, 2F], which may be gate_up itself, from dy [rows, F]; `inner` [rows, F] becomes
/// swiglu(gate_up) again, with the bits of swiglu().
template <class T>
void swiglu_backward(const T* dy, const T* gate_up, T* d_gate_up, T* inner, int64_t rows,
                     int64_t width, CUstream_st* stream);

/// Which rows of an array are added up: those of sum i are rows [starts[i], starts[i + 1]).
struct RowSums {
  const int32_t* starts = nullptr;   // [count + 1]
  const int32_t* rows = nullptr;     // of `in`
  const int32_t* targets = nullptr;  // [count], row of `out` that sum i goes to; null: row i
  int64_t count = 0;
};

/// out's rows, `out_row` numbers apart, become sums over rows of in [.., width], in their order and
/// in fp32, or get them added where `add`. No two sums have one target.
template <class T>
void sum_rows(const T* in, const RowSums& sums, T* out, int64_t out_row, int64_t width, bool add,
              CUstream_st* stream);

/// As kernels::adamw, in fp32.
void adamw(float* weights, const float* gradient, float* moment1, float* moment2, int64_t count,
           const AdamStep& step, CUstream_st* stream);

// ---- The head, a part of the vocabulary at a time -----------------------------------------------

/// What is known of a row of scaled logits z after some of its words, over those words.
struct LogitSums {
  float top;      // the largest z
  float sum;      // sum of e^(z - top)
  float product;  // sum of e^(z - top) (z - top)
  float squares;  // sum of e^(2 (z - top))
  float target;   // z of the target, once its word was there
};

/// Takes the words [first, first + words) of every row into `sums` [rows]; those from first = 0
/// begin anew. z is logits [rows, words] times `scale`, targets [rows] are words of the whole
/// vocabulary. Sums as in online softmax (Milakov and Gimelshein, arXiv:1805.02867).
void sum_logits(const float* logits, const int32_t* targets, float scale, int64_t first,
                LogitSums* sums, int64_t rows, int64_t words, CUstream_st* stream);

/// As kernels::log_softmax, from the sums over all words: [rows] each; square_mass may be null.
void finish_logits(const LogitSums* sums, float* log_sum, float* logprob, float* entropy,
                   float* square_mass, int64_t rows, CUstream_st* stream);

/// The gradient of the logits of words [first, first + words), T for the products that follow;
/// `out` may be `logits` itself. As ref::log_softmax_backward, with targets less `first`.
template <class T>
void logits_backward(const float* logits, const int32_t* targets, float scale, int64_t first,
                     const float* log_sum, const float* entropy, const float* d_logprob,
                     const float* d_entropy, T* out, int64_t rows, int64_t words,
                     CUstream_st* stream);

}  // namespace vernier::kernels::device

namespace vernier::kernels::ref {

/// Those of above that kernels.h has no reference of, on host memory.
void sum_rows(const float* in, const device::RowSums& sums, float* out, int64_t out_row,
              int64_t width, bool add);
void sum_logits(const float* logits, const int32_t* targets, double scale, int64_t first,
                device::LogitSums* sums, int64_t rows, int64_t words);
void finish_logits(const device::LogitSums* sums, float* log_sum, float* logprob, float* entropy,
                   float* square_mass, int64_t rows);

}  // namespace vernier::kernels::ref
