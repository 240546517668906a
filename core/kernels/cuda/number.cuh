// Numbers as they lie in memory and as they are computed with, which is fp32.
#pragma once

#include "core/kernels/cuda/ptx.cuh"
#include "core/kernels/device.h"

namespace vernier::kernels::device {

__device__ inline float to_float(float value) { return value; }
__device__ inline float to_float(Bf16 value) {
  return __uint_as_float(static_cast<uint32_t>(value.bits) << 16);
}

template <class T>
__device__ T from_float(float value);
template <>
__device__ inline float from_float<float>(float value) {
  return value;
}
template <>
__device__ inline Bf16 from_float<Bf16>(float value) {
  return {static_cast<uint16_t>(pack_bf16(value, 0.0f))};
}

/// AttentionShape as a kernel takes it: its functions are the host's.
struct HeadShape {
  int heads, kv_heads, group, head_size, rotary_size, window, row;

  explicit HeadShape(const AttentionShape& shape)
      : heads(static_cast<int>(shape.heads)),
        kv_heads(static_cast<int>(shape.kv_heads)),
        group(static_cast<int>(shape.group())),
        head_size(static_cast<int>(shape.head_size)),
        rotary_size(static_cast<int>(shape.rotary_size)),
        window(static_cast<int>(shape.window)),
        row(static_cast<int>(shape.row())) {}
};

}  // namespace vernier::kernels::device
