// A layer of the decoder in training: forward and backward, each in a few sweeps over blocks of
// rows that stay in a core's cache.
//
//   norm before:  m = x + O(attend(rope(qk_norm(QKV(norm(x))))));  y = m + D(swiglu(GU(norm(m))))
//   norm after:   m = x + norm(O(attend(rope(qk_norm(QKV(x))))));  y = m + norm(D(swiglu(GU(m))))
//
// QKV, O, GU and D are products with a weight and the sum of a bias. Letters as in kernels.h.
#pragma once

#include <cstddef>
#include <vector>

#include "core/kernels/adapter.h"
#include "core/kernels/kernels.h"

namespace vernier::kernels {

/// What the products of training are computed in; sums, the residual stream, attention and
/// everything else are fp32 in both.
enum class Precision {
  fp32,
  bf16,  // both factors rounded to bf16, and what the backward pass keeps of the layer
};

/// The format of the matrices that products of a precision read.
inline constexpr WeightFormat format_of(Precision precision) {
  return precision == Precision::bf16 ? WeightFormat::bf16_pairs : WeightFormat::fp32;
}

struct LayerShape {
  int64_t width = 0, inner = 0;  // D, F
  AttentionShape attention;
  QkNorm qk_norm = QkNorm::none;
  bool norm_after = false;
  double eps = 0;
};

/// One of something for each weight of a layer: vectors, then matrices [out, in].
template <class Vector, class Matrix>
struct LayerParts {
  Vector attention_norm{}, qkv_bias{}, q_norm{}, k_norm{}, output_bias{}, mlp_norm{},
      gate_up_bias{}, down_bias{};
  Matrix qkv{}, output{}, gate_up{}, down{};
};

/// Vectors and packed matrices (pack_transposed, for the backward pass pack_plain); a bias or a
/// norm of queries and keys that is not there is null.
using LayerWeights = LayerParts<const float*, const PackedMatrix*>;
/// Arrays that are added to; null where there is nothing to train.
using LayerGradients = LayerParts<float*, float*>;
/// Adapters of the matrices; null where there is none.
struct LayerAdapters {
  const MatrixAdapter<float>*qkv = nullptr, *output = nullptr, *gate_up = nullptr, *down = nullptr;
};

/// T rows of several sequences, and the rotation of each place.
struct LayerRows {
  int64_t rows = 0;
  Segments segments;
  const int32_t* positions = nullptr;              // [T]
  const float *cosine = nullptr, *sine = nullptr;  // [positions, R/2]

  Rotations rotations() const { return {.cosine = cosine, .sine = sine}; }
};

/// What backward reads beside x. Untyped arrays are bf16 with Precision::bf16, fp32 otherwise;
/// those of `norm_after` are null without it.
struct LayerSaved {
  float* middle = nullptr;        // [T, D], m above
  float* log_sum = nullptr;       // [T, H]
  void* qkv = nullptr;            // [T, row], as the product gave it
  void* attended = nullptr;       // [T, H*E], in bf16 whole words a row
  void* gate_up = nullptr;        // [T, 2F]
  void* attention_out = nullptr;  // [T, D], before its norm
  void* mlp_out = nullptr;        // [T, D], before its norm
};

/// Bytes of all of them for `rows` rows.
int64_t saved_bytes(const LayerShape& shape, int64_t rows, Precision precision);
/// Shares out `memory` of saved_bytes(), which are told on request.
LayerSaved share_saved(const LayerShape& shape, int64_t rows, Precision precision, void* memory,
                       int64_t* bytes = nullptr);

/// Arrays between the sweeps, kept from layer to layer.
struct LayerScratch {
  Room<float> qkv, d_qkv, attended, attended_again, partial;
  Room<std::byte> left, right;
  AdapterScratch adapter;

  int64_t bytes() const;
};

/// Bytes of a scratch once layers of this shape went forward with `rows` rows and saved nothing.
int64_t forward_scratch_bytes(const LayerShape& shape, int64_t rows);
/// The same once they saved and went back; `vectors` are the numbers of a layer's trained vectors.
int64_t backward_scratch_bytes(const LayerShape& shape, int64_t rows, Precision precision,
                               int64_t vectors);
/// Bytes that a thread keeps beside it for a block of rows.
int64_t block_bytes(const LayerShape& shape, Precision precision);

/// x [T, D] -> y [T, D], which is another array. The bits of a pass over a cache (Decoder::cached)
/// in the same format of weights. `saved` may be null.
void layer_forward(const LayerShape& shape, const LayerWeights& weights, const LayerRows& rows,
                   Precision precision, const float* x, float* y, const LayerSaved* saved,
                   LayerScratch& scratch);

/// d [T, D] holds the gradient of y and becomes that of x. Matrices of `plain` are of pack_plain().
/// Adapters get their gradients without that of their matrix.
void layer_backward(const LayerShape& shape, const LayerWeights& plain, const LayerRows& rows,
                    Precision precision, const float* x, const LayerSaved& saved, float* d,
                    const LayerGradients& gradients, LayerScratch& scratch,
                    const LayerAdapters& adapters = {});

namespace ref {
/// The same from plain matrices, each step for all rows with the functions of this namespace.
template <class T>
struct LayerState {
  std::vector<T> x, qkv, attended, log_sum, attention_out, middle, gate_up, mlp_out;
};
template <class T>
void layer_forward(const LayerShape& shape, const LayerParts<const T*, const T*>& weights,
                   const LayerRows& rows, T* x, LayerState<T>& saved);
template <class T>
void layer_backward(const LayerShape& shape, const LayerParts<const T*, const T*>& weights,
                    const LayerRows& rows, const LayerState<T>& saved, T* d,
                    const LayerParts<T*, T*>& gradients);
}  // namespace ref

}  // namespace vernier::kernels
