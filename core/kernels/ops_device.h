// The forward pass on a GPU, for tensors that lie there. No gradients: training runs on the CPU.
#pragma once

#include "core/kernels/ops.h"

namespace vernier::ops::device {

at::Tensor embedding(const std::vector<int32_t>& ids, Parameter& table);
at::Tensor linear(const at::Tensor& x, Parameter& weight, Parameter* bias);
at::Tensor rms_norm(const at::Tensor& x, Parameter& weight, double eps);
at::Tensor qk_norm(const at::Tensor& qkv, Parameter& q_weight, Parameter& k_weight,
                   const kernels::AttentionShape& shape, kernels::QkNorm kind, double eps);
at::Tensor rope_attention(const at::Tensor& qkv, const PackedTokens& tokens, const RopeTable& table,
                          const kernels::AttentionShape& shape);
at::Tensor swiglu(const at::Tensor& gate_up);
TokenLogprobs token_logprobs(const at::Tensor& hidden, Parameter& head,
                             const std::vector<int32_t>& targets, double temperature);

}  // namespace vernier::ops::device
