// The CPU's kernels as tensor functions with gradients: an fp32 tensor runs the fast ones and an
// fp64 tensor the references. Those of a GPU are in ops_device.h.
//
// A weight's gradient is added straight to Parameter::grad, a view of the model's flat gradient
// buffer, or of a unit's where a store keeps the weights: no temporary of the weight's size, and
// one buffer for norm, clipping and optimizer.
#pragma once

#include <torch/types.h>

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/base/buffer.h"
#include "core/base/pending.h"
#include "core/kernels/head.h"
#include "core/kernels/layer.h"

namespace vernier {

/// Where a process does not keep all weights of a model: brings those of a unit (the embeddings, a
/// layer, the head) for as long as something is computed with them.
class UnitStore {
 public:
  virtual ~UnitStore() = default;
  /// The parameters of the unit have their values until another one is brought.
  virtual void bring(int64_t unit) = 0;
  /// Lets go of it.
  virtual void release() = 0;
  /// They have a gradient, zero but for what this pass back has added to it.
  virtual void bring_gradient(int64_t unit) = 0;
  /// What a use of the unit adds to its gradient is there.
  virtual void gradient_done(int64_t unit) = 0;
  /// What this process keeps of the weights, one after the other.
  virtual at::Tensor& kept() = 0;
  /// What on_gradient() began is over. To be called behind a pass back.
  virtual void finish_gradients() = 0;
  /// The pass back did not come to its end, and nobody wants what it began.
  virtual void drop_gradients() = 0;
  /// Called with the gradient of a unit once a pass has added all of it, the numbers from `first`
  /// on of the flat gradients. It goes once what this returns is finished.
  std::function<std::unique_ptr<Pending>(int64_t first, const at::Tensor& gradient)> on_gradient;
};

/// One weight of a model with its gradient, and the packed forms that the CPU kernels read.
struct Parameter {
  std::string name;
  at::Tensor value;  // [out, in], [V, D] or [D]
  at::Tensor grad;   // like value; undefined where the model is not trained
  // value rounded, for products on a GPU: of Decoder::bf16_weights(), or from its first use on
  // where a store brings the value.
  at::Tensor bf16;

  // For products with rows: in fp32, and rounded. Packed lazily, again after every change of the
  // weights. Rollout and training read the same ones.
  kernels::PackedMatrix forward, rounded;
  bool forward_packed = false, rounded_packed = false;

  // What is trained of a matrix in place of its weights; null without LoRA (core/model/adapters.h).
  const kernels::MatrixAdapter<float>* adapter = nullptr;

  int64_t unit = 0;
  UnitStore* store = nullptr;  // null: the weights are always there

  void bring() const {
    if (store != nullptr) store->bring(unit);
  }
  void bring_gradient() const {
    if (store != nullptr) store->bring_gradient(unit);
  }
  void gradient_done() const {
    if (store != nullptr) store->gradient_done(unit);
  }
  void changed() { forward_packed = rounded_packed = false; }
};

struct LayerPass;

/// Cosine and sine of the positions met so far, [positions, R/2] each, times `scale`. In fp32 step
/// by step as `transformers` computes them: models were trained with that rounding, which is an
/// angle of 0.001 at position 30,000.
struct RopeTable {
  at::Tensor inverse_frequency;  // [R/2], fp32
  double scale = 1;
  at::Tensor cosine, sine;

  /// Makes room for positions 0 to count - 1.
  void reserve(int64_t count);
  /// Gives a pass whose tokens have rope_positions a table of its own, a row for each token.
  void place(LayerPass& pass) const;
};

/// Tokens of several segments, one after the other, without padding. A segment is a sequence, or
/// goes on behind another that several share, as responses do behind their prompt.
struct PackedTokens {
  std::vector<int32_t> ids;        // [T]
  std::vector<int32_t> positions;  // [T], from 0 in each sequence
  std::vector<int32_t> starts{0};  // [segments + 1], first row of each
  std::vector<int32_t> prefix;     // [segments], the segment before it or -1
  // [T], where RoPE takes the tokens to be, if not at their positions: E²-LLM trains so.
  std::vector<float> rope_positions;

  /// `before` is the place of an earlier segment that has none before it, or -1.
  void add(const std::vector<int32_t>& segment, int32_t before = -1);
  int64_t size() const { return static_cast<int64_t>(ids.size()); }
  int64_t segments() const { return static_cast<int64_t>(prefix.size()); }
  /// Tokens of segment s and of what comes before it.
  int64_t tokens(int64_t s) const;
};

/// One pass over packed tokens: what its layers share, for as long as its graph lives.
struct LayerPass {
  PackedTokens tokens;
  at::Tensor cosine, sine;  // [positions, R/2]
  kernels::Precision precision = kernels::Precision::fp32;
  bool recompute = false;  // activations are computed again in the backward pass

  kernels::LayerRows rows() const;
};

using LayerParameters = kernels::LayerParts<Parameter*, Parameter*>;

/// Memory of a model in training.
struct TrainingMemory {
  // What layers keep, and the rows [T, D] between them: buffers of one size in each pool, so that
  // one never waits in a place that is far too large for it.
  BufferPool saved, rows;
  kernels::LayerScratch layer;
  kernels::HeadScratch head;
  std::array<kernels::PackedMatrix, 4> plain;  // of the layer that is gone back through
};

namespace ops {

/// The weight as the kernels read it, packed where it was changed.
const kernels::PackedMatrix& packed(Parameter& weight, kernels::WeightFormat format);

/// Throws UsageError on an id that the table [V, D] has no row for.
void check_ids(const std::vector<int32_t>& ids, const Parameter& table);

/// [T, D] rows of the table. Throws UsageError on an id outside it.
at::Tensor embedding(const std::vector<int32_t>& ids, Parameter& table);

at::Tensor rms_norm(const at::Tensor& x, Parameter& weight, double eps);

/// A layer: x [T, D] -> [T, D]. Everything it is given lives as long as the graph does.
at::Tensor layer(const at::Tensor& x, const LayerParameters& weights,
                 const kernels::LayerShape& shape, const std::shared_ptr<const LayerPass>& pass,
                 TrainingMemory& memory);

struct TokenLogprobs {
  at::Tensor logprob;  // [T], of the target, natural logarithm
  at::Tensor entropy;  // [T], nats
  // [T], sum over the vocabulary of p^2, without gradient; undefined where it was not asked for
  at::Tensor square_mass;
};

/// Log-probability of `targets` [T] and entropy under softmax(hidden head^T / temperature). Works
/// in chunks, forward and backward, and never holds [T, V].
TokenLogprobs token_logprobs(const at::Tensor& hidden, Parameter& head,
                             const std::vector<int32_t>& targets, double temperature,
                             kernels::Precision precision = kernels::Precision::fp32,
                             TrainingMemory* memory = nullptr, bool square_mass = false);

}  // namespace ops
}  // namespace vernier
