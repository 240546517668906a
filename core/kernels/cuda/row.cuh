// A row of logits as its draw sees it.
//
// The weight of a token, exp((z - top) / temperature), is a whole number of 2^-44: sums of whole
// numbers are exact, so they are the same in any order, and a threshold can be met exactly.
// For the filters tokens are ordered by depth, which is (top - z) / temperature in steps of 2^-16.
#pragma once

#include "core/kernels/cuda/number.cuh"

namespace vernier::kernels::device {

constexpr int kDepths = 1 << 21;  // 32 nats: beyond them a weight is 0
constexpr float kDepthsPerNat = 65536.0f;
constexpr float kUnits = 17592186044416.0f;  // 2^44, the weight of the top token

template <class T>
struct LogitRow {
  const T* logits;
  int vocabulary, banned;
  float top, scale;  // the largest logit that is not banned; 1 / temperature

  __device__ float logit(int id) const { return to_float(logits[id]); }
  __device__ uint64_t weight(int id) const { return weight(id, scale); }
  /// With another scale; nothing for the banned token.
  __device__ uint64_t weight(int id, float with) const {
    return id == banned ? 0 : __float2ull_rn(expf((logit(id) - top) * with) * kUnits);
  }
  __device__ int depth(int id) const {
    const float nats = (top - logit(id)) * scale;
    if (id == banned || !(nats * kDepthsPerNat < static_cast<float>(kDepths))) return kDepths;
    return static_cast<int>(nats * kDepthsPerNat);
  }
  /// log softmax(logits * with)[id] over all tokens, of which all but the banned one weigh `sum`.
  __device__ float log_probability(int id, float with, uint64_t sum) const {
    double log_sum = log(static_cast<double>(sum) / kUnits);
    if (banned >= 0 && banned < vocabulary) {
      const double other = (double{logit(banned)} - top) * with;
      log_sum = fmax(log_sum, other) + log1p(exp(-fabs(log_sum - other)));
    }
    return static_cast<float>((double{logit(id)} - top) * with - log_sum);
  }
};

/// The largest logit and, in the lower half, the complement of the smallest id that has it; 0 for
/// the banned token. NaN is larger than any number.
template <class T>
__device__ uint64_t ordered_logit(const LogitRow<T>& row, int id) {
  if (id == row.banned) return 0;
  const float z = row.logit(id) + 0.0f;  // -0 becomes 0
  const uint32_t bits = __float_as_uint(z);
  const uint32_t key = z != z ? 0xFFFFFFFFU : bits >> 31 != 0 ? ~bits : bits | 0x80000000U;
  return uint64_t{key} << 32 | ~static_cast<uint32_t>(id);
}
__device__ inline float logit_of(uint64_t ordered) {
  const auto key = static_cast<uint32_t>(ordered >> 32);
  return __uint_as_float(key >> 31 != 0 ? key & 0x7FFFFFFFU : ~key);
}
__device__ inline int id_of(uint64_t ordered) {
  return static_cast<int>(~static_cast<uint32_t>(ordered));
}

}  // namespace vernier::kernels::device
