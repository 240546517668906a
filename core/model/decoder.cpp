#include "core/model/decoder.h"

#include <algorithm>
#include <cmath>

#include "core/base/buffer.h"
#include "core/base/errors.h"
#include "core/base/rng.h"
#include "core/kernels/device.h"
#include "core/model/rope.h"

namespace vernier {

int64_t NamedSlice::numel() const {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return count;
}

namespace {

void check_device(at::Device device) {
  if (!device.is_cuda()) return;
  if (!kernels::device::built())
    fail("--device cuda: this build has no CUDA; build the cuda preset");
  if (!at::globalContext().hasCUDA()) fail("--device cuda: torch finds no GPU here");
}

// Zeros that cost nothing until they are written, on the CPU.
at::Tensor zeros(int64_t count, at::ScalarType type, at::Device device) {
  const auto options = at::TensorOptions(type).device(device);
  if (!device.is_cpu() || count == 0) return at::zeros({count}, options);
  auto memory = std::make_shared<Buffer>(static_cast<size_t>(count) * at::elementSize(type));
  auto* bytes = memory->as<std::byte>();
  return at::from_blob(
      bytes, {count}, [memory](void*) {}, options);
}

}  // namespace

Decoder::Decoder(const ModelSpec& spec, bool trained, at::ScalarType type, at::Device device)
    : spec_(spec), rope_(make_rope_table(spec.rope, spec.rotary(), spec.longest())) {
  embedding_ = add("embedding", {spec.vocab_size, spec.hidden_size});
  add_slice("model.embed_tokens.weight", embedding_, 0, spec.vocab_size);
  for (int64_t i = 0; i < spec.num_hidden_layers; ++i) layers_.push_back(add_layer(i));
  final_norm_ = add("final_norm", {spec.hidden_size});
  add_slice("model.norm.weight", final_norm_, 0, 0);
  head_ = embedding_;
  if (!spec.tie_word_embeddings) {
    head_ = add("head", {spec.vocab_size, spec.hidden_size});
    add_slice("lm_head.weight", head_, 0, spec.vocab_size);
  }
  allocate(trained, type, device);
}

// The parameters of a layer and their names in a checkpoint, in the order of its work.
Decoder::Layer Decoder::add_layer(int64_t index) {
  const std::string at = cat("model.layers.", index, ".");
  const int64_t width = spec_.hidden_size, inner = spec_.intermediate_size;
  const int64_t q_rows = spec_.num_attention_heads * spec_.head_dim;
  const int64_t kv_rows = spec_.num_key_value_heads * spec_.head_dim;
  const auto whole = [&](const char* name, std::vector<int64_t> shape, const std::string& file) {
    const size_t parameter = add(cat(at, name), std::move(shape));
    add_slice(cat(at, file), parameter, 0, 0);
    return parameter;
  };
  // Queries, keys and values in one parameter, gate and up in another: one product each.
  const auto fused = [&](const char* name, std::vector<int64_t> shape,
                         const std::vector<std::pair<std::string, int64_t>>& parts) {
    const size_t parameter = add(cat(at, name), std::move(shape));
    int64_t row = 0;
    for (const auto& [file, rows] : parts) {
      add_slice(cat(at, file), parameter, row, rows);
      row += rows;
    }
    return parameter;
  };
  const auto qkv = [&](const char* ending) {
    return std::vector<std::pair<std::string, int64_t>>{
        {cat("self_attn.q_proj.", ending), q_rows},
        {cat("self_attn.k_proj.", ending), kv_rows},
        {cat("self_attn.v_proj.", ending), kv_rows}};
  };
  const auto gate_up = [&](const char* ending) {
    return std::vector<std::pair<std::string, int64_t>>{{cat("mlp.gate_proj.", ending), inner},
                                                        {cat("mlp.up_proj.", ending), inner}};
  };
  const bool after = spec_.norm_after;
  Layer layer{};
  layer.attention_norm =
      whole("attention_norm", {width},
            after ? "post_attention_layernorm.weight" : "input_layernorm.weight");
  layer.qkv = fused("qkv", {q_rows + 2 * kv_rows, width}, qkv("weight"));
  if (spec_.qkv_bias) layer.qkv_bias = fused("qkv_bias", {q_rows + 2 * kv_rows}, qkv("bias"));
  if (spec_.qk_norm != kernels::QkNorm::none) {
    const bool all = spec_.qk_norm == kernels::QkNorm::all;
    layer.q_norm = whole("q_norm", {all ? q_rows : spec_.head_dim}, "self_attn.q_norm.weight");
    layer.k_norm = whole("k_norm", {all ? kv_rows : spec_.head_dim}, "self_attn.k_norm.weight");
  }
  layer.output = whole("output", {width, q_rows}, "self_attn.o_proj.weight");
  if (spec_.output_bias) layer.output_bias = whole("output_bias", {width}, "self_attn.o_proj.bias");
  layer.mlp_norm =
      whole("mlp_norm", {width},
            after ? "post_feedforward_layernorm.weight" : "post_attention_layernorm.weight");
  layer.gate_up = fused("gate_up", {2 * inner, width}, gate_up("weight"));
  if (spec_.mlp_bias) layer.gate_up_bias = fused("gate_up_bias", {2 * inner}, gate_up("bias"));
  layer.down = whole("down", {width, inner}, "mlp.down_proj.weight");
  if (spec_.mlp_bias) layer.down_bias = whole("down_bias", {width}, "mlp.down_proj.bias");
  return layer;
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

void Decoder::allocate(bool trained, at::ScalarType type, at::Device device) {
  check_device(device);
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
  weights_ = zeros(total, type, device);
  if (trained) gradients_ = zeros(total, type, device);
  for (size_t i = 0; i < shapes_.size(); ++i) {
    std::vector<int64_t> strides(shapes_[i].size(), 1);
    if (strides.size() == 2) strides[0] = shapes_[i][1];
    parameters_[i].value = weights_.as_strided(shapes_[i], strides, offsets[i]);
    if (!trained) continue;
    parameters_[i].value.requires_grad_(true);
    parameters_[i].grad = gradients_.as_strided(shapes_[i], strides, offsets[i]);
  }
}

void Decoder::weights_changed() {
  ++version_;
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
      value.fill_(parameters_[i].name.ends_with("bias") ? 0.0 : 1.0);
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

at::Tensor Decoder::linear(const at::Tensor& x, size_t weight, std::optional<size_t> bias) {
  return ops::linear(x, parameters_[weight], bias ? &parameters_[*bias] : nullptr);
}

at::Tensor Decoder::attention_block(const at::Tensor& x, int64_t index,
                                    const PackedTokens& tokens) {
  const Layer& layer = layers_[static_cast<size_t>(index)];
  const auto shape = spec_.attention(index);
  at::Tensor qkv = linear(x, layer.qkv, layer.qkv_bias);
  if (layer.q_norm)
    qkv = ops::qk_norm(qkv, parameters_[*layer.q_norm], parameters_[*layer.k_norm], shape,
                       spec_.qk_norm, spec_.rms_norm_eps);
  return linear(ops::rope_attention(qkv, tokens, rope_, shape), layer.output, layer.output_bias);
}

at::Tensor Decoder::mlp_block(const at::Tensor& x, const Layer& layer) {
  const at::Tensor inner = ops::swiglu(linear(x, layer.gate_up, layer.gate_up_bias));
  return linear(inner, layer.down, layer.down_bias);
}

// For a sequence of this many tokens, or an error.
void Decoder::make_room(int64_t tokens) {
  if (tokens > spec_.longest())
    fail("a sequence of ", tokens, " tokens is longer than the model's ", spec_.longest(),
         " positions");
  rope_.reserve(tokens);
}

namespace {
int64_t longest_of(const PackedTokens& tokens) {
  int64_t longest = 0;
  for (size_t s = 0; s + 1 < tokens.starts.size(); ++s)
    longest = std::max<int64_t>(longest, tokens.starts[s + 1] - tokens.starts[s]);
  return longest;
}
}  // namespace

at::Tensor Decoder::hidden(const PackedTokens& tokens) {
  make_room(longest_of(tokens));
  const auto norm = [&](const at::Tensor& h, size_t weight) {
    return ops::rms_norm(h, parameters_[weight], spec_.rms_norm_eps);
  };
  at::Tensor x = ops::embedding(tokens.ids, parameters_[embedding_]);
  for (size_t i = 0; i < layers_.size(); ++i) {
    const Layer& layer = layers_[i];
    const auto index = static_cast<int64_t>(i);
    if (spec_.norm_after) {
      x = x + norm(attention_block(x, index, tokens), layer.attention_norm);
      x = x + norm(mlp_block(x, layer), layer.mlp_norm);
    } else {
      x = x + attention_block(norm(x, layer.attention_norm), index, tokens);
      x = x + mlp_block(norm(x, layer.mlp_norm), layer);
    }
  }
  return norm(x, final_norm_);
}

at::Tensor Decoder::logits(const at::Tensor& hidden, WeightFormat format) {
  const at::NoGradGuard no_grad;
  if (format == WeightFormat::fp32) return ops::linear(hidden.contiguous(), head());
  const at::Tensor rows = hidden.contiguous();
  at::Tensor out = at::empty({rows.size(0), spec_.vocab_size}, rows.options());
  logits(rows.const_data_ptr<float>(), rows.size(0), format, out.data_ptr<float>());
  return out;
}

void Decoder::logits(const float* hidden, int64_t rows, WeightFormat format, float* out) {
  kernels::gemm(hidden, ops::packed(head(), format), out, rows);
}

Parameter& Decoder::head() { return parameters_[head_]; }

}  // namespace vernier
