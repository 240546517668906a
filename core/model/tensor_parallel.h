// A model that several processes compute together, each with a part of every layer.
//
// Attention is cut by heads, the MLP by its inner width: the first product of a block gives a part
// the rows that are its own, the second one takes these alone and gives an addend of what the block
// gives. So a layer takes two sums over the parts. Embeddings, norms and head are on all of them,
// and all draw the same tokens from the same logits. Shoeybi et al., "Megatron-LM: Training
// Multi-Billion Parameter Language Models Using Model Parallelism", arXiv:1909.08053, section 3.
#pragma once

#include <cstdint>
#include <string>

#include "core/model/decoder.h"

namespace vernier {

struct TensorPart {
  int64_t rank = 0, size = 1;
};

/// Why a model cannot be cut into so many parts; "" where it can.
std::string part_problem(const ModelSpec& spec, int64_t size);

/// Sizes of each of so many parts.
ModelSpec part_of(const ModelSpec& spec, int64_t size);

/// Takes what a part has of a unit out of its `values`, which lie as in Decoder::weights() of the
/// whole model from Unit::begin on, and puts it into `decoder`, made with part_of(). `whole` says
/// where what lies, and needs no weights.
void take_part(const TensorPart& part, Decoder& whole, int64_t unit, const at::Tensor& values,
               Decoder& decoder);

}  // namespace vernier
