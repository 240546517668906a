// Kernels that take one row each: a block a row, threads stride over its columns.
#include "core/kernels/cuda/block.cuh"
#include "core/kernels/cuda/launch.cuh"
#include "core/kernels/cuda/number.cuh"
#include "core/kernels/device.h"

namespace vernier::kernels::device {
namespace {

template <class T>
__global__ void embedding_kernel(const T* table, const int32_t* ids, float* out, int64_t width) {
  const T* in = table + ids[blockIdx.x] * width;
  for (int64_t i = threadIdx.x; i < width; i += kBlock)
    out[blockIdx.x * width + i] = to_float(in[i]);
}

// 1 / sqrt(mean(x^2) + eps) from this thread's share of the squares.
__device__ float inverse_rms(float squares, int64_t width, float eps, float* scratch) {
  return 1.0f / sqrtf(over_block<Sum>(squares, scratch) / static_cast<float>(width) + eps);
}

template <class T>
__global__ void rms_norm_kernel(const float* x, const T* w, T* y, int64_t width, float eps) {
  __shared__ float scratch[kBlock / kWarp];
  const float* in = x + blockIdx.x * width;
  T* out = y + blockIdx.x * width;
  float squares = 0;
  for (int64_t i = threadIdx.x; i < width; i += kBlock) squares += in[i] * in[i];
  const float inverse = inverse_rms(squares, width, eps, scratch);
  for (int64_t i = threadIdx.x; i < width; i += kBlock)
    out[i] = from_float<T>(in[i] * inverse * to_float(w[i]));
}

template <class T>
__global__ void add_rms_norm_kernel(float* stream_rows, const T* delta, const T* w, T* y,
                                    int64_t width, float eps) {
  __shared__ float scratch[kBlock / kWarp];
  const int64_t row = blockIdx.x * width;
  float squares = 0;
  for (int64_t i = threadIdx.x; i < width; i += kBlock) {
    float& value = stream_rows[row + i];
    if (delta != nullptr) value += to_float(delta[row + i]);
    squares += value * value;
  }
  const float inverse = inverse_rms(squares, width, eps, scratch);
  for (int64_t i = threadIdx.x; i < width; i += kBlock)
    y[row + i] = from_float<T>(stream_rows[row + i] * inverse * to_float(w[i]));
}

template <class T>
__global__ void rms_norm_add_kernel(float* stream_rows, const T* delta, const T* w, T* y,
                                    int64_t width, float eps) {
  __shared__ float scratch[kBlock / kWarp];
  const int64_t row = blockIdx.x * width;
  float squares = 0;
  for (int64_t i = threadIdx.x; i < width; i += kBlock)
    squares += to_float(delta[row + i]) * to_float(delta[row + i]);
  const float inverse = inverse_rms(squares, width, eps, scratch);
  for (int64_t i = threadIdx.x; i < width; i += kBlock) {
    const float value = stream_rows[row + i] + to_float(delta[row + i]) * inverse * to_float(w[i]);
    stream_rows[row + i] = value;
    y[row + i] = from_float<T>(value);
  }
}

template <class T>
__global__ void swiglu_kernel(const T* gate_up, T* y, int64_t width) {
  const T* gate = gate_up + blockIdx.x * 2 * width;
  const T* up = gate + width;
  for (int64_t i = threadIdx.x; i < width; i += kBlock) {
    const float g = to_float(gate[i]);
    y[blockIdx.x * width + i] = from_float<T>(g / (1.0f + expf(-g)) * to_float(up[i]));
  }
}

}  // namespace

bool built() { return true; }

template <class T>
void embedding(const T* table, const int32_t* ids, float* stream_rows, int64_t rows, int64_t width,
               cudaStream_t stream) {
  launch("embedding", {rows, width}, embedding_kernel<T>, rows, kBlock, stream, table, ids,
         stream_rows, width);
}

template <class T>
void rms_norm(const float* x, const T* w, T* y, int64_t rows, int64_t width, float eps,
              cudaStream_t stream) {
  launch("rms_norm", {rows, width}, rms_norm_kernel<T>, rows, kBlock, stream, x, w, y, width, eps);
}

template <class T>
void add_rms_norm(float* stream_rows, const T* delta, const T* w, T* y, int64_t rows, int64_t width,
                  float eps, cudaStream_t stream) {
  launch("add_rms_norm", {rows, width}, add_rms_norm_kernel<T>, rows, kBlock, stream, stream_rows,
         delta, w, y, width, eps);
}

template <class T>
void rms_norm_add(float* stream_rows, const T* delta, const T* w, T* y, int64_t rows, int64_t width,
                  float eps, cudaStream_t stream) {
  launch("rms_norm_add", {rows, width}, rms_norm_add_kernel<T>, rows, kBlock, stream, stream_rows,
         delta, w, y, width, eps);
}

template <class T>
void swiglu(const T* gate_up, T* y, int64_t rows, int64_t width, cudaStream_t stream) {
  launch("swiglu", {rows, width}, swiglu_kernel<T>, rows, kBlock, stream, gate_up, y, width);
}

template void embedding(const float*, const int32_t*, float*, int64_t, int64_t, cudaStream_t);
template void embedding(const Bf16*, const int32_t*, float*, int64_t, int64_t, cudaStream_t);
template void rms_norm(const float*, const float*, float*, int64_t, int64_t, float, cudaStream_t);
template void rms_norm(const float*, const Bf16*, Bf16*, int64_t, int64_t, float, cudaStream_t);
template void add_rms_norm(float*, const float*, const float*, float*, int64_t, int64_t, float,
                           cudaStream_t);
template void add_rms_norm(float*, const Bf16*, const Bf16*, Bf16*, int64_t, int64_t, float,
                           cudaStream_t);
template void rms_norm_add(float*, const float*, const float*, float*, int64_t, int64_t, float,
                           cudaStream_t);
template void rms_norm_add(float*, const Bf16*, const Bf16*, Bf16*, int64_t, int64_t, float,
                           cudaStream_t);
template void swiglu(const float*, float*, int64_t, int64_t, cudaStream_t);
template void swiglu(const Bf16*, Bf16*, int64_t, int64_t, cudaStream_t);

}  // namespace vernier::kernels::device
