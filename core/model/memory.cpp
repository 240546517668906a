#include "core/model/memory.h"

#include <algorithm>

#include "core/kernels/ops_device.h"

namespace vernier {
namespace {

using kernels::Precision;

// A layer's matrices, as LayerParts lists them.
template <class Body>
void for_matrices(const LayerParameters& layer, const Body& body) {
  for (const Parameter* one : {layer.qkv, layer.output, layer.gate_up, layer.down}) body(*one);
}

// Of a matrix [inner, columns] in panels, with the scale of every column where it has one.
int64_t panel_bytes(int64_t inner, int64_t columns, WeightFormat format) {
  const kernels::PackedMatrix matrix{
      .format = format, .inner = inner, .columns = columns, .data = {}, .scales = {}};
  const int64_t scales = format == WeightFormat::int8 ? 4 * matrix.panels() * kernels::kPanel : 0;
  return matrix.bytes() + scales;
}

int64_t transposed_bytes(const Parameter& weight, WeightFormat format) {
  return panel_bytes(weight.value.size(1), weight.value.size(0), format);
}

// The numbers of a layer's vectors.
int64_t vectors_of(const LayerParameters& layer) {
  int64_t count = 0;
  for (const Parameter* one :
       {layer.attention_norm, layer.qkv_bias, layer.q_norm, layer.k_norm, layer.output_bias,
        layer.mlp_norm, layer.gate_up_bias, layer.down_bias})
    if (one != nullptr) count += one->value.numel();
  return count;
}

kernels::HeadRows head_rows(const Decoder& model, int64_t rows, Precision precision) {
  const ModelSpec& spec = model.spec();
  return {.hidden = nullptr,
          .targets = nullptr,
          .rows = rows,
          .width = spec.hidden_size,
          .vocabulary = spec.vocab_size,
          .temperature = 1,
          .precision = precision};
}

int64_t row_bytes(const Decoder& model, int64_t rows) {
  return 4 * rows * model.spec().hidden_size;
}

}  // namespace

int64_t packed_bytes(const Decoder& model, std::optional<WeightFormat> drawing,
                     std::optional<Precision> training) {
  int64_t bytes = 0;
  const auto add = [&](const Parameter& weight, bool trains) {
    int64_t plain = 0, rounded = 0;  // the two forms of a Parameter
    const auto want = [&](WeightFormat format) {
      int64_t& slot = format == WeightFormat::fp32 ? plain : rounded;
      slot = std::max(slot, transposed_bytes(weight, format));
    };
    if (drawing) want(*drawing);
    if (training && trains) want(kernels::format_of(*training));
    bytes += plain + rounded;
  };
  for (const LayerParameters& layer : model.layers())
    for_matrices(layer, [&](const Parameter& one) { add(one, true); });
  add(model.head(), false);
  return bytes;
}

int64_t backward_packed_bytes(const Decoder& model, Precision precision) {
  int64_t bytes = 0;
  for_matrices(model.layers().front(), [&](const Parameter& one) {
    bytes += panel_bytes(one.value.size(0), one.value.size(1), kernels::format_of(precision));
  });
  return bytes;
}

PassMemory training_pass(const Decoder& model, const BatchSize& batch,
                         const TrainingOptions& options, int64_t threads) {
  const kernels::LayerShape& shape = model.layer_shapes().front();
  const int64_t layers = std::ssize(model.layers()), rows = row_bytes(model, batch.rows);
  const int64_t saved = kernels::saved_bytes(shape, batch.rows, options.precision);
  const bool rounded = options.precision == Precision::bf16;
  PassMemory out;
  // Computed again, a layer's output goes to a place of its own.
  out.kept = options.recompute ? (layers + 1) * rows + saved : layers * (rows + saved);
  out.scratch = kernels::backward_scratch_bytes(shape, batch.rows, options.precision,
                                                vectors_of(model.layers().front())) +
                threads * kernels::block_bytes(shape, options.precision);
  if (rounded)
    out.scratch += kernels::gemm_tn_bytes(batch.rows, std::max(shape.width, shape.inner));
  const kernels::HeadRows head = head_rows(model, batch.head_rows, options.precision);
  out.head = kernels::head_scratch_bytes(head, true) + kernels::head_product_bytes(head);
  out.hidden = 2 * (rows + row_bytes(model, batch.head_rows));
  return out;
}

PassMemory forward_pass(const Decoder& model, const BatchSize& batch,
                        const TrainingOptions& options, int64_t threads) {
  const kernels::LayerShape& shape = model.layer_shapes().front();
  const int64_t rows = row_bytes(model, batch.rows);
  const kernels::HeadRows head = head_rows(model, batch.head_rows, options.precision);
  return {.kept = 2 * rows,
          .scratch = kernels::forward_scratch_bytes(shape, batch.rows) +
                     threads * kernels::block_bytes(shape, options.precision),
          .head = kernels::head_scratch_bytes(head, false),
          .hidden = rows + row_bytes(model, batch.head_rows)};
}

namespace {

ops::device::LayerBytes device_layer(const Decoder& model, const BatchSize& batch,
                                     const TrainingOptions& options) {
  return ops::device::layer_bytes(
      model.layer_shapes().front(),
      {.rows = batch.rows, .keys = std::max(batch.keys, batch.rows), .longest = batch.longest},
      options.precision);
}

int64_t device_head(const Decoder& model, const BatchSize& batch, const TrainingOptions& options,
                    bool backward) {
  const ModelSpec& spec = model.spec();
  return ops::device::head_bytes(batch.head_rows, spec.hidden_size, spec.vocab_size,
                                 options.precision, backward);
}

}  // namespace

PassMemory device_training_pass(const Decoder& model, const BatchSize& batch,
                                const TrainingOptions& options) {
  const int64_t layers = std::ssize(model.layers()), rows = row_bytes(model, batch.rows);
  const ops::device::LayerBytes layer = device_layer(model, batch, options);
  PassMemory out;
  // The last norm keeps its input too.
  out.kept = layers * layer.input + rows + (options.recompute ? 1 : layers) * layer.kept;
  // What is computed again is so beside the gradient of the layer's output.
  out.scratch = std::max(layer.backward, layer.forward + (options.recompute ? rows : 0));
  out.head = device_head(model, batch, options, /*backward=*/true);
  out.hidden = 2 * rows + row_bytes(model, batch.head_rows);
  return out;
}

PassMemory device_forward_pass(const Decoder& model, const BatchSize& batch,
                               const TrainingOptions& options) {
  const int64_t rows = row_bytes(model, batch.rows);
  const ops::device::LayerBytes layer = device_layer(model, batch, options);
  return {.kept = layer.input + layer.kept,
          .scratch = layer.forward,
          .head = device_head(model, batch, options, /*backward=*/false),
          .hidden = rows + row_bytes(model, batch.head_rows)};
}

}  // namespace vernier
