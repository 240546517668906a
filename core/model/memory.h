// What a model takes in memory, by the shapes of its weights: nothing is allocated.
#pragma once

#include <cstdint>
#include <optional>

#include "core/model/decoder.h"

namespace vernier {

/// Bytes of the packed forms that the weights are read in, for as long as they are drawn with
/// (`drawing`, the head among them) and trained. A weight has one form in fp32 and one that is
/// rounded: bf16 for both is there once.
int64_t packed_bytes(const Decoder& model, std::optional<WeightFormat> drawing,
                     std::optional<kernels::Precision> training);

/// Bytes of a layer's matrices as the backward pass reads them.
int64_t backward_packed_bytes(const Decoder& model, kernels::Precision precision);

/// The micro-batch that memory is asked for.
struct BatchSize {
  int64_t rows = 0;       // tokens through the layers
  int64_t head_rows = 0;  // tokens whose log-probability is asked for
  int64_t keys = 0;       // tokens of its sequences, a prompt that some share for each of them
  int64_t longest = 0;    // of these sequences
};

/// Bytes of a training pass.
struct PassMemory {
  int64_t kept = 0;     // what every layer keeps: Decoder::training_memory()
  int64_t scratch = 0;  // arrays of the layers, and what threads keep of a block
  int64_t head = 0;     // arrays of the head
  int64_t hidden = 0;   // embeddings and hidden states between layers and head, with gradients

  int64_t all() const { return kept + scratch + head + hidden; }
};

/// Of a pass that goes forward and back with `options`, or forward alone without gradients.
PassMemory training_pass(const Decoder& model, const BatchSize& batch,
                         const TrainingOptions& options, int64_t threads);
PassMemory forward_pass(const Decoder& model, const BatchSize& batch,
                        const TrainingOptions& options, int64_t threads);

/// The same on a GPU: what is there at once, since the allocator hands out again what is let go of.
PassMemory device_training_pass(const Decoder& model, const BatchSize& batch,
                                const TrainingOptions& options);
PassMemory device_forward_pass(const Decoder& model, const BatchSize& batch,
                               const TrainingOptions& options);

}  // namespace vernier
