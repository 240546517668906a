// core/base/rng.h on the device: the same bits, the same double.
#pragma once

#include <cstdint>

namespace vernier::kernels::device {

/// Rng::bits(position) of the stream with this key: Philox4x32-10.
__device__ inline uint64_t random_bits(uint64_t key, uint64_t position) {
  uint32_t counter[4] = {static_cast<uint32_t>(position), static_cast<uint32_t>(position >> 32), 0,
                         0};
  uint32_t low = static_cast<uint32_t>(key), high = static_cast<uint32_t>(key >> 32);
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * counter[0];
    const uint64_t b = uint64_t{0xCD9E8D57} * counter[2];
    counter[0] = static_cast<uint32_t>(b >> 32) ^ counter[1] ^ low;
    counter[1] = static_cast<uint32_t>(b);
    counter[2] = static_cast<uint32_t>(a >> 32) ^ counter[3] ^ high;
    counter[3] = static_cast<uint32_t>(a);
    low += 0x9E3779B9;
    high += 0xBB67AE85;
  }
  return uint64_t{counter[1]} << 32 | counter[0];
}

/// Rng::uniform(position).
__device__ inline double random_uniform(uint64_t key, uint64_t position) {
  return static_cast<double>(random_bits(key, position) >> 11) * 0x1.0p-53;
}

/// floor(uniform * total), exactly.
__device__ inline uint64_t random_below(uint64_t key, uint64_t position, uint64_t total) {
  return __umul64hi(random_bits(key, position) & ~uint64_t{0x7FF}, total);
}

}  // namespace vernier::kernels::device
