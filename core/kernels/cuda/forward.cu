// Forward kernels: one block a row, threads stride over its columns.
#include "core/kernels/cuda/launch.cuh"
#include "core/kernels/device.h"

namespace vernier::kernels::device {
namespace {

__global__ void rms_norm_kernel(const float* x, const float* w, float* y, int64_t width,
                                float eps) {
  __shared__ float scratch[kBlock / kWarp];
  const float* in = x + blockIdx.x * width;
  float* out = y + blockIdx.x * width;
  float squares = 0;
  for (int64_t i = threadIdx.x; i < width; i += kBlock) squares += in[i] * in[i];
  const float mean = over_block<Sum>(squares, scratch) / static_cast<float>(width);
  const float inverse = 1.0f / sqrtf(mean + eps);
  for (int64_t i = threadIdx.x; i < width; i += kBlock) out[i] = in[i] * inverse * w[i];
}

__global__ void swiglu_kernel(const float* gate_up, float* y, int64_t width) {
  const float* gate = gate_up + blockIdx.x * 2 * width;
  const float* up = gate + width;
  float* out = y + blockIdx.x * width;
  for (int64_t i = threadIdx.x; i < width; i += kBlock)
    out[i] = gate[i] / (1.0f + expf(-gate[i])) * up[i];
}

// Two passes over the row: the maximum, then the sums. A row of 150,000 fp32 values stays in the
// second-level cache between them.
__global__ void log_softmax_kernel(const float* logits, const int32_t* targets, float scale,
                                   float* logprob, float* entropy, int64_t vocabulary) {
  __shared__ float scratch[kBlock / kWarp];
  const float* row = logits + blockIdx.x * vocabulary;
  float top = Max::identity();
  for (int64_t i = threadIdx.x; i < vocabulary; i += kBlock) top = Max::join(top, row[i] * scale);
  top = over_block<Max>(top, scratch);
  float sum = 0, product = 0;
  for (int64_t i = threadIdx.x; i < vocabulary; i += kBlock) {
    const float z = row[i] * scale - top, p = expf(z);
    sum += p;
    product += p > 0.0f ? p * z : 0.0f;  // 0 * -inf would be NaN
  }
  sum = over_block<Sum>(sum, scratch);
  product = over_block<Sum>(product, scratch);
  if (threadIdx.x != 0) return;
  logprob[blockIdx.x] = row[targets[blockIdx.x]] * scale - top - logf(sum);
  entropy[blockIdx.x] = sum != sum ? sum : logf(sum) - product / sum;
}

unsigned blocks_for(const char* name, int64_t rows) {
  if (rows > INT32_MAX)
    throw DeviceError(cat(name, ": ", rows, " rows are more than a grid holds"));
  return static_cast<unsigned>(rows);
}

}  // namespace

bool built() { return true; }

void rms_norm(const float* x, const float* w, float* y, int64_t rows, int64_t width, float eps,
              cudaStream_t stream) {
  if (rows == 0) return;
  rms_norm_kernel<<<blocks_for("rms_norm", rows), kBlock, 0, stream>>>(x, w, y, width, eps);
  check_launch("rms_norm", rows, width);
}

void swiglu(const float* gate_up, float* y, int64_t rows, int64_t width, cudaStream_t stream) {
  if (rows == 0) return;
  swiglu_kernel<<<blocks_for("swiglu", rows), kBlock, 0, stream>>>(gate_up, y, width);
  check_launch("swiglu", rows, width);
}

void log_softmax(const float* logits, const int32_t* targets, float scale, float* logprob,
                 float* entropy, int64_t rows, int64_t vocabulary, cudaStream_t stream) {
  if (rows == 0) return;
  log_softmax_kernel<<<blocks_for("log_softmax", rows), kBlock, 0, stream>>>(
      logits, targets, scale, logprob, entropy, vocabulary);
  check_launch("log_softmax", rows, vocabulary);
}

}  // namespace vernier::kernels::device
