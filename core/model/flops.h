// What a training pass multiplies, and how much of that a device could do at most.
#pragma once

#include <cstdint>
#include <string>

#include "core/kernels/ops.h"
#include "core/model/spec.h"

namespace vernier {

/// Tokens that went forward and back.
struct TrainingWork {
  int64_t tokens = 0;       // through the layers
  int64_t head_tokens = 0;  // through the head: those whose log-probability was asked for
  double seen = 0;          // tokens that they attend to, added up; a window is left out of account

  void add(const PackedTokens& packed, int64_t head);
};

/// Floating-point operations of training, in full or with adapters (LoRA) of so many numbers:
///
///   6 (layer weights) tokens + 6 (head weights) head_tokens + 12 layers (heads head_dim) seen
///   4 (layer weights) tokens + 4 (head weights) head_tokens + 12 layers (heads head_dim) seen
///     + 4 adapters tokens
///
/// A product is two operations a weight, forward, for its input's gradient and for its own. With
/// adapters the last is not taken: the gradients of A and B are two products with A and two with
/// B's size, and none is there forward, where passes read the merged weights. Norms, merging,
/// biases and the embedding's rows are left out. Of one long sequence `seen` is half its length a
/// token, which makes the last term 6 layers d_att length: LLMQ's definition (IST-DASLab/llmq,
/// README). Computing activations again does not count.
double training_flop(const ModelSpec& spec, const TrainingWork& work, int64_t adapters = 0);

/// Dense bf16 peak of a GPU by the name CUDA gives it, in GFLOP/s, from its data sheet; 0 where it
/// is not known. Sparse peaks are twice that and not of these products.
double dense_peak_gflops(const std::string& device);

/// What training with products in `precision` could reach on `device`: on a CPU as measured, once;
/// on a GPU dense_peak_gflops() in bf16, 0 in fp32, which the table does not have.
double training_peak_gflops(const at::Device& device, kernels::Precision precision);

}  // namespace vernier
