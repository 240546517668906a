// Reductions over the threads of a warp and of a block.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace vernier::kernels::device {

constexpr int kWarp = 32;
constexpr int kBlock = 256;
constexpr unsigned kAllLanes = 0xFFFFFFFFU;

struct Sum {
  template <class T>
  __device__ static T identity() {
    return T{};
  }
  template <class T>
  __device__ static T join(T a, T b) {
    return a + b;
  }
};

struct Max {
  template <class T>
  __device__ static T identity();
  template <class T>
  __device__ static T join(T a, T b) {
    return a >= b ? a : b;
  }
};
template <>
__device__ inline float Max::identity<float>() {
  return -INFINITY;
}
template <>
__device__ inline uint64_t Max::identity<uint64_t>() {
  return 0;
}
// NaN wins, so that it is not lost on the way.
template <>
__device__ inline float Max::join(float a, float b) {
  return !(a >= b) ? (a != a ? a : b) : a;
}

/// Joins one value of every lane; all lanes get the result.
template <class Join, class T>
__device__ T over_warp(T value) {
  for (int step = kWarp / 2; step > 0; step /= 2)
    value = Join::join(value, __shfl_xor_sync(kAllLanes, value, step));
  return value;
}

/// Joins one value of every thread of a block of kThreads; all threads get the result. `scratch`
/// holds one value a warp and may be used again after the call.
template <class Join, int kThreads = kBlock, class T>
__device__ T over_block(T value, T* scratch) {
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  value = over_warp<Join>(value);
  if (lane == 0) scratch[warp] = value;
  __syncthreads();
  value = over_warp<Join>(lane < kThreads / kWarp ? scratch[lane] : Join::template identity<T>());
  __syncthreads();
  return value;
}

/// The sum of the values of this lane and of those before it.
template <class T>
__device__ T warp_prefix(T value) {
  const int lane = threadIdx.x % kWarp;
  for (int step = 1; step < kWarp; step *= 2) {
    const T before = __shfl_up_sync(kAllLanes, value, step);
    if (lane >= step) value += before;
  }
  return value;
}

}  // namespace vernier::kernels::device
