#include "trainer/adamw.h"

#include <ATen/ATen.h>

#include <cmath>

#include "core/base/errors.h"
#include "core/kernels/adam8.h"
#include "core/kernels/device_training.h"

namespace vernier {

namespace {
int64_t blocks_of(int64_t weights) {
  return (weights + kernels::kMomentBlock - 1) / kernels::kMomentBlock;
}
}  // namespace

int64_t OptimizerState::bytes(int64_t weights, bool in_bytes) {
  return in_bytes ? 2 * (weights + 4 * blocks_of(weights)) : 8 * weights;
}

OptimizerState::OptimizerState(Decoder& decoder, bool bytes) {
  const at::Tensor& weights = decoder.trained_weights();
  const auto type = bytes ? at::kByte : at::kFloat;
  moment1 = at::zeros_like(weights, type);
  moment2 = at::zeros_like(weights, type);
  if (!bytes) return;
  ensure(!weights.is_cuda(), "moments of a byte on the CPU");
  const int64_t blocks = blocks_of(weights.numel());
  scales1 = at::zeros({blocks}, at::kFloat);
  scales2 = at::zeros({blocks}, at::kFloat);
}

namespace {

// Sums are fp64 on the CPU, and on a GPU fp32 in a tree.
double norm_of(const at::Tensor& gradients) {
  if (gradients.is_cuda()) return at::linalg_vector_norm(gradients).item<double>();
  return std::sqrt(kernels::sum_of_squares(gradients.const_data_ptr<float>(), gradients.numel()));
}

}  // namespace

UpdateResult apply_update(Decoder& decoder, OptimizerState& state, const OptimizerConfig& config,
                          double learning_rate) {
  at::Tensor& gradients = decoder.gradients();
  const int64_t count = gradients.numel();
  UpdateResult result{
      .applied = false, .grad_norm = norm_of(gradients), .learning_rate = learning_rate};
  if (std::isfinite(result.grad_norm)) {
    const bool clip = config.grad_clip > 0 && result.grad_norm > config.grad_clip;
    ++state.step;
    const kernels::AdamStep step{.learning_rate = learning_rate,
                                 .beta1 = config.betas[0],
                                 .beta2 = config.betas[1],
                                 .eps = config.eps,
                                 .weight_decay = config.weight_decay,
                                 .grad_scale = clip ? config.grad_clip / result.grad_norm : 1.0,
                                 .step = state.step};
    auto* weights = decoder.trained_weights().data_ptr<float>();
    const auto* gradient = gradients.const_data_ptr<float>();
    if (state.in_bytes())
      kernels::adamw_8bit(weights, gradient,
                          {state.moment1.data_ptr<uint8_t>(), state.moment2.data_ptr<uint8_t>(),
                           state.scales1.data_ptr<float>(), state.scales2.data_ptr<float>()},
                          count, step);
    else if (gradients.is_cuda())
      kernels::device::adamw(weights, gradient, state.moment1.data_ptr<float>(),
                             state.moment2.data_ptr<float>(), count, step, nullptr);
    else
      kernels::adamw(weights, gradient, state.moment1.data_ptr<float>(),
                     state.moment2.data_ptr<float>(), count, step);
    decoder.trained_weights_changed();
    result.applied = true;
  }
  gradients.zero_();
  return result;
}

}  // namespace vernier
