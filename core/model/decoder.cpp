#include "core/model/decoder.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "core/base/buffer.h"
#include "core/base/errors.h"
#include "core/base/rng.h"
#include "core/kernels/device.h"
#include "core/kernels/ops_device.h"
#include "core/model/adapters.h"
#include "core/model/rope.h"

namespace vernier {

namespace {
int64_t numel_of(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return count;
}
}  // namespace

int64_t NamedSlice::numel() const { return numel_of(shape); }

namespace {

void check_device(at::Device device, const ModelSpec& spec) {
  if (!device.is_cuda()) return;
  if (const std::string what = spec.cpu_only(); !what.empty())
    fail("run.device: \"cuda\": ", what, " is computed on the CPU alone");
  if (!kernels::device::built())
    fail("run.device: \"cuda\": this build has no CUDA; build the cuda preset");
  if (!at::globalContext().hasCUDA()) fail("run.device: \"cuda\": torch finds no GPU here");
  // Products of bf16 are summed in fp32 to their end.
  at::globalContext().setAllowBF16ReductionCuBLAS(/*allow_reduced_precision=*/false);
}

// Zeros that cost nothing until they are written, on the CPU.
at::Tensor zeros(int64_t count, at::ScalarType type, at::Device device,
                 PageGroup* pages = nullptr) {
  const auto options = at::TensorOptions(type).device(device);
  if (!device.is_cpu() || count == 0) return at::zeros({count}, options);
  auto memory = std::make_shared<Buffer>(static_cast<size_t>(count) * at::elementSize(type), pages);
  auto* bytes = memory->as<std::byte>();
  return at::from_blob(
      bytes, {count}, [memory](void*) {}, options);
}

}  // namespace

Decoder::Decoder(const ModelSpec& spec, bool trained, at::ScalarType type, at::Device device)
    : spec_(spec),
      rope_(make_rope_table(spec.rope, spec.rotary(), spec.longest())),
      device_(device) {
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
  find_units();
  for (size_t i = 0; i < layers_.size(); ++i) {
    layer_parameters_.push_back(layer_parameters(layers_[i]));
    layer_shapes_.push_back(layer_shape(static_cast<int64_t>(i)));
  }
}

Decoder::~Decoder() = default;

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
  check_device(device, spec_);
  constexpr int64_t kAlign = 16;  // elements: 64 bytes of fp32
  int64_t total = 0;
  for (const auto& shape : shapes_) {
    const int64_t count = numel_of(shape);
    places_.push_back(total);
    num_parameters_ += count;
    total += kernels::round_up(count, kAlign);
  }
  weights_ = zeros(total, type, device);
  if (trained) gradients_ = zeros(total, type, device);
  for (size_t i = 0; i < shapes_.size(); ++i) {
    parameters_[i].value = view_of(weights_, i, 0);
    if (!trained) continue;
    parameters_[i].value.requires_grad_(true);
    parameters_[i].grad = view_of(gradients_, i, 0);
  }
}

// Of the flat weights from `first` on.
at::Tensor Decoder::view_of(const at::Tensor& flat, size_t parameter, int64_t first) const {
  const std::vector<int64_t>& shape = shapes_[parameter];
  return flat.narrow(0, places_[parameter] - first, numel_of(shape)).view(shape);
}

// Parameters lie in memory in the order in which they were added.
void Decoder::find_units() {
  const auto of_layers = static_cast<int64_t>(layers_.size());
  const auto number = [&](size_t parameter) -> int64_t {
    if (parameter == embedding_) return 0;
    if (parameter == final_norm_) return of_layers;
    if (parameter == head_) return of_layers + 1;
    const auto after = std::upper_bound(
        layers_.begin(), layers_.end(), parameter,
        [](size_t place, const Layer& layer) { return place < layer.attention_norm; });
    return after - layers_.begin();
  };
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const int64_t unit = parameters_[i].unit = number(i);
    const int64_t begin = places_[i];
    if (unit == std::ssize(units_)) {
      if (unit > 0) units_.back().end = begin;
      units_.push_back({.begin = begin, .end = 0});
    }
  }
  units_.back().end = weights_.numel();
}

std::span<Parameter> Decoder::parameters_of(int64_t unit) {
  const auto in = [](const Parameter& one) { return one.unit; };
  const auto found = std::ranges::equal_range(parameters_, unit, {}, in);
  return {found.begin(), found.end()};
}

std::span<const NamedSlice> Decoder::slices_of(int64_t unit) const {
  const auto in = [&](const NamedSlice& slice) { return parameters_[slice.parameter].unit; };
  const auto found = std::ranges::equal_range(slices_, unit, {}, in);
  return {found.begin(), found.end()};
}

void Decoder::keep_in(UnitStore& store, at::Device device) {
  ensure(weights_.is_meta() && weights_.scalar_type() == at::kFloat, "fp32 weights elsewhere");
  check_device(device, spec_);
  store_ = &store;
  device_ = device;
  for (Parameter& parameter : parameters_) parameter.store = &store;
}

at::Tensor Decoder::room_for(int64_t unit) const {
  const Unit& place = units_[static_cast<size_t>(unit)];
  PageGroup own;  // all of it goes at once
  return zeros(place.end - place.begin, at::kFloat, device_, &own);
}

void Decoder::put(int64_t unit, const at::Tensor& values) {
  const int64_t first = values.defined() ? units_[static_cast<size_t>(unit)].begin : 0;
  const at::Tensor& flat = values.defined() ? values : weights_;
  for (Parameter& parameter : parameters_of(unit)) {
    const auto place = static_cast<size_t>(&parameter - parameters_.data());
    parameter.value = view_of(flat, place, first).requires_grad_(parameter.value.requires_grad());
    parameter.bf16 = at::Tensor();
    parameter.changed();
  }
}

void Decoder::put_gradient(int64_t unit, const at::Tensor& values) {
  const int64_t first = values.defined() ? units_[static_cast<size_t>(unit)].begin : 0;
  for (Parameter& parameter : parameters_of(unit))
    parameter.grad = view_of(values.defined() ? values : gradients_,
                             static_cast<size_t>(&parameter - parameters_.data()), first);
}

at::Tensor Decoder::unit_weights(int64_t unit) {
  if (store_ != nullptr) store_->bring(unit);
  const Unit& place = units_[static_cast<size_t>(unit)];
  const at::Tensor& first = parameters_of(unit).front().value;
  return first.detach().as_strided({place.end - place.begin}, {1}, first.storage_offset());
}

void Decoder::join_pass(bool backward) {
  ensure(store_ != nullptr, "a pass that others make");
  for (int64_t unit = 0; unit < std::ssize(units_); ++unit) store_->bring(unit);
  const int64_t head = head_ == embedding_ ? 0 : std::ssize(units_) - 1;
  if (head == 0) store_->bring(head);
  if (!backward) return;
  store_->gradient_done(head);
  for (int64_t unit = std::ssize(layers_); unit > 0; --unit) {
    store_->bring(unit);
    store_->gradient_done(unit);
  }
  store_->gradient_done(0);
}

void Decoder::weights_changed() {
  ++version_;
  for (Parameter& parameter : parameters_) parameter.changed();
}

void Decoder::adapt(const LoraConfig& config, const std::string& base, uint64_t seed) {
  ensure(weights_.is_cpu() && weights_.scalar_type() == at::kFloat && !gradients_.defined(),
         "a decoder in fp32 on the CPU that is not trained yet");
  adapters_ = std::make_unique<Adapters>(*this, config, base, seed);
  gradients_ = adapters_->gradients();
  parameters_[embedding_].value.requires_grad_(true);  // a graph begins there
  trained_weights_changed();
}

at::Tensor& Decoder::trained_weights() {
  if (store_ != nullptr) return store_->kept();
  return adapters_ ? adapters_->values() : weights_;
}

void Decoder::trained_weights_changed() {
  if (store_ != nullptr) store_->release();  // what was brought is of before
  if (adapters_ == nullptr) return weights_changed();
  use_adapters(true);
}

void Decoder::use_adapters(bool on) {
  if (adapters_ == nullptr) return;
  ++version_;
  if (on)
    adapters_->merge();
  else
    adapters_->restore_base();
}

at::Tensor Decoder::slice(const NamedSlice& slice) {
  parameters_[slice.parameter].bring();
  const at::Tensor value = parameters_[slice.parameter].value.detach();
  return slice.rows > 0 ? value.narrow(0, slice.first_row, slice.rows) : value;
}

std::unique_ptr<Decoder> Decoder::frozen_copy() {
  ensure(store_ == nullptr && parts_ == nullptr, "a decoder whose weights are here");
  auto copy = std::make_unique<Decoder>(spec_, false, weights_.scalar_type(), weights_.device());
  copy->training = training;
  copy->weights().copy_(weights_);
  copy->weights_changed();
  return copy;
}

void Decoder::randomize(uint64_t seed, double embedding_std, double residual_scale,
                        std::optional<int64_t> unit) {
  const double residual =
      residual_scale / std::sqrt(2.0 * static_cast<double>(spec_.num_hidden_layers));
  for (size_t i = 0; i < parameters_.size(); ++i) {
    if (unit && parameters_[i].unit != *unit) continue;
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
    const at::Tensor drawn = value.is_cpu() ? value : at::empty(value.sizes(), at::kFloat);
    float* out = drawn.data_ptr<float>();
    for (int64_t k = 0; k < value.numel(); ++k)
      out[k] = static_cast<float>(std * rng.next_normal());
    if (!value.is_cpu()) value.copy_(drawn);
  }
  weights_changed();
}

LayerParameters Decoder::layer_parameters(const Layer& layer) {
  const auto at = [this](size_t place) { return &parameters_[place]; };
  const auto maybe = [this](std::optional<size_t> place) {
    return place ? &parameters_[*place] : nullptr;
  };
  return {.attention_norm = at(layer.attention_norm),
          .qkv_bias = maybe(layer.qkv_bias),
          .q_norm = maybe(layer.q_norm),
          .k_norm = maybe(layer.k_norm),
          .output_bias = maybe(layer.output_bias),
          .mlp_norm = at(layer.mlp_norm),
          .gate_up_bias = maybe(layer.gate_up_bias),
          .down_bias = maybe(layer.down_bias),
          .qkv = at(layer.qkv),
          .output = at(layer.output),
          .gate_up = at(layer.gate_up),
          .down = at(layer.down)};
}

kernels::LayerShape Decoder::layer_shape(int64_t index) const {
  return {.width = spec_.hidden_size,
          .inner = spec_.intermediate_size,
          .attention = spec_.attention(index),
          .qk_norm = spec_.qk_norm,
          .norm_after = spec_.norm_after,
          .eps = spec_.rms_norm_eps};
}

// For a sequence of this many tokens, or an error.
void Decoder::make_room(int64_t tokens) {
  if (tokens > spec_.longest())
    fail("a sequence of ", tokens, " tokens is longer than the model's ", spec_.longest(),
         " positions");
  rope_.reserve(tokens);
}

at::Tensor Decoder::hidden(const PackedTokens& tokens) {
  ensure(parts_ == nullptr, "a decoder that is whole");
  int64_t longest = 0;
  for (int64_t s = 0; s < tokens.segments(); ++s) longest = std::max(longest, tokens.tokens(s));
  make_room(longest);
  LayerPass shared{.tokens = tokens,
                   .cosine = rope_.cosine,
                   .sine = rope_.sine,
                   .precision = training.precision,
                   .recompute = training.recompute};
  if (!tokens.rope_positions.empty()) rope_.place(shared);
  const auto pass = std::make_shared<const LayerPass>(std::move(shared));
  if (device_.is_cuda()) return device_hidden(pass);
  at::Tensor x = ops::embedding(tokens.ids, parameters_[embedding_]);
  if (spec_.positions == Positions::absolute)
    x = x + sinusoids(tokens.positions, spec_.hidden_size).to(x.scalar_type());
  for (size_t i = 0; i < layers_.size(); ++i)
    x = ops::layer(x, layer_parameters_[i], layer_shapes_[i], pass, memory_);
  return ops::rms_norm(x, parameters_[final_norm_], spec_.rms_norm_eps);
}

at::Tensor Decoder::device_hidden(const std::shared_ptr<const LayerPass>& pass) {
  namespace gpu = ops::device;
  const kernels::Precision precision = pass->precision;
  if (precision == kernels::Precision::bf16 && store_ == nullptr) bf16_weights();
  ops::check_ids(pass->tokens.ids, parameters_[embedding_]);
  const auto placed = gpu::place(pass, device_);
  at::Tensor x = gpu::embedding(pass->tokens.ids, parameters_[embedding_], precision);
  for (size_t i = 0; i < layers_.size(); ++i)
    x = gpu::layer(x, layer_parameters_[i], layer_shapes_[i], placed);
  return gpu::rms_norm(x, parameters_[final_norm_], spec_.rms_norm_eps, precision);
}

const at::Tensor& Decoder::bf16_weights() {
  const at::NoGradGuard no_grad;
  if (!bf16_weights_.defined()) {
    bf16_weights_ = at::empty(weights_.sizes(), weights_.options().dtype(at::kBFloat16));
    for (size_t i = 0; i < parameters_.size(); ++i)
      parameters_[i].bf16 = view_of(bf16_weights_, i, 0);
  }
  if (bf16_version_ != version_) bf16_weights_.copy_(weights_);
  bf16_version_ = version_;
  return bf16_weights_;
}

ops::TokenLogprobs Decoder::logprobs(const at::Tensor& hidden, const std::vector<int32_t>& targets,
                                     double temperature, bool square_mass) {
  if (hidden.is_cuda())
    return ops::device::token_logprobs(hidden, head(), targets, temperature, training.precision,
                                       square_mass);
  return ops::token_logprobs(hidden, head(), targets, temperature, training.precision, &memory_,
                             square_mass);
}

at::Tensor Decoder::logits(const at::Tensor& hidden, WeightFormat format) {
  const at::NoGradGuard no_grad;
  if (hidden.is_cuda()) return at::mm(hidden, head().value.detach().t());
  const at::Tensor rows = hidden.contiguous();
  at::Tensor out = at::empty({rows.size(0), spec_.vocab_size}, rows.options());
  logits(rows.const_data_ptr<float>(), rows.size(0), format, out.data_ptr<float>());
  return out;
}

void Decoder::logits(const float* hidden, int64_t rows, WeightFormat format, float* out) {
  ensure(store_ == nullptr, "a decoder whose weights are here");
  kernels::gemm(hidden, ops::packed(head(), format), out, rows);
}

Parameter& Decoder::head() { return parameters_[head_]; }

}  // namespace vernier
