// What decode_attention and chunk_attention share: a piece of the cache, and the choice of a tile.
#pragma once

#include "core/kernels/cuda/launch.cuh"
#include "core/kernels/cuda/tile.cuh"
#include "core/kernels/cuda/tile_fp32.cuh"

namespace vernier::kernels::device {

/// Sums the tokens [piece * kPiece, ...) that some row of a tile sees: those from `seen` to `last`.
template <class Tile>
__device__ void attend_piece(Tile& tile, int piece, int seen, int last,
                             const Pages<typename Tile::Number>& cache, const int32_t* pages,
                             int kv_head, int kv_heads) {
  constexpr int64_t kSize = Tile::kHeadSize;
  const int begin = piece * static_cast<int>(kPiece);
  const int end = min(last + 1, begin + static_cast<int>(kPiece));
  tile.begin_piece();
  // Steps begin at multiples of 32 whatever the window, so that rows agree on them.
  for (int token = max(begin, seen / kStep * kStep); token < end; token += kStep) {
    const auto* page = cache.base + pages[token / kKeyBlock] * cache.stride;
    const auto* keys = page + kv_head * kKeyBlock * kSize;
    const auto* values = keys + kv_heads * kKeyBlock * kSize;
    tile.attend(keys, values, token % static_cast<int>(kKeyBlock), token, last + 1);
  }
  tile.end_piece();
}

/// Calls run.operator()<Tile>() with the tile for numbers T and this head size.
template <class T, class Run>
void with_tile(const char* name, int64_t head_size, const Run& run) {
  const auto as = [&]<int kSize>() {
    if constexpr (sizeof(T) == sizeof(Bf16))
      run.template operator()<Bf16Tile<kSize>>();
    else
      run.template operator()<Fp32Tile<kSize>>();
  };
  if (head_size == 64) return as.template operator()<64>();
  if (head_size == 80) return as.template operator()<80>();
  if (head_size == 96) return as.template operator()<96>();
  if (head_size == 128) return as.template operator()<128>();
  throw DeviceError(cat(name, ": a head size of ", head_size, "; 64, 80, 96 and 128 are built"));
}

}  // namespace vernier::kernels::device
