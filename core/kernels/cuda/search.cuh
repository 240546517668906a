// A search along a sequence of numbers by all threads of a block.
#pragma once

#include "core/kernels/cuda/block.cuh"

namespace vernier::kernels::device {

/// Where a running sum first exceeds a target.
struct Place {
  int index;
  uint64_t rest;  // the target, less the sum before the index
};

template <int kThreads>
class Search {
 public:
  static constexpr int kWarps = kThreads / kWarp;

  __device__ explicit Search(uint64_t* sums) : sums_(sums) {}

  /// The smallest index in [0, count) at which the sum of value(0), ..., value(index) exceeds
  /// `target`. The sum of all values has to exceed it. Every thread gets the answer.
  template <class Value>
  __device__ Place operator()(int count, uint64_t target, const Value& value) {
    total(0, count, value);
    return after_total(count, target, value);
  }

  /// As above, where a call of total() over [0, count) came before and nothing else since.
  template <class Value>
  __device__ Place after_total(int count, uint64_t target, const Value& value) {
    int begin = 0, end = count;
    while (true) {
      const int part = part_of(end - begin);
      int warp = 0;
      while (warp + 1 < kWarps && target >= sums_[warp]) target -= sums_[warp++];
      begin += warp * part;
      end = min(end, begin + part);
      if (part == 1) return {begin, target};
      total(begin, end, value);
    }
  }

  /// The sum over [begin, end). A warp takes a part of it, in which its lanes take turns.
  template <class Value>
  __device__ uint64_t total(int begin, int end, const Value& value) {
    const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, part = part_of(end - begin);
    const int from = begin + warp * part, to = min(end, from + part);
    uint64_t sum = 0;
    for (int i = from + lane; i < to; i += kWarp) sum += value(i);
    sum = over_warp<Sum>(sum);
    __syncthreads();  // the sums of the call before may still be read
    if (lane == 0) sums_[warp] = sum;
    __syncthreads();
    uint64_t all = 0;
    for (int w = 0; w < kWarps; ++w) all += sums_[w];
    return all;
  }

 private:
  __device__ static int part_of(int count) { return (count + kWarps - 1) / kWarps; }

  uint64_t* sums_;
};

}  // namespace vernier::kernels::device
