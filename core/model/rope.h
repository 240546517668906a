// The frequencies that a RoPE kind means.
#pragma once

#include "core/kernels/ops.h"
#include "core/model/rope_spec.h"

namespace vernier {

/// A table without positions yet. `rotary_size` R is even; `max_length` is the longest sequence
/// that will be asked for: longrope takes its long factors where that is beyond the original
/// length, for all sequences alike. (`transformers` switches by the length of each batch, so one
/// text would have two log-probabilities.)
RopeTable make_rope_table(const RopeSpec& rope, int64_t rotary_size, int64_t max_length);

/// [T, D]: sin(p / 10000^(2i/D)) and cos of the same, one after the other, of positions [T], in
/// fp32. Source: "Attention is all you need", section 3.5.
at::Tensor sinusoids(const std::vector<int32_t>& positions, int64_t width);

}  // namespace vernier
