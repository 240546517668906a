// The head in training: log-probability and entropy of tokens from hidden states, a chunk of the
// logits at a time, forward and backward. [T, V] never exists.
#pragma once

#include "core/kernels/layer.h"

namespace vernier::kernels {

/// Arrays of a chunk, kept from call to call.
struct HeadScratch {
  Room<float> logits;
  Room<uint16_t> d_logits, hidden;
  PackedMatrix plain;

  int64_t bytes() const;
};

/// Hidden states and what is asked of them.
struct HeadRows {
  const float* hidden = nullptr;     // [T, D]
  const int32_t* targets = nullptr;  // [T]
  int64_t rows = 0, width = 0, vocabulary = 0;
  double temperature = 1;
  Precision precision = Precision::fp32;

  WeightFormat format() const { return format_of(precision); }
};

/// Of softmax(hidden W^T / temperature), W [V, D]: log-sum-exp, log-probability of the target,
/// entropy and, where square_mass is not null, the sum over the vocabulary of p^2, [T] each.
/// `packed` is W in rows.format() where somebody holds it already; where it is
/// null a part of W is packed at a time. The same bits either way.
void head_forward(const HeadRows& rows, const float* weight, const PackedMatrix* packed,
                  float* log_sum, float* logprob, float* entropy, float* square_mass,
                  HeadScratch& scratch);

/// Bytes of a scratch once head_forward() has run for these sizes, and with `backward`
/// head_backward().
int64_t head_scratch_bytes(const HeadRows& rows, bool backward);

/// Bytes that the products of head_backward() keep beside it.
int64_t head_product_bytes(const HeadRows& rows);

/// d_hidden [T, D] is written, d_weight [V, D] added to where it is not null. Logits are computed
/// again; the vocabulary is taken a part at a time, all rows against each, so that the gradient of
/// the weight passes through memory once.
void head_backward(const HeadRows& rows, const float* weight, const float* log_sum,
                   const float* entropy, const float* d_logprob, const float* d_entropy,
                   float* d_hidden, float* d_weight, HeadScratch& scratch);

namespace ref {
/// The same, with all the logits at once.
template <class T>
void head_forward(const T* hidden, const T* weight, const int32_t* targets, double temperature,
                  T* log_sum, T* logprob, T* entropy, T* square_mass, int64_t rows, int64_t width,
                  int64_t vocabulary);
template <class T>
void head_backward(const T* hidden, const T* weight, const int32_t* targets, double temperature,
                   const T* log_sum, const T* entropy, const T* d_logprob, const T* d_entropy,
                   T* d_hidden, T* d_weight, int64_t rows, int64_t width, int64_t vocabulary);
}  // namespace ref

}  // namespace vernier::kernels
