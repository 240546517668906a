#include "trainer/adamw.h"

#include <cmath>

#include "core/kernels/kernels.h"

namespace vernier {

OptimizerState::OptimizerState(const Decoder& decoder) {
  const at::Tensor& weights = const_cast<Decoder&>(decoder).weights();
  moment1 = at::zeros_like(weights);
  moment2 = at::zeros_like(weights);
}

UpdateResult apply_update(Decoder& decoder, OptimizerState& state, const OptimizerConfig& config,
                          double learning_rate) {
  at::Tensor& gradients = decoder.gradients();
  const int64_t count = gradients.numel();
  UpdateResult result{
      .applied = false,
      .grad_norm = std::sqrt(kernels::sum_of_squares(gradients.const_data_ptr<float>(), count)),
      .learning_rate = learning_rate};
  if (std::isfinite(result.grad_norm)) {
    const bool clip = config.grad_clip > 0 && result.grad_norm > config.grad_clip;
    ++state.step;
    kernels::adamw(decoder.weights().data_ptr<float>(), gradients.const_data_ptr<float>(),
                   state.moment1.data_ptr<float>(), state.moment2.data_ptr<float>(), count,
                   {.learning_rate = learning_rate,
                    .beta1 = config.betas[0],
                    .beta2 = config.betas[1],
                    .eps = config.eps,
                    .weight_decay = config.weight_decay,
                    .grad_scale = clip ? config.grad_clip / result.grad_norm : 1.0,
                    .step = state.step});
    decoder.weights_changed();
    result.applied = true;
  }
  gradients.zero_();
  return result;
}

}  // namespace vernier
