// Kernels of training as functions of tensors. On a GPU they are those of device.h and
// device_training.h; tensors on the CPU run the references, so that whatever is built of them is
// tested without a GPU.
//
// A number is fp32 or bf16: what products multiply. Tensors of numbers are of one type; those of
// the residual stream, its gradient and the gradients of weights are fp32. All are dense.
#pragma once

#include <torch/types.h>

#include <vector>

#include "core/kernels/kernels.h"
#include "core/kernels/ops.h"

namespace vernier::ops::device {

/// A copy of host values on `device`.
at::Tensor placed(const std::vector<int32_t>& values, const at::Device& device);

/// A weight in the numbers of `precision`: the fp32 value, or Parameter::bf16.
at::Tensor operand(Parameter& weight, kernels::Precision precision);

// ---- Products, with sums in fp32 ----------------------------------------------------------------

/// x W^T + bias, [T, in] -> [T, out], numbers; bias may be undefined.
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);
/// The same without a bias and in fp32.
at::Tensor wide_linear(const at::Tensor& x, const at::Tensor& weight);
/// sum += a b, for fp32 sum and numbers.
void add_product(at::Tensor sum, const at::Tensor& a, const at::Tensor& b);

// ---- Kernels ------------------------------------------------------------------------------------
// `grad` of a weight is added to, where it is defined.

/// Norm of rows of the residual stream, as numbers.
at::Tensor rms_norm_rows(const at::Tensor& x, const at::Tensor& weight, double eps);
/// d += the gradient of x, for the gradient dy (numbers) of rms_norm_rows().
void rms_norm_rows_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight,
                            double eps, at::Tensor d, const at::Tensor& grad);

/// x + the norm of what a block gives, `block` in numbers.
at::Tensor add_normed(const at::Tensor& x, const at::Tensor& block, const at::Tensor& weight,
                      double eps);
/// The gradient of `block`, numbers, for that of the sum.
at::Tensor add_normed_backward(const at::Tensor& d, const at::Tensor& block,
                               const at::Tensor& weight, double eps, const at::Tensor& grad);

/// As kernels::qk_norm, in place; and from the gradient of its result, in place.
void qk_norm(at::Tensor qkv, const at::Tensor& q_weight, const at::Tensor& k_weight,
             const kernels::AttentionShape& shape, kernels::QkNorm kind, double eps);
void qk_norm_backward(at::Tensor d, const at::Tensor& qkv, const at::Tensor& q_weight,
                      const at::Tensor& k_weight, const kernels::AttentionShape& shape,
                      kernels::QkNorm kind, double eps, const at::Tensor& q_grad,
                      const at::Tensor& k_grad);

/// As kernels::rope, in place.
void rope(at::Tensor qkv, const at::Tensor& positions, const at::Tensor& cosine,
          const at::Tensor& sine, const kernels::AttentionShape& shape, bool inverse);

at::Tensor swiglu(const at::Tensor& gate_up);
/// The gradient of gate_up, and swiglu(gate_up) again.
std::pair<at::Tensor, at::Tensor> swiglu_backward(const at::Tensor& dy, const at::Tensor& gate_up);

/// kernels::device::RowSums as tensors of int32; `targets` may be undefined.
struct RowGroups {
  at::Tensor starts, rows, targets;
};
/// As kernels::device::sum_rows; rows of `out` may lie further apart than they are wide.
void sum_rows(const at::Tensor& in, const RowGroups& sums, at::Tensor out, bool add);

/// Sums over the words met so far of each row: [T, 5], a kernels::device::LogitSums a row.
at::Tensor make_logit_sums(int64_t rows, const at::Device& device);
void sum_logits(const at::Tensor& logits, const at::Tensor& targets, double scale, int64_t first,
                at::Tensor sums);
/// log_sum, logprob, entropy, square_mass, [T] each; the last one may be undefined.
void finish_logits(const at::Tensor& sums, at::Tensor log_sum, at::Tensor logprob,
                   at::Tensor entropy, at::Tensor square_mass);

/// What the gradient of a logit is made of, [T] each, fp32.
struct LogitGradients {
  at::Tensor targets, log_sum, entropy, d_logprob, d_entropy;

  LogitGradients narrow(int64_t first, int64_t rows) const;
};
/// The gradient of logits [T, words] of the words from `first` on, as numbers of `precision`.
at::Tensor logits_backward(const at::Tensor& logits, const LogitGradients& of, double scale,
                           int64_t first, kernels::Precision precision);

}  // namespace vernier::ops::device
