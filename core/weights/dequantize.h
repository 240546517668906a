// Block formats of GGUF files, and fp32 values from them.
//
// A row is cut into blocks of a fixed number of values; a block holds its scales and its packed
// integers, little-endian. The layouts are those of ggml, described at each function.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/weights/weights.h"

namespace vernier {

struct BlockSize {
  int64_t values;
  int64_t bytes;
};

/// Of the three plain types too, whose block is one value.
BlockSize block_size(DType type);

/// `numel` values from the blocks at `in`, which need no alignment. `numel` is a multiple of the
/// type's block. Products are exact in fp32, so a value carries at most one rounding.
void dequantize(DType type, const std::byte* in, int64_t numel, float* out);

}  // namespace vernier
