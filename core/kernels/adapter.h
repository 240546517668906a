// Low-rank adapters of a matrix (LoRA: Hu et al., arXiv:2106.09685, equation 3):
//
//   W = W0 + scale B A,   W, W0 [rows, columns], B [rows, rank], A [rank, columns]
//
// W0 is fixed, A and B are trained. Passes read W; this makes it, and takes the gradients of A and
// B without that of W. A matrix of several parts (queries, keys and values) may have an adapter for
// some of them.
#pragma once

#include <cstdint>
#include <vector>

#include "core/kernels/kernels.h"

namespace vernier::kernels {

/// The adapter of some rows of a matrix: its B, and where the gradient of it is added.
template <class T>
struct AdapterPart {
  int64_t first_row = 0, rows = 0;
  const T* b = nullptr;  // [rows, rank]
  T* d_b = nullptr;
};

/// All adapters of a matrix [rows, columns].
template <class T>
struct MatrixAdapter {
  int64_t rows = 0, columns = 0, rank = 0;
  double scale = 1;
  const T* a = nullptr;  // [parts * rank, columns], part by part
  T* d_a = nullptr;
  std::vector<AdapterPart<T>> parts;

  /// Rows of `a`.
  int64_t stacked() const { return std::ssize(parts) * rank; }
};

/// Arrays of a product, kept from call to call.
struct AdapterScratch {
  Room<float> a, b;
  Room<std::byte> through_a, through_b;
  PackedMatrix packed_a, packed_b;
};

/// w [rows, columns] holds W0 in the rows that have an adapter, and W afterwards. A number of it is
/// one chain over the rank.
void merge_adapter(const MatrixAdapter<float>& adapter, float* w, AdapterScratch& scratch);

/// For y = x W^T, x [T, columns]:
///
///   dA += scale (dY B)^T X,   dB += scale dY^T (X A^T)
///
/// 4 T rank (rows + columns) operations a part at most. Rows of bf16 numbers are in whole words, as
/// round_rows() leaves them; A, B and the two inner products are rounded then too, sums are fp32.
void adapter_gradient(const MatrixAdapter<float>& adapter, const float* dy, const float* x,
                      int64_t tokens, AdapterScratch& scratch);
void adapter_gradient(const MatrixAdapter<float>& adapter, const uint16_t* dy, const uint16_t* x,
                      int64_t tokens, AdapterScratch& scratch);

/// Numbers that stay as they are, in bf16 where that is all of each of them: weights of a model
/// that was published so.
class FixedNumbers {
 public:
  FixedNumbers(const float* values, int64_t count);
  void copy_to(float* out) const;
  int64_t bytes() const { return static_cast<int64_t>(data_.size()); }

 private:
  int64_t count_ = 0;
  bool rounded_ = false;
  Buffer data_;
};

namespace ref {
template <class T>
void merge_adapter(const MatrixAdapter<T>& adapter, T* w);
/// From the gradient of W: dA += scale B^T dW, dB += scale dW A^T.
template <class T>
void adapter_gradient(const MatrixAdapter<T>& adapter, const T* d_weight);
}  // namespace ref

}  // namespace vernier::kernels
