// What every kernel file needs: reductions over a block, and the check of a launch.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <string>

#include "core/base/errors.h"

namespace vernier::kernels::device {

constexpr int kWarp = 32;
constexpr int kBlock = 256;
constexpr unsigned kAllLanes = 0xFFFFFFFFU;

struct Sum {
  __device__ static float identity() { return 0.0f; }
  __device__ static float join(float a, float b) { return a + b; }
};

struct Max {
  __device__ static float identity() { return -INFINITY; }
  // NaN wins, so that it is not lost on the way.
  __device__ static float join(float a, float b) { return !(a >= b) ? (a != a ? a : b) : a; }
};

/// Joins one value of every thread of the block; all threads get the result. `scratch` holds a
/// float a warp and may be used again after the call.
template <class Join>
__device__ float over_block(float value, float* scratch) {
  for (int step = kWarp / 2; step > 0; step /= 2)
    value = Join::join(value, __shfl_xor_sync(kAllLanes, value, step));
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  if (lane == 0) scratch[warp] = value;
  __syncthreads();
  value = lane < kBlock / kWarp ? scratch[lane] : Join::identity();
  for (int step = kWarp / 2; step > 0; step /= 2)
    value = Join::join(value, __shfl_xor_sync(kAllLanes, value, step));
  __syncthreads();
  return value;
}

/// Raises DeviceError where the last launch was refused.
inline void check_launch(const char* name, int64_t rows, int64_t columns) {
  const cudaError_t problem = cudaGetLastError();
  if (problem != cudaSuccess)
    throw DeviceError(cat(name, " [", rows, ", ", columns, "]: ", cudaGetErrorString(problem)));
}

}  // namespace vernier::kernels::device
