// The kernels as tensor functions with gradients. On the CPU an fp32 tensor runs the fast kernels
// and an fp64 tensor the references. Tensors on a GPU run forward only (ops_device.h).
//
// A weight's gradient is added straight to Parameter::grad, a view of the model's flat gradient
// buffer: no temporary of the weight's size, and one buffer for norm, clipping and optimizer.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "core/kernels/kernels.h"

namespace vernier {

/// One weight of a model with its gradient, and the packed forms that the CPU kernels read.
struct Parameter {
  std::string name;
  at::Tensor value;  // [out, in], [V, D] or [D]
  at::Tensor grad;   // like value; undefined where the model is not trained

  // Packed lazily, again after every change of the weights.
  kernels::PackedMatrix forward, backward, rounded;
  bool forward_packed = false, backward_packed = false, rounded_packed = false;

  void changed() { forward_packed = backward_packed = rounded_packed = false; }
};

/// Cosine and sine of the positions met so far, [positions, R/2] each, times `scale`. In fp32 step
/// by step as `transformers` computes them: models were trained with that rounding, which is an
/// angle of 0.001 at position 30,000.
struct RopeTable {
  at::Tensor inverse_frequency;  // [R/2], fp32
  double scale = 1;
  at::Tensor cosine, sine;

  /// Makes room for positions 0 to count - 1.
  void reserve(int64_t count);
};

/// Tokens of several sequences, one after the other, without padding.
struct PackedTokens {
  std::vector<int32_t> ids;        // [T]
  std::vector<int32_t> positions;  // [T], from 0 in each sequence
  std::vector<int32_t> starts{0};  // [sequences + 1], first row of each

  void add(const std::vector<int32_t>& sequence);
  int64_t size() const { return static_cast<int64_t>(ids.size()); }
  int64_t sequences() const { return static_cast<int64_t>(starts.size()) - 1; }
};

namespace ops {

/// The weight as the kernels read it, packed where it was changed.
const kernels::PackedMatrix& packed(Parameter& weight, kernels::WeightFormat format);

/// Throws UsageError on an id that the table [V, D] has no row for.
void check_ids(const std::vector<int32_t>& ids, const Parameter& table);

/// [T, D] rows of the table. Throws UsageError on an id outside it.
at::Tensor embedding(const std::vector<int32_t>& ids, Parameter& table);

/// [T, in] -> [T, out], plus `bias` [out] where there is one.
at::Tensor linear(const at::Tensor& x, Parameter& weight, Parameter* bias = nullptr);

at::Tensor rms_norm(const at::Tensor& x, Parameter& weight, double eps);

/// RMSNorm of queries and keys, values as they are: qkv [T, row] -> [T, row].
at::Tensor qk_norm(const at::Tensor& qkv, Parameter& q_weight, Parameter& k_weight,
                   const kernels::AttentionShape& shape, kernels::QkNorm kind, double eps);

/// qkv [T, row] -> [T, H*E]: rotation, then causal attention within each sequence. Takes `qkv`
/// over: it is rotated in place, and the caller must not read it again (what made it does not need
/// its output for the backward pass). `table` has room for all positions.
at::Tensor rope_attention(const at::Tensor& qkv, const PackedTokens& tokens, const RopeTable& table,
                          const kernels::AttentionShape& shape);

/// gate_up [T, 2F] -> [T, F].
at::Tensor swiglu(const at::Tensor& gate_up);

struct TokenLogprobs {
  at::Tensor logprob;  // [T], of the target, natural logarithm
  at::Tensor entropy;  // [T], nats
  // [T], sum over the vocabulary of p^2, without gradient; undefined where it was not asked for
  at::Tensor square_mass;
};

/// Log-probability of `targets` [T] and entropy under softmax(hidden head^T / temperature). Works
/// in chunks of rows, forward and backward, and never holds [T, V].
TokenLogprobs token_logprobs(const at::Tensor& hidden, Parameter& head,
                             const std::vector<int32_t>& targets, double temperature,
                             bool square_mass = false);

}  // namespace ops
}  // namespace vernier
