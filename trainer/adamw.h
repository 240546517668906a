// AdamW over one flat buffer.
#pragma once

#include "core/comm/ranks.h"
#include "core/model/decoder.h"
#include "trainer/run_config.h"

namespace vernier {

/// Moments and step count of what is trained of a model, or of the slice of a rank (core/comm/
/// slices.h). Plain state: checkpoints store it as it is.
struct OptimizerState {
  at::Tensor moment1, moment2;  // of the weights, fp32 or codes of a byte
  at::Tensor scales1, scales2;  // of the codes of a block (core/kernels/adam8.h); undefined in fp32
  int64_t step = 0;             // updates made
  int64_t weights = 0;          // that are trained on all ranks
  int64_t slice = 0, slices = 1;

  explicit OptimizerState(Decoder& decoder, bool in_bytes = false);
  /// Of the slice of this rank; of nothing where it is not a member.
  OptimizerState(Decoder& decoder, bool in_bytes, const Ranks& ranks);
  bool in_bytes() const { return scales1.defined(); }
  /// Whether ranks share the state out, whatever this one has of it; the same on all that
  /// train.
  bool is_slice() const { return slices > 1 || slice >= slices; }
  /// Weights that it is of.
  int64_t count() const { return moment1.numel(); }
  /// Bytes for a buffer of so many weights.
  static int64_t bytes(int64_t weights, bool in_bytes);

 private:
  void allocate(int64_t count, bool in_bytes, const at::Tensor& like);
};

/// What one update did.
struct UpdateResult {
  bool applied = false;  // false: something was not finite, and the weights are as they were
  double grad_norm = 0;  // before clipping
  double learning_rate = 0;
};

/// Clips the gradient to the configured norm and steps. The gradient buffer is zeroed either way.
/// `gradient` is of what the state is of: all weights or the slice of this rank. Norm and weights
/// are those of all `ranks`, the same bits as of one.
UpdateResult apply_update(Decoder& decoder, OptimizerState& state, at::Tensor& gradient,
                          const OptimizerConfig& config, double learning_rate, Ranks& ranks);
/// Of the decoder's gradients, by a process that has all weights.
UpdateResult apply_update(Decoder& decoder, OptimizerState& state, const OptimizerConfig& config,
                          double learning_rate);

}  // namespace vernier
