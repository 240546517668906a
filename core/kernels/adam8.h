// AdamW whose moments take a byte each.
//
// A block of 256 numbers has one scale, its largest magnitude; a number of the block is the nearest
// of 256 codes times the scale. The codes are those of dynamic tree quantisation: seven decades,
// each with twice as many numbers as the one below it. Moments are read, updated in fp32 and
// rounded again, a block at a time. Dettmers et al., "8-bit Optimizers via Block-wise
// Quantization", arXiv:2110.02861 (blocks of 256 and the codes as in the bitsandbytes library).
#pragma once

#include <cstdint>

#include "core/kernels/kernels.h"

namespace vernier::kernels {

inline constexpr int64_t kMomentBlock = 256;

/// Moments of `count` weights: codes [count], scales [count / 256, rounded up].
struct ByteMoments {
  uint8_t *codes1 = nullptr, *codes2 = nullptr;
  float *scales1 = nullptr, *scales2 = nullptr;
};

/// The step of adamw() on moments in bytes. All zero are moments of zero.
void adamw_8bit(float* weights, const float* gradient, const ByteMoments& moments, int64_t count,
                const AdamStep& step);

/// The value of a code in [-1, 1] (first moment), or [0, 1] (second): what a scale multiplies. Code
/// 0 is 0, the others rise from 1 to 255.
float moment_code(uint8_t code, bool is_signed);
/// The code that is nearest to a value; one beyond the range counts as its end.
uint8_t nearest_code(float value, bool is_signed);

}  // namespace vernier::kernels
