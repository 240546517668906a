// The instructions that C++ has no word for: bf16 conversion and the tensor core's product.
#pragma once

#include <cstdint>

namespace vernier::kernels::device {

/// Two bf16, `low` in the lower half; rounded to nearest, ties to even.
__device__ inline uint32_t pack_bf16(float low, float high) {
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

/// sum += A B for A [16, 16] and B [16, 8] in bf16, with sums in fp32.
///
/// With g = lane / 4 and t = lane % 4 a lane holds, two numbers to a word (PTX ISA, mma.m16n8k16):
/// A: rows g, g + 8 at columns 2t, 2t + 1, then the same rows at columns 2t + 8, 2t + 9;
/// B: column g at rows 2t, 2t + 1, then at rows 2t + 8, 2t + 9;
/// sum: row g at columns 2t, 2t + 1, then row g + 8 at them.
__device__ inline void tensor_product(float* sum, const uint32_t (&a)[4], uint32_t b0,
                                      uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

}  // namespace vernier::kernels::device
