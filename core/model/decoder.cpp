#include "core/model/decoder.h"

#include <cmath>

#include "core/base/errors.h"
#include "core/base/rng.h"
#include "core/kernels/device.h"

namespace vernier {

Decoder::Decoder(const ModelSpec& spec, bool trained, at::ScalarType type)
    : spec_(spec), rope_(spec.max_position_embeddings, spec.head_dim, spec.rope_theta) {
  const int64_t width = spec.hidden_size, inner = spec.intermediate_size;
  const int64_t q_rows = spec.num_attention_heads * spec.head_dim;
  const int64_t kv_rows = spec.num_key_value_heads * spec.head_dim;
  embedding_ = add("embedding", {spec.vocab_size, width});
  add_slice("model.embed_tokens.weight", embedding_, 0, spec.vocab_size);
  for (int64_t i = 0; i < spec.num_hidden_layers; ++i) {
    const std::string at = cat("model.layers.", i, ".");
    Layer layer{};
    layer.attention_norm = add(cat(at, "attention_norm"), {width});
    add_slice(cat(at, "input_layernorm.weight"), layer.attention_norm, 0, 0);
    layer.qkv = add(cat(at, "qkv"), {q_rows + 2 * kv_rows, width});
    add_slice(cat(at, "self_attn.q_proj.weight"), layer.qkv, 0, q_rows);
    add_slice(cat(at, "self_attn.k_proj.weight"), layer.qkv, q_rows, kv_rows);
    add_slice(cat(at, "self_attn.v_proj.weight"), layer.qkv, q_rows + kv_rows, kv_rows);
    layer.output = add(cat(at, "output"), {width, q_rows});
    add_slice(cat(at, "self_attn.o_proj.weight"), layer.output, 0, width);
    layer.mlp_norm = add(cat(at, "mlp_norm"), {width});
    add_slice(cat(at, "post_attention_layernorm.weight"), layer.mlp_norm, 0, 0);
    layer.gate_up = add(cat(at, "gate_up"), {2 * inner, width});
    add_slice(cat(at, "mlp.gate_proj.weight"), layer.gate_up, 0, inner);
    add_slice(cat(at, "mlp.up_proj.weight"), layer.gate_up, inner, inner);
    layer.down = add(cat(at, "down"), {width, inner});
    add_slice(cat(at, "mlp.down_proj.weight"), layer.down, 0, width);
    layers_.push_back(layer);
  }
  final_norm_ = add("final_norm", {width});
  add_slice("model.norm.weight", final_norm_, 0, 0);
  head_ = embedding_;
  if (!spec.tie_word_embeddings) {
    head_ = add("head", {spec.vocab_size, width});
    add_slice("lm_head.weight", head_, 0, spec.vocab_size);
  }
  allocate(trained, type);
}

size_t Decoder::add(const std::string& name, std::vector<int64_t> shape) {
  parameters_.push_back({});
  parameters_.back().name = name;
  shapes_.push_back(std::move(shape));
  return parameters_.size() - 1;
}

void Decoder::add_slice(const std::string& name, size_t parameter, int64_t first_row,
                        int64_t rows) {
  std::vector<int64_t> shape = shapes_[parameter];
  if (rows > 0) shape[0] = rows;
  slices_.push_back({name, parameter, first_row, rows, std::move(shape)});
}

void Decoder::allocate(bool trained, at::ScalarType type) {
  constexpr int64_t kAlign = 16;  // elements: 64 bytes of fp32
  std::vector<int64_t> offsets;
  int64_t total = 0;
  for (const auto& shape : shapes_) {
    int64_t count = 1;
    for (const int64_t size : shape) count *= size;
    offsets.push_back(total);
    num_parameters_ += count;
    total += kernels::round_up(count, kAlign);
  }
  weights_ = at::zeros({total}, type);
  if (trained) gradients_ = at::zeros({total}, type);
  for (size_t i = 0; i < shapes_.size(); ++i) {
    std::vector<int64_t> strides(shapes_[i].size(), 1);
    if (strides.size() == 2) strides[0] = shapes_[i][1];
    parameters_[i].value = weights_.as_strided(shapes_[i], strides, offsets[i]);
    if (!trained) continue;
    parameters_[i].value.requires_grad_(true);
    parameters_[i].grad = gradients_.as_strided(shapes_[i], strides, offsets[i]);
  }
}

void Decoder::to_gpu() {
  ensure(!gradients_.defined(), "a model that is not trained");
  if (!kernels::device::built())
    fail("--device cuda: this build has no CUDA; build the cuda preset");
  if (!at::globalContext().hasCUDA()) fail("--device cuda: torch finds no GPU here");
  const at::Tensor host = weights_;
  weights_ = host.to(at::kCUDA);
  for (Parameter& parameter : parameters_)
    parameter.value = weights_.as_strided(parameter.value.sizes(), parameter.value.strides(),
                                          parameter.value.storage_offset());
  weights_changed();
}

void Decoder::weights_changed() {
  for (Parameter& parameter : parameters_) parameter.changed();
}

at::Tensor Decoder::slice(const NamedSlice& slice) {
  const at::Tensor value = parameters_[slice.parameter].value.detach();
  return slice.rows > 0 ? value.narrow(0, slice.first_row, slice.rows) : value;
}

void Decoder::randomize(uint64_t seed, double embedding_std, double residual_scale) {
  const double residual =
      residual_scale / std::sqrt(2.0 * static_cast<double>(spec_.num_hidden_layers));
  for (size_t i = 0; i < parameters_.size(); ++i) {
    at::Tensor value = parameters_[i].value.detach();
    if (value.dim() == 1) {
      value.fill_(1.0);
      continue;
    }
    double std = 1.0 / std::sqrt(static_cast<double>(value.size(1)));
    if (i == embedding_) std = embedding_std;
    for (const Layer& layer : layers_)
      if (i == layer.output || i == layer.down) std *= residual;
    Rng rng(seed, Stream::init, i);
    float* out = value.data_ptr<float>();
    for (int64_t k = 0; k < value.numel(); ++k)
      out[k] = static_cast<float>(std * rng.next_normal());
  }
  weights_changed();
}

at::Tensor Decoder::run(at::Tensor x, const Attend& attend) {
  for (size_t i = 0; i < layers_.size(); ++i) {
    const Layer& layer = layers_[i];
    at::Tensor h = ops::rms_norm(x, parameters_[layer.attention_norm], spec_.rms_norm_eps);
    h = attend(static_cast<int64_t>(i), ops::linear(h, parameters_[layer.qkv]));
    x = x + ops::linear(h, parameters_[layer.output]);
    h = ops::rms_norm(x, parameters_[layer.mlp_norm], spec_.rms_norm_eps);
    h = ops::swiglu(ops::linear(h, parameters_[layer.gate_up]));
    x = x + ops::linear(h, parameters_[layer.down]);
  }
  return ops::rms_norm(x, parameters_[final_norm_], spec_.rms_norm_eps);
}

namespace {
void check_length(const PackedTokens& tokens, const ModelSpec& spec) {
  for (int64_t s = 0; s < tokens.sequences(); ++s) {
    const int64_t length =
        tokens.starts[static_cast<size_t>(s) + 1] - tokens.starts[static_cast<size_t>(s)];
    if (length > spec.max_position_embeddings)
      fail("a sequence of ", length, " tokens is longer than the model's ",
           spec.max_position_embeddings, " positions");
  }
}
}  // namespace

at::Tensor Decoder::hidden(const PackedTokens& tokens) {
  check_length(tokens, spec_);
  return run(ops::embedding(tokens.ids, parameters_[embedding_]),
             [&](int64_t, const at::Tensor& qkv) {
               return ops::rope_attention(qkv, tokens, rope_, spec_.attention());
             });
}

at::Tensor Decoder::prefill(const PackedTokens& tokens, std::vector<KvCache*> caches) {
  const at::NoGradGuard no_grad;
  check_length(tokens, spec_);
  const auto shape = spec_.attention();
  const auto attend = [&](int64_t layer, const at::Tensor& qkv) {
    const at::Tensor out = ops::rope_attention(qkv, tokens, rope_, shape);  // rotates qkv in place
    for (size_t s = 0; s < caches.size(); ++s) {
      const int64_t first = tokens.starts[s], count = tokens.starts[s + 1] - first;
      kernels::CacheView view = caches[s]->layer(layer, count);
      kernels::cache_append(qkv.const_data_ptr<float>() + first * shape.row(), view, shape, count);
    }
    return out;
  };
  const at::Tensor x = run(ops::embedding(tokens.ids, parameters_[embedding_]), attend);
  for (size_t s = 0; s < caches.size(); ++s)
    caches[s]->advance(tokens.starts[s + 1] - tokens.starts[s]);
  return x;
}

at::Tensor Decoder::decode(const std::vector<int32_t>& ids, const std::vector<KvCache*>& caches) {
  const at::NoGradGuard no_grad;
  const auto shape = spec_.attention();
  const auto rows = static_cast<int64_t>(ids.size());
  std::vector<int32_t> positions;
  for (const KvCache* cache : caches) {
    if (cache->length() >= spec_.max_position_embeddings)
      fail("a sequence is longer than the model's ", spec_.max_position_embeddings, " positions");
    positions.push_back(static_cast<int32_t>(cache->length()));
  }
  std::vector<kernels::CacheView> views(caches.size());
  const auto attend = [&](int64_t layer, const at::Tensor& qkv) {
    float* rows_of_qkv = qkv.data_ptr<float>();
    kernels::rope(rows_of_qkv, positions.data(), rope_.cosine.const_data_ptr<float>(),
                  rope_.sine.const_data_ptr<float>(), shape, rows, false);
    for (size_t b = 0; b < caches.size(); ++b) {
      views[b] = caches[b]->layer(layer, 1);
      kernels::cache_append(rows_of_qkv + static_cast<int64_t>(b) * shape.row(), views[b], shape,
                            1);
    }
    at::Tensor out = at::empty({rows, shape.heads * shape.head_size}, qkv.options());
    kernels::decode_attention(rows_of_qkv, views.data(), rows, out.data_ptr<float>(), shape);
    return out;
  };
  const at::Tensor x = run(ops::embedding(ids, parameters_[embedding_]), attend);
  for (KvCache* cache : caches) cache->advance(1);
  return x;
}

at::Tensor Decoder::logits(const at::Tensor& hidden) {
  const at::NoGradGuard no_grad;
  return ops::linear(hidden.contiguous(), head());
}

Parameter& Decoder::head() { return parameters_[head_]; }

}  // namespace vernier
