// Gradients of RMSNorm: y = x w / sqrt(mean(x^2) + eps), so with r = 1 / sqrt(..)
//
//   dx = dy w r - x r^3 sum(dy w x) / width,   dw = sum over rows of dy x r
//
// r is computed again: the row is read for the sums anyway.
#include "core/kernels/cuda/block.cuh"
#include "core/kernels/cuda/launch.cuh"
#include "core/kernels/cuda/number.cuh"
#include "core/kernels/device_training.h"

namespace vernier::kernels::device {
namespace {

__device__ void put(float* to, float value, bool add) { *to = add ? *to + value : value; }
__device__ void put(Bf16* to, float value, bool) { *to = from_float<Bf16>(value); }

// r and the factor of x in dx, from the sums of x^2 and of dy w x.
struct Factors {
  float inverse, shared;

  __device__ Factors(float squares, float product, int64_t width, float eps) {
    const auto size = static_cast<float>(width);
    inverse = 1.0f / sqrtf(squares / size + eps);
    shared = product * inverse * inverse * inverse / size;
  }
};

// A block takes every gridDim.x-th row, its threads stride over the columns. What the weight of a
// column gets stays with one thread, in the block's row of `partial`, which stays in the cache.
template <class Dy, class X, class W, class Dx>
__global__ void rms_norm_backward_kernel(const Dy* dy, const X* x, const W* w, Dx* dx, bool add,
                                         float* partial, int64_t rows, int64_t width, float eps) {
  __shared__ float scratch[kBlock / kWarp];
  float* sums = partial + blockIdx.x * width;
  for (int64_t i = threadIdx.x; i < width; i += kBlock) sums[i] = 0;
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    const int64_t at = row * width;
    float squares = 0, product = 0;
    for (int64_t i = threadIdx.x; i < width; i += kBlock) {
      const float value = to_float(x[at + i]);
      squares += value * value;
      product += to_float(dy[at + i]) * to_float(w[i]) * value;
    }
    squares = over_block<Sum>(squares, scratch);
    product = over_block<Sum>(product, scratch);
    const Factors f(squares, product, width, eps);
    for (int64_t i = threadIdx.x; i < width; i += kBlock) {
      const float value = to_float(x[at + i]), d = to_float(dy[at + i]);
      put(dx + at + i, d * to_float(w[i]) * f.inverse - value * f.shared, add);
      sums[i] += d * value * f.inverse;
    }
  }
}

// A warp takes every warps-th token and all its norms: `first` of them over queries, then keys.
template <class T>
__global__ void qk_norm_backward_kernel(T* d, const T* qkv, const T* q_weight, const T* k_weight,
                                        float* partial, int norms, int first, int q_width,
                                        int k_width, int row, int64_t rows, float eps) {
  const int lane = threadIdx.x % kWarp, warps = gridDim.x * (kBlock / kWarp);
  const int warp = (blockIdx.x * kBlock + threadIdx.x) / kWarp;
  float* sums = partial + int64_t{warp} * (q_width + k_width);
  for (int i = lane; i < q_width + k_width; i += kWarp) sums[i] = 0;
  for (int64_t t = warp; t < rows; t += warps)
    for (int norm = 0; norm < norms; ++norm) {
      const bool is_query = norm < first;
      const int width = is_query ? q_width : k_width;
      const int64_t at =
          t * row + (is_query ? norm * q_width : first * q_width + (norm - first) * k_width);
      const T* w = is_query ? q_weight : k_weight;
      float* sum = is_query ? sums : sums + q_width;
      float squares = 0, product = 0;
      for (int i = lane; i < width; i += kWarp) {
        const float value = to_float(qkv[at + i]);
        squares += value * value;
        product += to_float(d[at + i]) * to_float(w[i]) * value;
      }
      const Factors f(over_warp<Sum>(squares), over_warp<Sum>(product), width, eps);
      for (int i = lane; i < width; i += kWarp) {
        const float value = to_float(qkv[at + i]), dy = to_float(d[at + i]);
        d[at + i] = from_float<T>(dy * to_float(w[i]) * f.inverse - value * f.shared);
        sum[i] += dy * value * f.inverse;
      }
    }
}

}  // namespace

template <class T>
void rms_norm_backward_add(const T* dy, const float* x, const T* w, float* d, float* partial,
                           int64_t rows, int64_t width, float eps, cudaStream_t stream) {
  launch("rms_norm_backward_add", {rows, width}, rms_norm_backward_kernel<T, float, T, float>,
         norm_partials(rows), kBlock, stream, dy, x, w, d, true, partial, rows, width, eps);
}

template <class T>
void rms_norm_backward(const float* dy, const T* x, const T* w, T* dx, float* partial, int64_t rows,
                       int64_t width, float eps, cudaStream_t stream) {
  launch("rms_norm_backward", {rows, width}, rms_norm_backward_kernel<float, T, T, T>,
         norm_partials(rows), kBlock, stream, dy, x, w, dx, false, partial, rows, width, eps);
}

template <class T>
void qk_norm_backward(T* d, const T* qkv, const T* q_weight, const T* k_weight, float* partial,
                      const AttentionShape& shape, QkNorm kind, int64_t rows, float eps,
                      cudaStream_t stream) {
  const bool all = kind == QkNorm::all;
  const int64_t first = all ? 1 : shape.heads, norms = first + (all ? 1 : shape.kv_heads);
  const int64_t q_width = shape.head_size * (all ? shape.heads : 1);
  const int64_t k_width = shape.head_size * (all ? shape.kv_heads : 1);
  launch("qk_norm_backward", {rows, shape.row()}, qk_norm_backward_kernel<T>,
         qk_norm_partials(rows) / (kBlock / kWarp), kBlock, stream, d, qkv, q_weight, k_weight,
         partial, norms, first, q_width, k_width, shape.row(), rows, eps);
}

template void rms_norm_backward_add(const float*, const float*, const float*, float*, float*,
                                    int64_t, int64_t, float, cudaStream_t);
template void rms_norm_backward_add(const Bf16*, const float*, const Bf16*, float*, float*, int64_t,
                                    int64_t, float, cudaStream_t);
template void rms_norm_backward(const float*, const float*, const float*, float*, float*, int64_t,
                                int64_t, float, cudaStream_t);
template void rms_norm_backward(const float*, const Bf16*, const Bf16*, Bf16*, float*, int64_t,
                                int64_t, float, cudaStream_t);
template void qk_norm_backward(float*, const float*, const float*, const float*, float*,
                               const AttentionShape&, QkNorm, int64_t, float, cudaStream_t);
template void qk_norm_backward(Bf16*, const Bf16*, const Bf16*, const Bf16*, float*,
                               const AttentionShape&, QkNorm, int64_t, float, cudaStream_t);

}  // namespace vernier::kernels::device
