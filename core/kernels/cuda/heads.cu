// What happens to queries, keys and values before attention: norms, rotation, the way to their
// pages.
#include "core/kernels/cuda/block.cuh"
#include "core/kernels/cuda/launch.cuh"
#include "core/kernels/cuda/number.cuh"
#include "core/kernels/device.h"

namespace vernier::kernels::device {
namespace {

// A warp a norm: `first` of them over queries of width q_width, the rest over keys.
template <class T>
__global__ void qk_norm_kernel(T* qkv, const T* q_weight, const T* k_weight, int norms, int first,
                               int q_width, int k_width, int row, int64_t rows, float eps) {
  const int64_t at = (int64_t{blockIdx.x} * kBlock + threadIdx.x) / kWarp;
  if (at >= rows * norms) return;
  const int norm = static_cast<int>(at % norms), lane = threadIdx.x % kWarp;
  const bool is_query = norm < first;
  const int width = is_query ? q_width : k_width;
  const T* w = is_query ? q_weight : k_weight;
  T* x = qkv + at / norms * row +
         (is_query ? norm * q_width : first * q_width + (norm - first) * k_width);
  float squares = 0;
  for (int i = lane; i < width; i += kWarp) squares += to_float(x[i]) * to_float(x[i]);
  const float mean = over_warp<Sum>(squares) / static_cast<float>(width);
  const float inverse = 1.0f / sqrtf(mean + eps);
  for (int i = lane; i < width; i += kWarp)
    x[i] = from_float<T>(to_float(x[i]) * inverse * to_float(w[i]));
}

// A block a token, a thread a pair of dimensions of a head. A pair that rotates is (i, i + R/2);
// of the rest, and of values, it is two neighbours.
template <class T>
__global__ void rope_append_kernel(T* qkv, const int32_t* positions, const int32_t* sequences,
                                   const float* cosine, const float* sine, Pages<T> cache,
                                   PageTable table, HeadShape shape) {
  const int64_t token = blockIdx.x;
  const int position = positions[token];
  if (position < 0) return;
  const int64_t sequence = sequences == nullptr ? token : sequences[token];
  const int size = shape.head_size, rotary = shape.rotary_size, half = rotary / 2;
  const int page = table.pages[sequence * table.width + position / kKeyBlock];
  const int slot = position % static_cast<int>(kKeyBlock);
  T* keys = cache.base + page * cache.stride;
  T* values = keys + shape.kv_heads * kKeyBlock * size;
  const int heads = shape.heads + 2 * shape.kv_heads;
  for (int at = threadIdx.x; at < heads * (size / 2); at += kBlock) {
    const int head = at / (size / 2), pair = at % (size / 2);
    const int key = head - shape.heads, value = key - shape.kv_heads;
    const bool rotates = value < 0 && pair < half;
    const int one = rotates ? pair : value < 0 ? rotary + 2 * (pair - half) : 2 * pair;
    const int other = rotates ? pair + half : one + 1;
    T* from = qkv + token * shape.row + head * size;
    T a = from[one], b = from[other];
    if (rotates) {
      const float c = cosine[int64_t{position} * half + pair];
      const float s = sine[int64_t{position} * half + pair];
      const float x = to_float(a), y = to_float(b);
      a = from_float<T>(x * c - y * s);
      b = from_float<T>(y * c + x * s);
    }
    if (key < 0) {
      from[one] = a;
      from[other] = b;
    } else if (value < 0) {
      keys[(key * kKeyBlock + slot) * size + one] = a;
      keys[(key * kKeyBlock + slot) * size + other] = b;
    } else {
      values[(value * size + one) * kKeyBlock + slot] = a;
      values[(value * size + other) * kKeyBlock + slot] = b;
    }
  }
}

}  // namespace

template <class T>
void qk_norm(T* qkv, const T* q_weight, const T* k_weight, const AttentionShape& shape, QkNorm kind,
             int64_t rows, float eps, cudaStream_t stream) {
  if (kind == QkNorm::none) return;
  const bool all = kind == QkNorm::all;
  const int64_t first = all ? 1 : shape.heads, norms = first + (all ? 1 : shape.kv_heads);
  const int64_t q_width = shape.head_size * (all ? shape.heads : 1);
  const int64_t k_width = shape.head_size * (all ? shape.kv_heads : 1);
  constexpr int64_t kWarps = kBlock / kWarp;
  launch("qk_norm", {rows, shape.row()}, qk_norm_kernel<T>, (rows * norms + kWarps - 1) / kWarps,
         kBlock, stream, qkv, q_weight, k_weight, norms, first, q_width, k_width, shape.row(), rows,
         eps);
}

template <class T>
void rope_append(T* qkv, const int32_t* positions, const int32_t* sequences, const float* cosine,
                 const float* sine, const Pages<T>& cache, const PageTable& table,
                 const AttentionShape& shape, int64_t rows, cudaStream_t stream) {
  launch("rope_append", {rows, shape.row()}, rope_append_kernel<T>, rows, kBlock, stream, qkv,
         positions, sequences, cosine, sine, cache, table, HeadShape(shape));
}

template <class T>
void copy_page(const Pages<T>& cache, int32_t from, int32_t to, cudaStream_t stream) {
  const cudaError_t problem = cudaMemcpyAsync(
      cache.base + to * cache.stride, cache.base + from * cache.stride,
      static_cast<size_t>(cache.stride) * sizeof(T), cudaMemcpyDeviceToDevice, stream);
  if (problem != cudaSuccess)
    throw DeviceError(cat("copy_page from ", from, " to ", to, ": ", cudaGetErrorString(problem)));
}

template void qk_norm(float*, const float*, const float*, const AttentionShape&, QkNorm, int64_t,
                      float, cudaStream_t);
template void qk_norm(Bf16*, const Bf16*, const Bf16*, const AttentionShape&, QkNorm, int64_t,
                      float, cudaStream_t);
template void rope_append(float*, const int32_t*, const int32_t*, const float*, const float*,
                          const Pages<float>&, const PageTable&, const AttentionShape&, int64_t,
                          cudaStream_t);
template void rope_append(Bf16*, const int32_t*, const int32_t*, const float*, const float*,
                          const Pages<Bf16>&, const PageTable&, const AttentionShape&, int64_t,
                          cudaStream_t);
template void copy_page(const Pages<float>&, int32_t, int32_t, cudaStream_t);
template void copy_page(const Pages<Bf16>&, int32_t, int32_t, cudaStream_t);

}  // namespace vernier::kernels::device
