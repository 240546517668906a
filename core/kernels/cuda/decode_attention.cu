// Attention of one token of each sequence to its pages. A warp takes a tile of rows through one
// piece, whatever sequence it is of, so that few long sequences fill the GPU as many short ones do
// (Flash-Decoding, with pieces of one size); a second kernel joins the pieces.
#include <algorithm>

#include "core/kernels/cuda/attention.cuh"
#include "core/kernels/device.h"

namespace vernier::kernels::device {
namespace {

constexpr int kMostSlots = 1024;       // of a plan: one block, a thread a slot
constexpr int64_t kMostBlocks = 2048;  // several waves of any GPU; blocks then take turns

__global__ void plan_kernel(const int32_t* positions, DecodePlan plan, int batch) {
  __shared__ int warps[kMostSlots / kWarp];
  const int slot = threadIdx.x, lane = slot % kWarp, warp = slot / kWarp;
  const int position = slot < batch ? positions[slot] : -1;
  const int own = position < 0 ? 0 : position / static_cast<int>(kPiece) + 1;
  int upto = warp_prefix(own);
  if (lane == kWarp - 1) warps[warp] = upto;
  __syncthreads();
  for (int w = 0; w < warp; ++w) upto += warps[w];
  if (slot >= batch) return;
  if (slot == 0) plan.starts[0] = 0;
  plan.starts[slot + 1] = upto;
  for (int64_t i = upto - own; i < min(static_cast<int64_t>(upto), plan.capacity); ++i)
    plan.slots[i] = slot;
}

// What the pieces leave for the second kernel: out [pieces][H][E], top and sum [pieces][H].
struct Partial {
  float* out;
  float *top, *sum;

  __host__ __device__ Partial(float* scratch, int64_t pieces, int64_t heads, int64_t size)
      : out(scratch), top(scratch + pieces * heads * size), sum(top + pieces * heads) {}
};

template <class Tile>
__global__ void __launch_bounds__(Tile::kWarps* kWarp)
    piece_kernel(const typename Tile::Number* qkv, const int32_t* positions,
                 Pages<typename Tile::Number> cache, PageTable table, DecodePlan plan,
                 Partial partial, HeadShape shape, int batch) {
  constexpr int kSize = Tile::kHeadSize;
  __shared__ __align__(16) float shared[Tile::kWarps * Tile::kShared + 1];
  float* own = shared + threadIdx.x / kWarp * Tile::kShared;
  const int tiles = (shape.group + kTileRows - 1) / kTileRows, parts = shape.kv_heads * tiles;
  const int64_t units = min(int64_t{plan.starts[batch]}, plan.capacity) * parts;
  const int64_t step = int64_t{gridDim.x} * Tile::kWarps;
  for (int64_t unit = int64_t{blockIdx.x} * Tile::kWarps + threadIdx.x / kWarp; unit < units;
       unit += step) {
    const int part = static_cast<int>(unit % parts), kv_head = part / tiles;
    const int64_t item = unit / parts;
    const int slot = plan.slots[item], piece = static_cast<int>(item) - plan.starts[slot];
    const TileRows<typename Tile::Number> rows{
        .query = qkv + int64_t{slot} * shape.row + kv_head * shape.group * kSize,
        .stride = shape.row,
        .first = part % tiles * kTileRows,
        .rows = shape.group,
        .group = shape.group,
        .position = positions[slot],
        .window = shape.window};
    const int seen = rows.first_seen(0), last = positions[slot];
    if ((piece + 1) * kPiece <= seen) continue;  // before the window; nobody reads it
    Tile tile(rows, own);
    attend_piece(tile, piece, seen, last, cache, table.pages + slot * table.width, kv_head,
                 shape.kv_heads);
    for (int i = 0; i < Tile::kRows; ++i) {
      if (!rows.exists(Tile::row(i))) continue;
      const int64_t at = item * shape.heads + kv_head * shape.group + rows.first + Tile::row(i);
      partial.top[at] = tile.top[i];  // the lanes of a row write the same
      partial.sum[at] = tile.sum[i];
      for (int j = 0; j < Tile::kColumns; ++j)
        if (Tile::column(j) < kSize) partial.out[at * kSize + Tile::column(j)] = tile.out[i][j];
    }
    __syncwarp();  // the next tile uses the same shared memory
  }
}

// A block a slot and head, a thread a column.
template <class T>
__global__ void join_kernel(const int32_t* positions, DecodePlan plan, Partial partial, T* out,
                            HeadShape shape) {
  const int slot = blockIdx.x / shape.heads, head = blockIdx.x % shape.heads;
  const int position = positions[slot], e = threadIdx.x, size = shape.head_size;
  const int64_t to = int64_t{blockIdx.x} * size + e;
  if (e >= size) return;
  if (position < 0) {
    out[to] = from_float<T>(0.0f);
    return;
  }
  const int seen = shape.window > 0 && position >= shape.window ? position + 1 - shape.window : 0;
  const int begin = plan.starts[slot];
  const int64_t end = min(int64_t{plan.starts[slot + 1]}, plan.capacity);
  float top = -INFINITY, sum = 0, value = 0;
  for (int64_t item = begin + seen / static_cast<int>(kPiece); item < end; ++item) {
    const int64_t at = item * shape.heads + head;
    const Fold fold(top, partial.top[at]);
    top = fold.top;
    sum = fold(sum, partial.sum[at]);
    value = fold(value, partial.out[at * size + e]);
  }
  out[to] = from_float<T>(value / sum);
}

}  // namespace

void plan_decode(const int32_t* positions, const DecodePlan& plan, int64_t batch,
                 cudaStream_t stream) {
  if (batch > kMostSlots)
    throw DeviceError(cat("plan_decode: ", batch, " slots; a step has at most ", kMostSlots));
  launch("plan_decode", {batch}, plan_kernel, 1, kMostSlots, stream, positions, plan, batch);
}

template <class T>
void decode_attention(const T* qkv, const int32_t* positions, const Pages<T>& cache,
                      const PageTable& table, const DecodePlan& plan, float* scratch, T* out,
                      const AttentionShape& shape, int64_t batch, cudaStream_t stream) {
  const Partial partial(scratch, plan.capacity, shape.heads, shape.head_size);
  const int64_t tiles = (shape.group() + kTileRows - 1) / kTileRows;
  const int64_t units = plan.capacity * shape.kv_heads * tiles;
  with_tile<T>("decode_attention", shape.head_size, [&]<class Tile>() {
    const int64_t blocks = std::min(kMostBlocks, (units + Tile::kWarps - 1) / Tile::kWarps);
    launch("decode_attention", {batch, shape.heads, shape.head_size}, piece_kernel<Tile>, blocks,
           Tile::kWarps * kWarp, stream, qkv, positions, cache, table, plan, partial,
           HeadShape(shape), batch);
  });
  launch("decode_attention, join", {batch, shape.heads, shape.head_size}, join_kernel<T>,
         batch * shape.heads, static_cast<int>(round_up(shape.head_size, kWarp)), stream, positions,
         plan, partial, out, HeadShape(shape));
}

template void decode_attention(const float*, const int32_t*, const Pages<float>&, const PageTable&,
                               const DecodePlan&, float*, float*, const AttentionShape&, int64_t,
                               cudaStream_t);
template void decode_attention(const Bf16*, const int32_t*, const Pages<Bf16>&, const PageTable&,
                               const DecodePlan&, float*, Bf16*, const AttentionShape&, int64_t,
                               cudaStream_t);

}  // namespace vernier::kernels::device
