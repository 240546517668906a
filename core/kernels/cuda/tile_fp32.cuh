// The tile of tile.cuh in fp32. A lane is a token for the scores and a column for the values; the
// warp's shared memory carries the queries, and the weights from one to the other.
#pragma once

#include "core/kernels/cuda/tile.cuh"

namespace vernier::kernels::device {

template <int kSize>
class Fp32Tile {
 public:
  using Number = float;
  static constexpr int kHeadSize = kSize, kWarps = 2, kShared = kTileRows * (kSize + kStep);
  static constexpr int kRows = kTileRows, kColumns = (kSize + kWarp - 1) / kWarp;

  __device__ static int row(int i) { return i; }
  __device__ static int column(int j) { return lane() + kWarp * j; }  // may be past the head

  __device__ Fp32Tile(const TileRows<float>& rows, float* shared)
      : rows_(rows), query_(shared), weight_(shared + kTileRows * kSize) {
    for (int i = 0; i < kTileRows; ++i)
      for (int e = lane(); e < kSize; e += kWarp)
        query_[i * kSize + e] = rows.exists(i) ? rows.at(i, kSize)[e] : 0.0f;
    __syncwarp();
  }

  __device__ void begin_piece() {
    for (int i = 0; i < kRows; ++i) {
      top[i] = -INFINITY;
      sum[i] = 0;
      for (int j = 0; j < kColumns; ++j) out[i][j] = 0;
    }
  }

  __device__ void attend(const float* keys, const float* values, int slot, int token, int end) {
    weights(keys + (slot + lane()) * kSize, token + lane());
    __syncwarp();
    add_values(values + slot, end - token);
    __syncwarp();
  }

  __device__ void end_piece() {
    for (int i = 0; i < kRows; ++i) sum[i] = over_warp<Sum>(sum[i]);
  }

  float top[kRows], sum[kRows], out[kRows][kColumns];

 private:
  __device__ static int lane() { return threadIdx.x % kWarp; }

  __device__ void weights(const float* key, int token) {
    float score[kRows] = {};
#pragma unroll 2
    for (int e = 0; e < kSize; e += 4) {
      const float4 k = *reinterpret_cast<const float4*>(key + e);
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        const float4 q = *reinterpret_cast<const float4*>(query_ + i * kSize + e);
        score[i] = dot(q, k, score[i]);
      }
    }
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const bool seen = token >= rows_.first_seen(i) && token <= rows_.last_seen(i);
      const float s = seen ? __fmul_rn(score[i], score_scale<kSize>()) : -INFINITY;
      float most = fmaxf(top[i], s);
      for (int step = kWarp / 2; step > 0; step /= 2)
        most = fmaxf(most, __shfl_xor_sync(kAllLanes, most, step));
      const float keep = weight_of(top[i], most), weight = weight_of(s, most);
      top[i] = most;
      sum[i] = __fmaf_rn(sum[i], keep, weight);
      weight_[i * kStep + lane()] = weight;
#pragma unroll
      for (int j = 0; j < kColumns; ++j) out[i][j] = __fmul_rn(out[i][j], keep);
    }
  }

  __device__ void add_values(const float* values, int tokens) {
#pragma unroll
    for (int j = 0; j < kColumns; ++j) {
      if (column(j) >= kSize) continue;
      const float* value = values + column(j) * kKeyBlock;
#pragma unroll 2
      for (int t = 0; t < kStep; t += 4) {
        float4 v = *reinterpret_cast<const float4*>(value + t);
        // What was never written may be NaN, and 0 * NaN is not 0.
        if (t >= tokens) v.x = 0;
        if (t + 1 >= tokens) v.y = 0;
        if (t + 2 >= tokens) v.z = 0;
        if (t + 3 >= tokens) v.w = 0;
#pragma unroll
        for (int i = 0; i < kRows; ++i) {
          const float4 w = *reinterpret_cast<const float4*>(weight_ + i * kStep + t);
          out[i][j] = dot(w, v, out[i][j]);
        }
      }
    }
  }

  __device__ static float dot(const float4& a, const float4& b, float sum) {
    sum = __fmaf_rn(a.x, b.x, sum);
    sum = __fmaf_rn(a.y, b.y, sum);
    sum = __fmaf_rn(a.z, b.z, sum);
    return __fmaf_rn(a.w, b.w, sum);
  }

  const TileRows<float> rows_;
  float *query_, *weight_;
};

}  // namespace vernier::kernels::device
