// The head in training: sums over the vocabulary a part at a time, and the gradient of a part.
#include "core/kernels/cuda/block.cuh"
#include "core/kernels/cuda/launch.cuh"
#include "core/kernels/cuda/number.cuh"
#include "core/kernels/device_training.h"

namespace vernier::kernels::device {
namespace {

// The same sums relative to another, larger top.
__device__ LogitSums moved(const LogitSums& from, float top) {
  if (from.sum == 0.0f) return {top, 0, 0, 0, from.target};
  const float by = from.top - top, keep = expf(by);
  return {top, keep * from.sum, keep * (from.product + from.sum * by), keep * keep * from.squares,
          from.target};
}

// A block a row, in two passes: the largest, then the sums. A part of 8,192 words stays in the
// first-level cache between them.
__global__ void sum_logits_kernel(const float* logits, const int32_t* targets, float scale,
                                  int64_t first, LogitSums* sums, int64_t words) {
  __shared__ float scratch[kBlock / kWarp];
  const float* row = logits + blockIdx.x * words;
  float top = Max::identity<float>();
  for (int64_t i = threadIdx.x; i < words; i += kBlock) top = Max::join(top, row[i] * scale);
  top = over_block<Max>(top, scratch);
  float sum = 0, product = 0, squares = 0;
  for (int64_t i = threadIdx.x; i < words; i += kBlock) {
    const float z = row[i] * scale - top, p = expf(z);
    sum += p;
    product += p > 0.0f ? p * z : 0.0f;  // 0 * -inf would be NaN; a NaN is in `sum`
    squares += p * p;
  }
  sum = over_block<Sum>(sum, scratch);
  product = over_block<Sum>(product, scratch);
  squares = over_block<Sum>(squares, scratch);
  if (threadIdx.x != 0) return;
  const LogitSums none{top, 0, 0, 0, 0};
  const LogitSums before = first == 0 ? none : sums[blockIdx.x];
  const float both = Max::join(before.top, top);
  LogitSums all = moved(before, both);
  const LogitSums here = moved({top, sum, product, squares, 0}, both);
  all.sum += here.sum;
  all.product += here.product;
  all.squares += here.squares;
  const int64_t target = targets[blockIdx.x] - first;
  if (target >= 0 && target < words) all.target = row[target] * scale;
  sums[blockIdx.x] = all;
}

// A thread a row.
__global__ void finish_logits_kernel(const LogitSums* sums, float* log_sum, float* logprob,
                                     float* entropy, float* square_mass, int64_t rows) {
  const int64_t t = int64_t{blockIdx.x} * kBlock + threadIdx.x;
  if (t >= rows) return;
  const LogitSums row = sums[t];
  const float log_total = logf(row.sum);
  log_sum[t] = row.top + log_total;
  logprob[t] = row.target - row.top - log_total;
  entropy[t] = log_total - row.product / row.sum;
  if (square_mass != nullptr) square_mass[t] = row.squares / (row.sum * row.sum);
}

// A block a row. Each thread reads a logit before it writes there: `out` may be `logits`.
template <class T>
__global__ void logits_backward_kernel(const float* logits, const int32_t* targets, float scale,
                                       int64_t first, const float* log_sum, const float* entropy,
                                       const float* d_logprob, const float* d_entropy, T* out,
                                       int64_t words) {
  const int64_t t = blockIdx.x, at = t * words, target = targets[t] - first;
  const float total = log_sum[t], h = entropy[t], dl = d_logprob[t], dh = d_entropy[t];
  for (int64_t i = threadIdx.x; i < words; i += kBlock) {
    const float z = logits[at + i] * scale - total, p = expf(z);
    const float information = z == -INFINITY ? 0.0f : p * (z + h);
    out[at + i] =
        from_float<T>(scale * (dl * ((i == target ? 1.0f : 0.0f) - p) - dh * information));
  }
}

}  // namespace

void sum_logits(const float* logits, const int32_t* targets, float scale, int64_t first,
                LogitSums* sums, int64_t rows, int64_t words, cudaStream_t stream) {
  launch("sum_logits", {rows, words}, sum_logits_kernel, rows, kBlock, stream, logits, targets,
         scale, first, sums, words);
}

void finish_logits(const LogitSums* sums, float* log_sum, float* logprob, float* entropy,
                   float* square_mass, int64_t rows, cudaStream_t stream) {
  launch("finish_logits", {rows}, finish_logits_kernel, (rows + kBlock - 1) / kBlock, kBlock,
         stream, sums, log_sum, logprob, entropy, square_mass, rows);
}

template <class T>
void logits_backward(const float* logits, const int32_t* targets, float scale, int64_t first,
                     const float* log_sum, const float* entropy, const float* d_logprob,
                     const float* d_entropy, T* out, int64_t rows, int64_t words,
                     cudaStream_t stream) {
  launch("logits_backward", {rows, words}, logits_backward_kernel<T>, rows, kBlock, stream, logits,
         targets, scale, first, log_sum, entropy, d_logprob, d_entropy, out, words);
}

template void logits_backward(const float*, const int32_t*, float, int64_t, const float*,
                              const float*, const float*, const float*, float*, int64_t, int64_t,
                              cudaStream_t);
template void logits_backward(const float*, const int32_t*, float, int64_t, const float*,
                              const float*, const float*, const float*, Bf16*, int64_t, int64_t,
                              cudaStream_t);

}  // namespace vernier::kernels::device
