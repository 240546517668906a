#include "trainer/adamw.h"

#include <ATen/ATen.h>

#include <cmath>

#include "core/base/bytes.h"
#include "core/base/errors.h"
#include "core/comm/slices.h"
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

OptimizerState::OptimizerState(Decoder& decoder, bool in_bytes)
    : end(decoder.trained_weights().numel()), weights(end) {
  allocate(decoder, in_bytes);
}

OptimizerState::OptimizerState(Decoder& decoder, bool in_bytes, const Ranks& ranks)
    : weights(decoder.trained_weights().numel()), slice(ranks.rank()), slices(ranks.size()) {
  const Slices cut(weights, slices);
  begin = cut.begin(slice);
  end = cut.end(slice);
  allocate(decoder, in_bytes);
}

void OptimizerState::allocate(Decoder& decoder, bool in_bytes) {
  const at::Tensor own = decoder.trained_weights().narrow(0, begin, end - begin);
  const auto type = in_bytes ? at::kByte : at::kFloat;
  moment1 = at::zeros_like(own, type);
  moment2 = at::zeros_like(own, type);
  if (!in_bytes) return;
  ensure(!own.is_cuda(), "moments of a byte on the CPU");
  const int64_t blocks = blocks_of(own.numel());
  scales1 = at::zeros({blocks}, at::kFloat);
  scales2 = at::zeros({blocks}, at::kFloat);
}

namespace {

// Sums are fp64 on the CPU, and on a GPU fp32 in a tree.
double norm_of(const at::Tensor& gradients, const OptimizerState& state, Ranks& ranks) {
  if (gradients.is_cuda()) return at::linalg_vector_norm(gradients).item<double>();
  const float* own = gradients.const_data_ptr<float>() + state.begin;
  if (!state.is_slice()) return std::sqrt(kernels::sum_of_squares(own, gradients.numel()));
  double total = 0;
  const std::string sums = bytes_of(kernels::block_sums_of_squares(own, state.end - state.begin));
  for (const std::string& bytes : ranks.gather(sums, "norm of the gradient"))
    for (const double sum : from_bytes<std::vector<double>>(bytes, "norm of the gradient"))
      total += sum;
  return std::sqrt(total);
}

}  // namespace

UpdateResult apply_update(Decoder& decoder, OptimizerState& state, const OptimizerConfig& config,
                          double learning_rate) {
  ensure(!state.is_slice(), "an optimizer state of all weights");
  Ranks alone;
  return apply_update(decoder, state, config, learning_rate, alone);
}

UpdateResult apply_update(Decoder& decoder, OptimizerState& state, const OptimizerConfig& config,
                          double learning_rate, Ranks& ranks) {
  at::Tensor& gradients = decoder.gradients();
  UpdateResult result{.applied = false,
                      .grad_norm = norm_of(gradients, state, ranks),
                      .learning_rate = learning_rate};
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
    const int64_t count = state.end - state.begin;
    auto* weights = decoder.trained_weights().data_ptr<float>() + state.begin;
    const auto* gradient = gradients.const_data_ptr<float>() + state.begin;
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
    if (state.is_slice()) ranks.gather_slices(decoder.trained_weights(), "gather of weights");
    decoder.trained_weights_changed();
    result.applied = true;
  }
  gradients.zero_();
  return result;
}

}  // namespace vernier
