// The decoder's functions with gradients for tensors that lie on a GPU: products and attention of
// LibTorch between kernels of our own. CPU tensors compute the same by plain references
// (tensor_kernels.h), slowly: the tests hold these functions to kernels::ref with them.
//
// With Precision::bf16 the factors of products, what the blocks compute between them and what the
// backward pass keeps of them are bf16, those of the weights by Parameter::bf16; the residual
// stream, log-probabilities and gradients of weights are fp32. With Precision::fp32 everything is.
#pragma once

#include "core/kernels/tensor_attention.h"

namespace vernier::ops::device {

/// [T, D] rows of the table. The caller has checked the ids.
at::Tensor embedding(const std::vector<int32_t>& ids, Parameter& table,
                     kernels::Precision precision);

at::Tensor rms_norm(const at::Tensor& x, Parameter& weight, double eps,
                    kernels::Precision precision);

/// A layer: x [T, D] -> [T, D]. Its backward pass gives back what the forward pass kept, so there
/// is one. Weights and shape live as long as the graph does.
at::Tensor layer(const at::Tensor& x, const LayerParameters& weights,
                 const kernels::LayerShape& shape, const std::shared_ptr<const DevicePass>& pass);

/// Tokens of a pass, and those that their queries see, a shared prompt for each response behind it.
struct LayerTokens {
  int64_t rows = 0, keys = 0;
  int64_t longest = 0;  // that a token sees
};
/// Bytes of a layer on a GPU, by what is written above its functions.
struct LayerBytes {
  int64_t input = 0;    // x, which a layer keeps whatever else it does
  int64_t kept = 0;     // the rest of what its backward pass reads, unless it computes it again
  int64_t forward = 0;  // beside them at most, on the way forward
  int64_t backward = 0;
};
LayerBytes layer_bytes(const kernels::LayerShape& shape, const LayerTokens& tokens,
                       kernels::Precision precision);

/// As ops::token_logprobs: 2048 rows by 8192 words of logits are held at a time (64 MiB; going back
/// in bf16 half as much again).
TokenLogprobs token_logprobs(const at::Tensor& hidden, Parameter& head,
                             const std::vector<int32_t>& targets, double temperature,
                             kernels::Precision precision, bool square_mass);

/// Bytes that it takes beside `hidden` [rows, width], and with `backward` its way back too.
int64_t head_bytes(int64_t rows, int64_t width, int64_t vocabulary, kernels::Precision precision,
                   bool backward);

}  // namespace vernier::ops::device
