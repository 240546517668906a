// A pass over tokens whose past lies in a cache: the layers of the decoder on plain arrays, without
// gradients. What it computes are the numbers of Decoder::hidden(); it is apart from it because
// here tensors, their memory and the traffic between the kernels would cost as much as the kernels.
#include <algorithm>

#include "core/base/errors.h"
#include "core/base/pulse.h"
#include "core/model/decoder.h"
#include "core/model/rope.h"

namespace vernier {

void CachedTokens::add(std::span<const int32_t> known, std::span<const int32_t> guessed,
                       int64_t first, const std::vector<int32_t>& pages) {
  const int64_t count = std::ssize(known) + std::ssize(guessed);
  spans.push_back({.pages = pages.data(), .first = first, .count = count, .row = std::ssize(ids)});
  ids.insert(ids.end(), known.begin(), known.end());
  ids.insert(ids.end(), guessed.begin(), guessed.end());
  for (int64_t t = 0; t < count; ++t) positions.push_back(static_cast<int32_t>(first + t));
}

namespace {
const float* numbers(const Parameter& parameter) { return parameter.value.const_data_ptr<float>(); }
}  // namespace

const float* Decoder::bias_of(std::optional<size_t> bias) const {
  return bias ? numbers(parameters_[*bias]) : nullptr;
}

void Decoder::attention_pass(const Pass& pass, int64_t index, const float* in, float* out,
                             bool add) {
  const Layer& layer = layers_[static_cast<size_t>(index)];
  const auto shape = spec_.attention(index);
  const int64_t rows = pass.rows, spans = std::ssize(pass.tokens.spans);
  float* qkv = arrays_.qkv.take(rows * shape.row());
  kernels::gemm(in, ops::packed(parameters_[layer.qkv], pass.format), qkv, rows,
                bias_of(layer.qkv_bias));
  if (layer.q_norm) {
    float* normed = arrays_.qkv_normed.take(rows * shape.row());
    kernels::qk_norm(qkv, numbers(parameters_[*layer.q_norm]), numbers(parameters_[*layer.k_norm]),
                     normed, arrays_.inverse.take(rows * kernels::qk_norms(shape, spec_.qk_norm)),
                     shape, spec_.qk_norm, rows, static_cast<float>(spec_.rms_norm_eps));
    qkv = normed;
  }
  const kernels::PagedLayer pages = pass.cache.layer(index);
  kernels::rope(qkv, pass.tokens.positions.data(), rope_.cosine.const_data_ptr<float>(),
                rope_.sine.const_data_ptr<float>(), shape, rows, false);
  kernels::paged_append(qkv, pages, pass.tokens.spans.data(), spans, shape);
  float* attended = arrays_.attended.take(rows * shape.heads * shape.head_size);
  kernels::paged_attention(
      qkv, pages, pass.tokens.spans.data(), spans, attended, shape,
      {.cosine = rope_.cosine.const_data_ptr<float>(), .sine = rope_.sine.const_data_ptr<float>()});
  kernels::gemm(attended, ops::packed(parameters_[layer.output], pass.format), out, rows,
                bias_of(layer.output_bias), add);
}

void Decoder::mlp_pass(const Pass& pass, const Layer& layer, const float* in, float* out,
                       bool add) {
  float* inner = arrays_.inner.take(pass.rows * spec_.intermediate_size);
  kernels::gemm_swiglu(in, ops::packed(parameters_[layer.gate_up], pass.format), inner, pass.rows,
                       bias_of(layer.gate_up_bias));
  kernels::gemm(inner, ops::packed(parameters_[layer.down], pass.format), out, pass.rows,
                bias_of(layer.down_bias), add);
}

int64_t Decoder::pass_bytes(const ModelSpec& spec, int64_t rows) {
  const auto shape = spec.attention(0);
  const int64_t norms = kernels::qk_norms(shape, spec.qk_norm);
  return 4 * rows *
         (spec.hidden_size * (spec.norm_after ? 4 : 3) + spec.intermediate_size +
          shape.row() * (spec.qk_norm == kernels::QkNorm::none ? 1 : 2) +
          shape.heads * shape.head_size + std::max<int64_t>(1, norms));
}

at::Tensor Decoder::cached(const CachedTokens& tokens, KvCache& cache, WeightFormat format) {
  ensure(store_ == nullptr, "a decoder whose weights are here");
  Parts* parts = parts_.get();
  for (const kernels::PagedSpan& span : tokens.spans) make_room(span.first + span.count);
  const int64_t rows = std::ssize(tokens.ids), width = spec_.hidden_size;
  const Pass pass{tokens, cache, format, rows};
  float* x = arrays_.residual.take(rows * width);
  float* normed = arrays_.normed.take(rows * width);
  float* block = spec_.norm_after || parts != nullptr ? arrays_.block.take(rows * width) : nullptr;
  const auto norm = [&](const float* in, size_t weight, float* out) {
    kernels::rms_norm(in, numbers(parameters_[weight]), out, arrays_.inverse.take(rows), rows,
                      width, static_cast<float>(spec_.rms_norm_eps));
  };
  // Adds to x what a block gives, whose norm is in front of it or behind.
  const auto add_block = [&](size_t weight, const auto& compute) {
    if (!spec_.norm_after) norm(x, weight, normed);
    const float* in = spec_.norm_after ? x : normed;
    if (block == nullptr) return compute(in, x, true);
    compute(in, block, false);
    if (parts != nullptr) parts->sum(block, rows * width);
    if (spec_.norm_after) norm(block, weight, normed);
    const float* more = spec_.norm_after ? normed : block;
    for (int64_t i = 0; i < rows * width; ++i) x[i] += more[i];
  };
  ops::check_ids(tokens.ids, parameters_[embedding_]);
  for (int64_t t = 0; t < rows; ++t)
    std::copy_n(numbers(parameters_[embedding_]) + tokens.ids[static_cast<size_t>(t)] * width,
                width, x + t * width);
  if (spec_.positions == Positions::absolute) {
    const at::Tensor more = sinusoids(tokens.positions, width);
    for (int64_t i = 0; i < rows * width; ++i) x[i] += more.const_data_ptr<float>()[i];
  }
  for (size_t i = 0; i < layers_.size(); ++i) {
    pulse::beat();
    const Layer& layer = layers_[i];
    const auto index = static_cast<int64_t>(i);
    add_block(layer.attention_norm, [&](const float* in, float* out, bool add) {
      attention_pass(pass, index, in, out, add);
    });
    add_block(layer.mlp_norm,
              [&](const float* in, float* out, bool add) { mlp_pass(pass, layer, in, out, add); });
  }
  at::Tensor hidden = at::empty({rows, width}, at::kFloat);
  norm(x, final_norm_, hidden.data_ptr<float>());
  return hidden;
}

}  // namespace vernier
