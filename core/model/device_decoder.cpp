#include "core/model/device_decoder.h"

#include <ATen/ATen.h>

#include <type_traits>

#include "core/base/errors.h"
#include "core/model/rope.h"

namespace vernier {

namespace device = kernels::device;
using device::Bf16;
using device::Memory;

namespace {

template <class T>
Memory numbers(int64_t count) {
  return {Memory::Kind::gpu, count * static_cast<int64_t>(sizeof(T))};
}

Memory on_gpu(const at::Tensor& values) {  // fp32, of the host
  const at::Tensor dense = values.contiguous();
  Memory out = numbers<float>(dense.numel());
  const device::Stream stream;
  device::copy(out.as<float>(), dense.const_data_ptr<float>(), out.size(), stream);
  stream.wait();
  return out;
}

}  // namespace

template <class T>
DeviceDecoder<T>::DeviceDecoder(Decoder& decoder, int64_t positions, int64_t rows)
    : decoder_(decoder),
      spec_(decoder.spec()),
      rows_(rows),
      stream_rows_(numbers<float>(rows * spec_.hidden_size)),
      normed_(numbers<T>(rows * spec_.hidden_size)),
      delta_(numbers<T>(rows * spec_.hidden_size)),
      qkv_(numbers<T>(rows * spec_.attention(0).row())),
      attended_(numbers<T>(rows * spec_.num_attention_heads * spec_.head_dim)),
      gate_up_(numbers<T>(rows * 2 * spec_.intermediate_size)),
      inner_(numbers<T>(rows * spec_.intermediate_size)) {
  const at::Tensor& weights = decoder.weights();
  ensure(weights.is_cuda() && weights.scalar_type() == at::kFloat, "fp32 weights on the GPU");
  RopeTable table = make_rope_table(spec_.rope, spec_.rotary(), spec_.longest());
  table.reserve(positions);
  cosine_ = on_gpu(table.cosine);
  sine_ = on_gpu(table.sine);
  embedding_ = place("embedding");
  final_norm_ = place("final_norm");
  head_ = spec_.tie_word_embeddings ? embedding_ : place("head");
  for (int64_t i = 0; i < spec_.num_hidden_layers; ++i) {
    const auto of = [&](const char* name) { return place(cat("model.layers.", i, ".", name)); };
    layers_.push_back({.attention_norm = of("attention_norm"),
                       .qkv = of("qkv"),
                       .qkv_bias = of("qkv_bias"),
                       .q_norm = of("q_norm"),
                       .k_norm = of("k_norm"),
                       .output = of("output"),
                       .output_bias = of("output_bias"),
                       .mlp_norm = of("mlp_norm"),
                       .gate_up = of("gate_up"),
                       .gate_up_bias = of("gate_up_bias"),
                       .down = of("down"),
                       .down_bias = of("down_bias")});
  }
  constexpr at::ScalarType type = std::is_same_v<T, float> ? at::kFloat : at::kBFloat16;
  blocks_ = at::from_blob(delta_.as<T>(), {rows * spec_.hidden_size},
                          at::TensorOptions(type).device(weights.device()));
  weights_changed();
}

// As the constructor takes them.
template <class T>
int64_t DeviceDecoder<T>::bytes(const ModelSpec& spec, int64_t positions, int64_t rows) {
  const int64_t width = spec.hidden_size, attended = spec.num_attention_heads * spec.head_dim;
  const int64_t numbers =
      2 * width + spec.attention(0).row() + attended + 3 * spec.intermediate_size;
  return rows * (4 * width + static_cast<int64_t>(sizeof(T)) * numbers) +
         4 * positions * spec.rotary();
}

template <class T>
DeviceDecoder<T>::Place DeviceDecoder<T>::place(std::string_view name) const {
  for (const Parameter& parameter : decoder_.parameters())
    if (parameter.name == name)
      return parameter.value.const_data_ptr<float>() -
             decoder_.weights().template const_data_ptr<float>();
  return -1;
}

template <class T>
const T* DeviceDecoder<T>::at(Place place) const {
  return place < 0 ? nullptr : static_cast<const T*>(weights_.const_data_ptr()) + place;
}

template <class T>
void DeviceDecoder<T>::weights_changed() {
  if constexpr (std::is_same_v<T, float>)
    weights_ = decoder_.weights().detach();
  else
    weights_ = decoder_.bf16_weights();
  // Torch works in another stream.
  device::wait_for_device();
}

template <class T>
void DeviceDecoder<T>::linear(const T* x, Place weight, Place bias, T* y, int64_t rows,
                              int64_t inner, int64_t columns, CUstream_st* stream) {
  linear_(x, at(weight), at(bias), y, rows, inner, columns, stream);
}

template <class T>
void DeviceDecoder<T>::run(const int32_t* ids, int64_t rows, const Attend& attend,
                           CUstream_st* stream) {
  ensure(rows <= rows_, "a pass of the rows that there is memory for");
  const int64_t width = spec_.hidden_size;
  const auto eps = static_cast<float>(spec_.rms_norm_eps);
  auto* stream_rows = stream_rows_.as<float>();
  T *normed = normed_.as<T>(), *delta = delta_.as<T>();
  device::embedding(at(embedding_), ids, stream_rows, rows, width, stream);
  // What the blocks add to the stream waits in `delta` for the norm behind it.
  device::zero(delta, rows * width * static_cast<int64_t>(sizeof(T)), stream);
  const auto before = [&](Place norm) {
    device::add_rms_norm(stream_rows, delta, at(norm), normed, rows, width, eps, stream);
  };
  // Nothing normed is nothing: this first gives the stream itself, as T.
  const auto after = [&](Place norm) {
    device::rms_norm_add(stream_rows, delta, at(norm), normed, rows, width, eps, stream);
  };
  if (spec_.norm_after) after(final_norm_);
  for (int64_t i = 0; i < spec_.num_hidden_layers; ++i) {
    const Layer& layer = layers_[static_cast<size_t>(i)];
    if (!spec_.norm_after) before(layer.attention_norm);
    attention_block(i, rows, attend, stream);
    spec_.norm_after ? after(layer.attention_norm) : before(layer.mlp_norm);
    mlp_block(layer, rows, stream);
    if (spec_.norm_after) after(layer.mlp_norm);
  }
  if (spec_.norm_after)
    device::add_rms_norm<T>(stream_rows, nullptr, at(final_norm_), normed, rows, width, eps,
                            stream);
  else
    before(final_norm_);
}

// normed -> delta.
template <class T>
void DeviceDecoder<T>::attention_block(int64_t index, int64_t rows, const Attend& attend,
                                       CUstream_st* stream) {
  const Layer& layer = layers_[static_cast<size_t>(index)];
  const kernels::AttentionShape shape = spec_.attention(index);
  const int64_t width = spec_.hidden_size;
  linear(normed_.as<T>(), layer.qkv, layer.qkv_bias, qkv_.as<T>(), rows, width, shape.row(),
         stream);
  device::qk_norm(qkv_.as<T>(), at(layer.q_norm), at(layer.k_norm), shape, spec_.qk_norm, rows,
                  static_cast<float>(spec_.rms_norm_eps), stream);
  attend(index, qkv_.as<T>(), attended_.as<T>());
  linear(attended_.as<T>(), layer.output, layer.output_bias, delta_.as<T>(), rows,
         shape.heads * shape.head_size, width, stream);
  sum_parts(rows, stream);
}

// normed -> delta.
template <class T>
void DeviceDecoder<T>::mlp_block(const Layer& layer, int64_t rows, CUstream_st* stream) {
  const int64_t width = spec_.hidden_size, inner = spec_.intermediate_size;
  linear(normed_.as<T>(), layer.gate_up, layer.gate_up_bias, gate_up_.as<T>(), rows, width,
         2 * inner, stream);
  device::swiglu(gate_up_.as<T>(), inner_.as<T>(), rows, inner, stream);
  linear(inner_.as<T>(), layer.down, layer.down_bias, delta_.as<T>(), rows, inner, width, stream);
  sum_parts(rows, stream);
}

// What a block gives here -> what it gives in all parts, rounded to T as each of them is.
template <class T>
void DeviceDecoder<T>::sum_parts(int64_t rows, CUstream_st* stream) {
  if (Parts* parts = decoder_.parts())
    parts->sum(blocks_.narrow(0, 0, rows * spec_.hidden_size), stream);
}

template <class T>
void DeviceDecoder<T>::logits(float* out, int64_t rows, CUstream_st* stream) {
  linear_(normed_.as<T>(), at(head_), static_cast<const float*>(nullptr), out, rows,
          spec_.hidden_size, spec_.vocab_size, stream);
}

template class DeviceDecoder<float>;
template class DeviceDecoder<Bf16>;

}  // namespace vernier
