// AdamW over one flat buffer.
#pragma once

#include "core/model/decoder.h"
#include "trainer/run_config.h"

namespace vernier {

/// Moments and step count of what is trained of a model. Plain state: checkpoints store it as it
/// is.
struct OptimizerState {
  at::Tensor moment1, moment2;  // like Decoder::trained_weights(), fp32 or codes of a byte
  at::Tensor scales1, scales2;  // of the codes of a block (core/kernels/adam8.h); undefined in fp32
  int64_t step = 0;             // updates made

  explicit OptimizerState(Decoder& decoder, bool in_bytes = false);
  bool in_bytes() const { return scales1.defined(); }
  /// Bytes for a buffer of so many weights.
  static int64_t bytes(int64_t weights, bool in_bytes);
};

/// What one update did.
struct UpdateResult {
  bool applied = false;  // false: something was not finite, and the weights are as they were
  double grad_norm = 0;  // before clipping
  double learning_rate = 0;
};

/// Clips the gradient to the configured norm and steps. The gradient buffer is zeroed either way.
UpdateResult apply_update(Decoder& decoder, OptimizerState& state, const OptimizerConfig& config,
                          double learning_rate);

}  // namespace vernier
