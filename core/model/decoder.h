// The decoder: one transformer, driven by ModelSpec, on flat buffers.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/base/buffer.h"
#include "core/kernels/ops.h"
#include "core/model/kv_cache.h"
#include "core/model/spec.h"

struct CUstream_st;  // cudaStream_t

namespace vernier {

using kernels::WeightFormat;

class Adapters;
struct LoraConfig;

/// A weight under its checkpoint name: some rows of a Parameter (queries, keys and values share
/// one, gate and up another).
struct NamedSlice {
  std::string name;  // as in a Hugging Face checkpoint
  size_t parameter = 0;
  int64_t first_row = 0, rows = 0;  // rows = 0: the whole vector of a norm
  std::vector<int64_t> shape;

  int64_t numel() const;
};

/// Numbers [begin, end) of the flat weights that passes read together: the embeddings, a layer, a
/// head of its own. The norm behind the layers goes with the last of them.
struct Unit {
  int64_t begin = 0, end = 0;
};

/// Tokens of several sequences that one pass over a cache computes.
struct CachedTokens {
  std::vector<int32_t> ids, positions;  // [rows]
  std::vector<kernels::PagedSpan> spans;

  /// `known`, and behind them `guessed`, are the tokens from `first` on of a sequence whose pages
  /// are `pages`, which has to stay where it is until the pass is over.
  void add(std::span<const int32_t> known, std::span<const int32_t> guessed, int64_t first,
           const std::vector<int32_t>& pages);
};

/// What the processes that compute a model in parts do together: each calls the same in the same
/// order.
class Parts {
 public:
  virtual ~Parts() = default;
  /// Adds up `count` numbers of all parts; each then has the sum, the same bits on all of them.
  virtual void sum(float* numbers, int64_t count) = 0;
  /// The same of numbers (fp32 or bf16) of a GPU, in the order of a stream; it waits for nothing,
  /// and may be recorded.
  virtual void sum(at::Tensor numbers, CUstream_st* stream) = 0;
  /// The least of the parts' numbers.
  virtual int64_t least(int64_t mine) = 0;
};

/// How a pass with gradients is computed.
struct TrainingOptions {
  kernels::Precision precision = kernels::Precision::fp32;
  bool recompute = false;  // activation checkpointing: a layer keeps its input alone
};

class Decoder {
 public:
  /// Weights are zero until they are filled. `trained` also makes the gradient buffer.
  /// fp64 serves the tests; everything else uses fp32. On a GPU (UsageError where the build or the
  /// machine has none) hidden() and the head run, with gradients (ops_device.h); the cached path
  /// does not. On at::kMeta there are no weights at all: the names and shapes of a model, without
  /// its memory; keep_in() lets them come.
  Decoder(const ModelSpec& spec, bool trained, at::ScalarType type = at::kFloat,
          at::Device device = at::kCPU);
  ~Decoder();
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  const ModelSpec& spec() const { return spec_; }
  int64_t num_parameters() const { return num_parameters_; }

  /// All weights and all gradients, each in one buffer; every tensor starts at a multiple of 64
  /// bytes, gaps are zero. Of a decoder in a store, only how many they are.
  at::Tensor& weights() { return weights_; }
  /// Of trained_weights(); of all weights where a store keeps some of them.
  at::Tensor& gradients() { return gradients_; }
  /// To be called after any write to weights(): the packed forms are stale then.
  void weights_changed();
  /// Counts the changes.
  int64_t version() const { return version_; }
  /// weights() rounded to bf16 as they are now, each at the same place: what training and the
  /// engine multiply with on a GPU.
  const at::Tensor& bf16_weights();

  /// From now on adapters are trained in place of the weights, which are fixed and came from `base`
  /// (core/model/adapters.h). For a decoder in fp32 on the CPU that is not `trained` otherwise.
  void adapt(const LoraConfig& config, const std::string& base, uint64_t seed);
  /// Null without LoRA.
  Adapters* adapters() { return adapters_.get(); }
  /// What an optimizer steps: all weights, the adapters, or what the store keeps here.
  at::Tensor& trained_weights();
  /// To be called after any write to trained_weights().
  void trained_weights_changed();
  /// In the order of the weights.
  const std::vector<Unit>& units() const { return units_; }
  /// Parameters of a unit.
  std::span<Parameter> parameters_of(int64_t unit);
  /// How often a pass back adds to the gradient of a unit: twice to embeddings that are the head.
  int64_t uses(int64_t unit) const { return unit == 0 && head_ == embedding_ ? 2 : 1; }
  /// From now on passes find the weights that they read in `store`, which outlives the decoder's
  /// use, and compute on `device`; what is not brought there has no values. hidden() and logprobs()
  /// alone compute then. For a decoder without weights.
  void keep_in(UnitStore& store, at::Device device);
  /// Null: all weights are here.
  UnitStore* store() { return store_; }
  /// Where it computes.
  at::Device device() const { return device_; }
  /// Zeros for all numbers of a unit.
  at::Tensor room_for(int64_t unit) const;
  /// For the store: the unit's parameters are views of `values` [end - begin], or have none where
  /// that is undefined; their gradients.
  void put(int64_t unit, const at::Tensor& values);
  void put_gradient(int64_t unit, const at::Tensor& values);
  /// The numbers of a unit, a view. Brings it.
  at::Tensor unit_weights(int64_t unit);
  /// Brings the units in the order of a pass, and goes through them back where `backward`: for a
  /// process that has no tokens for a pass that others make.
  void join_pass(bool backward);

  /// From now on it is one of the parts of a model (core/model/tensor_parallel.h): what a block of
  /// a layer gives here is summed over all of them. cached() and logits(), or a DeviceDecoder,
  /// alone compute then, on all of them at once, for the same tokens.
  void compute_in_parts(std::unique_ptr<Parts> parts) { parts_ = std::move(parts); }
  /// Null: the model is whole here.
  Parts* parts() const { return parts_.get(); }

  /// Computes with its adapters, as at first, or without them; nothing where it has none.
  void use_adapters(bool on);

  std::vector<Parameter>& parameters() { return parameters_; }
  const std::vector<NamedSlice>& slices() const { return slices_; }
  /// Those of a unit, which follow each other.
  std::span<const NamedSlice> slices_of(int64_t unit) const;
  /// The values of one slice, row-major; a view. Brings its unit.
  at::Tensor slice(const NamedSlice& slice);

  /// A copy of the weights that is not trained and computes as this one does.
  std::unique_ptr<Decoder> frozen_copy();

  /// Random weights: embedding N(0, embedding_std), matrices N(0, 1/fan_in), output projections
  /// times residual_scale / sqrt(2 layers), norms 1, biases 0.
  /// Of one unit alone where it is given.
  void randomize(uint64_t seed, double embedding_std, double residual_scale,
                 std::optional<int64_t> unit = {});

  /// Hidden states [T, D] after the last norm; with gradients where enabled.
  at::Tensor hidden(const PackedTokens& tokens);

  /// Log-probability of `targets` and entropy, [T] each, from hidden states [T, D]; with
  /// `square_mass` the sum of squared probabilities too.
  ops::TokenLogprobs logprobs(const at::Tensor& hidden, const std::vector<int32_t>& targets,
                              double temperature, bool square_mass = false);

  /// How hidden() and logprobs() compute where weights are fp32.
  TrainingOptions training;

  /// Bytes of activations that passes with gradients keep for the next one, and giving them back.
  int64_t training_memory() const { return memory_.saved.bytes() + memory_.rows.bytes(); }
  void release_training_memory() {
    memory_.saved.release();
    memory_.rows.release();
  }
  /// The arrays of layers and head between them.
  const TrainingMemory& training_arrays() const { return memory_; }

  /// Hidden states [rows, D] of the tokens of one pass, without gradients. Tokens before a span are
  /// in the cache, its own are written to it. With fp32 weights the same bits as hidden() gives.
  at::Tensor cached(const CachedTokens& tokens, KvCache& cache,
                    WeightFormat format = WeightFormat::fp32);

  /// Bytes of the arrays of such a pass with `rows` rows, and of what it gives.
  static int64_t pass_bytes(const ModelSpec& spec, int64_t rows);

  /// hidden [T, D] -> logits [T, V].
  at::Tensor logits(const at::Tensor& hidden, WeightFormat format = WeightFormat::fp32);
  /// The same from rows and into an array, in fp32 on the CPU.
  void logits(const float* hidden, int64_t rows, WeightFormat format, float* out);

  /// The head: the token embedding where they are tied.
  Parameter& head();
  const Parameter& head() const { return parameters_[head_]; }

  /// The weights of each layer, and their shapes.
  const std::vector<LayerParameters>& layers() const { return layer_parameters_; }
  const std::vector<kernels::LayerShape>& layer_shapes() const { return layer_shapes_; }

 private:
  struct Layer {  // places in parameters_
    size_t attention_norm, qkv, output, mlp_norm, gate_up, down;
    std::optional<size_t> qkv_bias, output_bias, gate_up_bias, down_bias, q_norm, k_norm;
  };
  /// Arrays of a pass over a cache, kept for the next one.
  struct PassArrays {
    Room<float> residual, normed, qkv, qkv_normed, attended, inner, block, inverse;
  };
  /// One pass over a cache.
  struct Pass {
    const CachedTokens& tokens;
    KvCache& cache;
    WeightFormat format;
    int64_t rows;
  };

  size_t add(const std::string& name, std::vector<int64_t> shape);
  void add_slice(const std::string& name, size_t parameter, int64_t first_row, int64_t rows);
  Layer add_layer(int64_t index);
  void allocate(bool trained, at::ScalarType type, at::Device device);
  at::Tensor view_of(const at::Tensor& flat, size_t parameter, int64_t first) const;
  void find_units();
  LayerParameters layer_parameters(const Layer& layer);
  kernels::LayerShape layer_shape(int64_t index) const;
  at::Tensor device_hidden(const std::shared_ptr<const LayerPass>& pass);
  void make_room(int64_t tokens);
  // What a block of layer `index` gives for the rows `in` [rows, D] is written to `out` [rows, D],
  // or added to it.
  void attention_pass(const Pass& pass, int64_t index, const float* in, float* out, bool add);
  void mlp_pass(const Pass& pass, const Layer& layer, const float* in, float* out, bool add);
  const float* bias_of(std::optional<size_t> bias) const;

  ModelSpec spec_;
  int64_t num_parameters_ = 0, version_ = 0;
  int64_t bf16_version_ = -1;  // of the weights that were rounded
  at::Tensor weights_, gradients_, bf16_weights_;
  std::vector<Parameter> parameters_;
  std::vector<std::vector<int64_t>> shapes_;
  std::vector<int64_t> places_;  // of the parameters in the flat weights
  std::vector<NamedSlice> slices_;
  std::vector<Layer> layers_;
  std::vector<LayerParameters> layer_parameters_;
  std::vector<kernels::LayerShape> layer_shapes_;
  size_t embedding_ = 0, final_norm_ = 0, head_ = 0;
  RopeTable rope_;
  PassArrays arrays_;
  TrainingMemory memory_;
  std::unique_ptr<Adapters> adapters_;
  std::vector<Unit> units_;
  UnitStore* store_ = nullptr;
  at::Device device_;
  std::unique_ptr<Parts> parts_;
};

}  // namespace vernier
