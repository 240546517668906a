#include "trainer/adamw.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "core/base/bytes.h"
#include "core/base/errors.h"
#include "core/base/pool.h"
#include "core/comm/slices.h"
#include "core/kernels/adam8.h"
#include "core/kernels/device_training.h"

namespace vernier {

namespace {

static_assert(Slices::kBlock == kernels::kSumBlock && Slices::kBlock % kernels::kMomentBlock == 0,
              "the norm is one number however slices are cut, and they cut no block of moments");

int64_t blocks_of(int64_t weights) {
  return (weights + kernels::kMomentBlock - 1) / kernels::kMomentBlock;
}
}  // namespace

int64_t OptimizerState::bytes(int64_t weights, bool in_bytes) {
  return in_bytes ? 2 * (weights + 4 * blocks_of(weights)) : 8 * weights;
}

namespace {
// Of the weights as every rank knows them, whoever has them.
int64_t trained_numbers(Decoder& decoder) {
  return decoder.store() != nullptr ? decoder.weights().numel() : decoder.trained_weights().numel();
}
}  // namespace

OptimizerState::OptimizerState(Decoder& decoder, bool in_bytes)
    : weights(trained_numbers(decoder)) {
  allocate(weights, in_bytes, decoder.trained_weights());
}

OptimizerState::OptimizerState(Decoder& decoder, bool in_bytes, const Ranks& ranks)
    : weights(trained_numbers(decoder)), slice(ranks.rank()), slices(ranks.size()) {
  allocate(Slices(weights, slices).size(slice), in_bytes, decoder.trained_weights());
}

void OptimizerState::allocate(int64_t count, bool in_bytes, const at::Tensor& like) {
  const auto zeros = [&](int64_t numbers, at::ScalarType type) {
    return at::zeros({numbers}, like.options().dtype(type).requires_grad(false));
  };
  const auto type = in_bytes ? at::kByte : at::kFloat;
  moment1 = zeros(count, type);
  moment2 = zeros(count, type);
  if (!in_bytes) return;
  ensure(!like.is_cuda(), "moments of a byte on the CPU");
  scales1 = zeros(blocks_of(count), at::kFloat);
  scales2 = zeros(blocks_of(count), at::kFloat);
}

namespace {

// Sums are fp64 on the CPU, over blocks in their order, and on a GPU fp32 in a tree.
double norm_of(const at::Tensor& gradient, const OptimizerState& state, Ranks& ranks) {
  constexpr const char* kWhat = "norm of the gradient";
  if (gradient.is_cuda()) {
    const auto here = at::linalg_vector_norm(gradient).item<double>();
    if (!state.is_slice()) return here;
    double total = 0;
    for (const std::string& bytes : ranks.gather(bytes_of(here), kWhat)) {
      const auto norm = from_bytes<double>(bytes, kWhat);
      total += norm * norm;
    }
    return std::sqrt(total);
  }
  const float* own = gradient.const_data_ptr<float>();
  if (!state.is_slice()) return std::sqrt(kernels::sum_of_squares(own, gradient.numel()));
  std::vector<std::vector<double>> by_rank;
  for (const std::string& bytes :
       ranks.gather(bytes_of(kernels::block_sums_of_squares(own, state.count())), kWhat))
    by_rank.push_back(from_bytes<std::vector<double>>(bytes, kWhat));
  const Slices slices(state.weights, ranks.size());
  double total = 0;
  for (int64_t block = 0; block < slices.blocks(); ++block)
    total += by_rank[static_cast<size_t>(block % slices.ranks)].at(
        static_cast<size_t>(block / slices.ranks));
  return std::sqrt(total);
}

void step_weights(float* weights, const float* gradient, OptimizerState& state, int64_t first,
                  int64_t count, const kernels::AdamStep& step) {
  if (state.in_bytes()) {
    const int64_t block = first / kernels::kMomentBlock;
    kernels::adamw_8bit(
        weights, gradient,
        {state.moment1.data_ptr<uint8_t>() + first, state.moment2.data_ptr<uint8_t>() + first,
         state.scales1.data_ptr<float>() + block, state.scales2.data_ptr<float>() + block},
        count, step);
    return;
  }
  auto *moment1 = state.moment1.data_ptr<float>() + first,
       *moment2 = state.moment2.data_ptr<float>() + first;
  if (state.moment1.is_cuda())
    kernels::device::adamw(weights, gradient, moment1, moment2, count, step, nullptr);
  else
    kernels::adamw(weights, gradient, moment1, moment2, count, step);
}

// Steps what the state is of, wherever it lies.
void step_all(Decoder& decoder, OptimizerState& state, const at::Tensor& gradient,
              const kernels::AdamStep& step, Ranks& ranks) {
  if (UnitStore* store = decoder.store()) store->release();  // a gathering reads what is stepped
  at::Tensor& weights = decoder.trained_weights();
  auto* numbers = weights.data_ptr<float>();
  const auto* own = gradient.const_data_ptr<float>();
  if (!state.is_slice() || decoder.store() != nullptr) {
    step_weights(numbers, own, state, 0, state.count(), step);
  } else {
    struct Block {
      int64_t at, place, count;
    };
    std::vector<Block> blocks;
    Slices(state.weights, state.slices)
        .for_blocks(state.slice, 0, state.weights, [&](int64_t at, int64_t place, int64_t count) {
          blocks.push_back({at, place, count});
        });
    const auto step_block = [&](const Block& one) {
      step_weights(numbers + one.at, own + one.place, state, one.place, one.count, step);
    };
    // A block in bytes is shared out over threads itself, one on a GPU goes to its own.
    if (state.in_bytes() || weights.is_cuda())
      std::ranges::for_each(blocks, step_block);
    else
      kernel_pool().run(std::ssize(blocks),
                        [&](int64_t i) { step_block(blocks[static_cast<size_t>(i)]); });
    ranks.gather_slices(weights, "gather of weights");
  }
  decoder.trained_weights_changed();
}

}  // namespace

UpdateResult apply_update(Decoder& decoder, OptimizerState& state, const OptimizerConfig& config,
                          double learning_rate) {
  ensure(!state.is_slice(), "an optimizer state of all weights");
  Ranks alone;
  return apply_update(decoder, state, decoder.gradients(), config, learning_rate, alone);
}

UpdateResult apply_update(Decoder& decoder, OptimizerState& state, at::Tensor& gradient,
                          const OptimizerConfig& config, double learning_rate, Ranks& ranks) {
  UpdateResult result{.applied = false,
                      .grad_norm = norm_of(gradient, state, ranks),
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
    step_all(decoder, state, gradient, step, ranks);
    result.applied = true;
  }
  gradient.zero_();
  return result;
}

}  // namespace vernier
