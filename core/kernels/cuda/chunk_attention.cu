// Attention of many tokens of a sequence to its pages, their own among them. A warp takes a tile of
// rows through all pieces that they see.
#include "core/kernels/cuda/attention.cuh"
#include "core/kernels/device.h"

namespace vernier::kernels::device {
namespace {

__host__ __device__ constexpr int64_t tiles_of(int64_t tokens, int64_t group) {
  return (tokens * group + kTileRows - 1) / kTileRows;
}

// The span that tile number `tile` belongs to; `tile` becomes its number there. Negative: none.
// The warp looks at 32 spans at a time.
__device__ int span_of(const ChunkSpan* spans, int num_spans, int group, int64_t& tile) {
  const int lane = threadIdx.x % kWarp;
  for (int first = 0; first < num_spans; first += kWarp) {
    const int at = first + lane;
    const int64_t own = at < num_spans ? tiles_of(spans[at].count, group) : 0;
    const int64_t upto = warp_prefix(own);
    const unsigned found = __ballot_sync(kAllLanes, tile < upto);
    if (found != 0) {
      const int which = __ffs(static_cast<int>(found)) - 1;
      tile -= __shfl_sync(kAllLanes, upto - own, which);
      return first + which;
    }
    tile -= __shfl_sync(kAllLanes, upto, kWarp - 1);
  }
  return -1;
}

// The pieces so far, of one tile: out in shared memory, a lane's numbers 32 apart.
template <class Tile>
struct Joined {
  float top[Tile::kRows], sum[Tile::kRows];
  float* out;

  __device__ explicit Joined(float* memory) : out(memory + threadIdx.x % kWarp) {
    for (int i = 0; i < Tile::kRows; ++i) {
      top[i] = -INFINITY;
      sum[i] = 0;
      for (int j = 0; j < Tile::kColumns; ++j) at(i, j) = 0;
    }
  }
  __device__ float& at(int i, int j) { return out[(i * Tile::kColumns + j) * kWarp]; }
  __device__ void add(const Tile& tile) {
#pragma unroll
    for (int i = 0; i < Tile::kRows; ++i) {
      const Fold fold(top[i], tile.top[i]);
      top[i] = fold.top;
      sum[i] = fold(sum[i], tile.sum[i]);
#pragma unroll
      for (int j = 0; j < Tile::kColumns; ++j) at(i, j) = fold(at(i, j), tile.out[i][j]);
    }
  }
};

template <class Tile>
__global__ void __launch_bounds__(Tile::kWarps* kWarp)
    chunk_kernel(const typename Tile::Number* qkv, const ChunkSpan* spans, int num_spans,
                 Pages<typename Tile::Number> cache, PageTable table, typename Tile::Number* out,
                 HeadShape shape) {
  constexpr int kSize = Tile::kHeadSize;
  constexpr int kOwn = Tile::kShared + Tile::kRows * Tile::kColumns * kWarp;
  __shared__ __align__(16) float shared[Tile::kWarps * kOwn];
  float* own = shared + threadIdx.x / kWarp * kOwn;
  const int64_t unit = int64_t{blockIdx.x} * Tile::kWarps + threadIdx.x / kWarp;
  const int kv_head = static_cast<int>(unit % shape.kv_heads);
  int64_t number = unit / shape.kv_heads;
  const int which = span_of(spans, num_spans, shape.group, number);
  if (which < 0) return;
  const ChunkSpan span = spans[which];
  const TileRows<typename Tile::Number> rows{
      .query = qkv + int64_t{span.row} * shape.row + kv_head * shape.group * kSize,
      .stride = shape.row,
      .first = static_cast<int>(number) * kTileRows,
      .rows = span.count * shape.group,
      .group = shape.group,
      .position = span.first,
      .window = shape.window};
  Tile tile(rows, own);
  Joined<Tile> joined(own + Tile::kShared);
  const int seen = rows.first_seen(0);
  const int last = rows.last_seen(min(kTileRows, rows.rows - rows.first) - 1);
  const int32_t* pages = table.pages + span.sequence * table.width;
  for (int piece = seen / static_cast<int>(kPiece); piece * kPiece <= last; ++piece) {
    attend_piece(tile, piece, seen, last, cache, pages, kv_head, shape.kv_heads);
    joined.add(tile);
  }
  for (int i = 0; i < Tile::kRows; ++i) {
    if (!rows.exists(Tile::row(i))) continue;
    const int row = rows.first + Tile::row(i);
    auto* to = out + ((int64_t{span.row} + row / shape.group) * shape.heads +
                      kv_head * shape.group + row % shape.group) *
                         kSize;
    for (int j = 0; j < Tile::kColumns; ++j)
      if (Tile::column(j) < kSize)
        to[Tile::column(j)] = from_float<typename Tile::Number>(joined.at(i, j) / joined.sum[i]);
  }
}

}  // namespace

template <class T>
void chunk_attention(const T* qkv, const ChunkSpan* spans, int64_t num_spans, const Pages<T>& cache,
                     const PageTable& table, T* out, const AttentionShape& shape, int64_t rows,
                     cudaStream_t stream) {
  // Every span may leave one tile unfilled.
  const int64_t units = (tiles_of(rows, shape.group()) + num_spans) * shape.kv_heads;
  with_tile<T>("chunk_attention", shape.head_size, [&]<class Tile>() {
    launch("chunk_attention", {rows, shape.heads, shape.head_size}, chunk_kernel<Tile>,
           (units + Tile::kWarps - 1) / Tile::kWarps, Tile::kWarps * kWarp, stream, qkv, spans,
           num_spans, cache, table, out, HeadShape(shape));
  });
}

template void chunk_attention(const float*, const ChunkSpan*, int64_t, const Pages<float>&,
                              const PageTable&, float*, const AttentionShape&, int64_t,
                              cudaStream_t);
template void chunk_attention(const Bf16*, const ChunkSpan*, int64_t, const Pages<Bf16>&,
                              const PageTable&, Bf16*, const AttentionShape&, int64_t,
                              cudaStream_t);

}  // namespace vernier::kernels::device
