// Attention of 16 rows to a piece of the cache, by one warp. The two tiles here, one on tensor
// cores for bf16 and one in fp32, have the same face:
//
//   kWarps             warps of a block, by what a tile takes of shared memory
//   kShared            floats of shared memory a tile needs
//   kRows, kColumns    numbers of `out` that a lane holds: rows row(i), columns column(j) of a head
//   Tile(rows, shared) reads the queries
//   begin_piece()      forgets what was summed
//   attend(...)        adds 32 tokens of a page
//   end_piece()        makes sum[i] that of the whole row
//   top[i], sum[i], out[i][j]   maximum of the scores (base 2), sum of weights, weighted values
#pragma once

#include "core/kernels/cuda/block.cuh"
#include "core/kernels/cuda/number.cuh"

namespace vernier::kernels::device {

constexpr int kTileRows = 16;
constexpr int kStep = 32;  // tokens that a tile takes at a time

/// Rows [first, first + 16) of a span: row r is head r % group of its key-value head, of token
/// r / group of the span.
template <class T>
struct TileRows {
  const T* query;       // head 0 of the key-value head, token 0 of the span
  int64_t stride;       // from one token to the next
  int first, rows;      // rows: those of the whole span
  int group, position;  // position: the place of the span's first token in its sequence
  int window;

  __device__ bool exists(int row) const { return first + row < rows; }
  __device__ const T* at(int row, int size) const {
    return query + (first + row) / group * stride + (first + row) % group * size;
  }
  /// The last token that a row sees, -1 where there is no such row; and the first.
  __device__ int last_seen(int row) const {
    return exists(row) ? position + (first + row) / group : -1;
  }
  __device__ int first_seen(int row) const {
    const int last = last_seen(row);
    return window > 0 && last >= window ? last + 1 - window : 0;
  }
};

/// Scores are kept times log2(e) / sqrt(E), so that weights are powers of two.
template <int kSize>
__device__ float score_scale() {
  return 1.4426950408889634f / sqrtf(static_cast<float>(kSize));
}

/// 2^(x - top), where a row that saw nothing yet has top = -inf.
__device__ inline float weight_of(float x, float top) {
  return exp2f(x - (top == -INFINITY ? 0.0f : top));
}

/// How a sum of weights relative to `top` and one relative to `other` are joined.
struct Fold {
  float top, keep, add;

  __device__ Fold(float own, float other) : top(fmaxf(own, other)) {
    keep = weight_of(own, top);
    add = weight_of(other, top);
  }
  // Written out, because decode_attention and chunk_attention must round alike.
  __device__ float operator()(float own, float other) const {
    return __fmaf_rn(own, keep, __fmul_rn(other, add));
  }
};

template <int kSize>
class Bf16Tile {
 public:
  using Number = Bf16;
  static constexpr int kHeadSize = kSize, kWarps = 4, kShared = 0, kRows = 2, kColumns = kSize / 4;

  __device__ static int row(int i) { return lane() / 4 + 8 * i; }
  __device__ static int column(int j) { return 8 * (j / 2) + 2 * (lane() % 4) + j % 2; }

  // A product over E may take the dimensions in any order, if queries and keys take the same: lane
  // t of a row takes 8 neighbours, 16 bytes, for two products.
  __device__ Bf16Tile(const TileRows<Bf16>& rows, float*) {
    const int t = lane() % 4;
    for (int i = 0; i < kRows; ++i) {
      first_[i] = rows.first_seen(row(i));
      last_[i] = rows.last_seen(row(i));
      const auto* q = reinterpret_cast<const uint32_t*>(rows.at(row(i), kSize));
      const bool exists = rows.exists(row(i));
#pragma unroll
      for (int c = 0; c < kProducts; ++c) {
        const int at = pair_of(c, t);
        query_[c][i] = exists ? q[at] : 0;
        query_[c][i + 2] = exists ? q[at + 1] : 0;
      }
    }
  }

  __device__ void begin_piece() {
    for (int i = 0; i < kRows; ++i) {
      top[i] = -INFINITY;
      sum[i] = 0;
      for (int j = 0; j < kColumns; ++j) out[i][j] = 0;
    }
  }

  /// Tokens [token, token + 32), which begin at `slot` of their page; those from `end` on are not
  /// there.
  __device__ void attend(const Bf16* keys, const Bf16* values, int slot, int token, int end) {
    float score[4][4] = {};  // [8 tokens][row and token of a lane, as tensor_product has them]
    scores(keys + slot * kSize, score);
    uint32_t weight[2][4];
    weights(score, token, weight);
    add_values(values + slot, weight, end - token);
  }

  __device__ void end_piece() {
    for (int i = 0; i < kRows; ++i) {
      sum[i] += __shfl_xor_sync(kAllLanes, sum[i], 1);
      sum[i] += __shfl_xor_sync(kAllLanes, sum[i], 2);
    }
  }

  float top[kRows], sum[kRows], out[kRows][kColumns];

 private:
  static constexpr int kProducts = kSize / 16;

  __device__ static int lane() { return threadIdx.x % kWarp; }

  // Where, in words of two numbers, lane t begins product c of a row.
  __device__ static int pair_of(int c, int t) {
    const bool in_pair = c / 2 * 2 + 1 < kProducts;  // 80 has an odd number of products
    return in_pair ? c / 2 * 16 + 4 * t + c % 2 * 2 : c * 8 + 2 * t;
  }

  // Column g of the product over 8 tokens is token 8 (g / 2) + 2 j + g % 2: so the weights that a
  // lane gets are those of 8 neighbours, which is how it reads the values.
  __device__ void scores(const Bf16* keys, float (&score)[4][4]) const {
    const int g = lane() / 4, t = lane() % 4;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const Bf16* key = keys + (8 * (g / 2) + 2 * j + g % 2) * kSize;
#pragma unroll
      for (int c = 0; c + 1 < kProducts; c += 2) {
        const uint4 k = *reinterpret_cast<const uint4*>(key + c * 16 + 8 * t);
        tensor_product(score[j], query_[c], k.x, k.y);
        tensor_product(score[j], query_[c + 1], k.z, k.w);
      }
      if constexpr (kProducts % 2 == 1) {
        const uint2 k = *reinterpret_cast<const uint2*>(key + (kProducts - 1) * 16 + 4 * t);
        tensor_product(score[j], query_[kProducts - 1], k.x, k.y);
      }
    }
  }

  // Scores become weights, as the left side of the product with the values; what was summed before
  // is brought to the new maximum.
  __device__ void weights(float (&score)[4][4], int token, uint32_t (&weight)[2][4]) {
    const int t = lane() % 4;
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      float most = top[i];
#pragma unroll
      for (int j = 0; j < 4; ++j)
#pragma unroll
        for (int b = 0; b < 2; ++b) {
          float& s = score[j][2 * i + b];
          const int at = token + 8 * t + 2 * j + b;
          s = at >= first_[i] && at <= last_[i] ? __fmul_rn(s, score_scale<kSize>()) : -INFINITY;
          most = fmaxf(most, s);
        }
      most = fmaxf(most, __shfl_xor_sync(kAllLanes, most, 1));
      most = fmaxf(most, __shfl_xor_sync(kAllLanes, most, 2));
      const float keep = weight_of(top[i], most);
      top[i] = most;
      float total = 0;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const float a = weight_of(score[j][2 * i], most), b = weight_of(score[j][2 * i + 1], most);
        total = __fadd_rn(total, __fadd_rn(a, b));
        weight[j / 2][i + j % 2 * 2] = pack_bf16(a, b);
      }
      sum[i] = __fmaf_rn(sum[i], keep, total);
#pragma unroll
      for (int j = 0; j < kColumns; ++j) out[i][j] = __fmul_rn(out[i][j], keep);
    }
  }

  __device__ void add_values(const Bf16* values, const uint32_t (&weight)[2][4], int tokens) {
    const int g = lane() / 4, t = lane() % 4;
#pragma unroll
    for (int n = 0; n < kSize / 8; ++n) {
      uint4 v = *reinterpret_cast<const uint4*>(values + (8 * n + g) * kKeyBlock + 8 * t);
      if (tokens < kStep) {  // what was never written may be NaN, and 0 * NaN is not 0
        v.x = first_of(v.x, tokens - 8 * t);
        v.y = first_of(v.y, tokens - 8 * t - 2);
        v.z = first_of(v.z, tokens - 8 * t - 4);
        v.w = first_of(v.w, tokens - 8 * t - 6);
      }
      float column[4] = {out[0][2 * n], out[0][2 * n + 1], out[1][2 * n], out[1][2 * n + 1]};
      tensor_product(column, weight[0], v.x, v.y);
      tensor_product(column, weight[1], v.z, v.w);
      out[0][2 * n] = column[0];
      out[0][2 * n + 1] = column[1];
      out[1][2 * n] = column[2];
      out[1][2 * n + 1] = column[3];
    }
  }

  // The first `count` of two numbers, the rest 0.
  __device__ static uint32_t first_of(uint32_t pair, int count) {
    return count >= 2 ? pair : count == 1 ? pair & 0xFFFFU : 0U;
  }

  uint32_t query_[kProducts][4];
  int first_[kRows], last_[kRows];
};

}  // namespace vernier::kernels::device
