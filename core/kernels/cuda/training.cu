// What training does element by element or row by row beside products, norms and attention.
#include <cmath>

#include "core/kernels/cuda/block.cuh"
#include "core/kernels/cuda/launch.cuh"
#include "core/kernels/cuda/number.cuh"
#include "core/kernels/device_training.h"

namespace vernier::kernels::device {
namespace {

// A block a token, a thread a pair of dimensions of a query or key.
template <class T>
__global__ void rope_kernel(T* qkv, const int32_t* positions, const float* cosine,
                            const float* sine, HeadShape shape, float sign) {
  const int half = shape.rotary_size / 2;
  T* row = qkv + int64_t{blockIdx.x} * shape.row;
  const int64_t angles = int64_t{positions[blockIdx.x]} * half;
  for (int at = threadIdx.x; at < (shape.heads + shape.kv_heads) * half; at += kBlock) {
    const int pair = at % half;
    T* head = row + at / half * shape.head_size;
    const float c = cosine[angles + pair], s = sign * sine[angles + pair];
    const float a = to_float(head[pair]), b = to_float(head[pair + half]);
    head[pair] = from_float<T>(a * c - b * s);
    head[pair + half] = from_float<T>(b * c + a * s);
  }
}

template <class T>
__global__ void swiglu_backward_kernel(const T* dy, const T* gate_up, T* d_gate_up, T* inner,
                                       int64_t width) {
  const int64_t gate = blockIdx.x * 2 * width, up = gate + width, out = blockIdx.x * width;
  for (int64_t i = threadIdx.x; i < width; i += kBlock) {
    const float g = to_float(gate_up[gate + i]), u = to_float(gate_up[up + i]);
    const float d = to_float(dy[out + i]), denominator = 1.0f + expf(-g);
    const float s = 1.0f / denominator;
    inner[out + i] = from_float<T>(g / denominator * u);
    d_gate_up[gate + i] = from_float<T>(d * u * s * (1.0f + g * (1.0f - s)));
    d_gate_up[up + i] = from_float<T>(d * g * s);
  }
}

// A block a sum.
template <class T>
__global__ void sum_rows_kernel(const T* in, RowSums sums, T* out, int64_t out_row, int64_t width,
                                bool add) {
  const int64_t target = sums.targets == nullptr ? blockIdx.x : sums.targets[blockIdx.x];
  const int first = sums.starts[blockIdx.x], last = sums.starts[blockIdx.x + 1];
  T* to = out + target * out_row;
  for (int64_t i = threadIdx.x; i < width; i += kBlock) {
    float sum = add ? to_float(to[i]) : 0.0f;
    for (int k = first; k < last; ++k) sum += to_float(in[sums.rows[k] * width + i]);
    to[i] = from_float<T>(sum);
  }
}

// AdamStep as numbers that are the same for all weights.
struct AdamFactors {
  float beta1, beta2, rest1, rest2;  // rest: 1 - beta
  float rate, root, eps;             // learning rate / correction 1; 1 / sqrt(correction 2)
  float keep, scale;                 // of a weight after its decay; of the gradient
};

AdamFactors factors_of(const AdamStep& step) {
  const auto steps = static_cast<double>(step.step);
  const auto number = [](double value) { return static_cast<float>(value); };
  return {.beta1 = number(step.beta1),
          .beta2 = number(step.beta2),
          .rest1 = number(1.0 - step.beta1),
          .rest2 = number(1.0 - step.beta2),
          .rate = number(step.learning_rate / (1.0 - std::pow(step.beta1, steps))),
          .root = number(1.0 / std::sqrt(1.0 - std::pow(step.beta2, steps))),
          .eps = number(step.eps),
          .keep = number(1.0 - step.learning_rate * step.weight_decay),
          .scale = number(step.grad_scale)};
}

__global__ void adamw_kernel(float* weights, const float* gradient, float* moment1, float* moment2,
                             int64_t count, AdamFactors f) {
  const int64_t stride = int64_t{gridDim.x} * kBlock;
  for (int64_t i = int64_t{blockIdx.x} * kBlock + threadIdx.x; i < count; i += stride) {
    const float g = gradient[i] * f.scale;
    const float m = f.beta1 * moment1[i] + f.rest1 * g;
    const float v = f.beta2 * moment2[i] + f.rest2 * g * g;
    moment1[i] = m;
    moment2[i] = v;
    weights[i] = weights[i] * f.keep - f.rate * m / (sqrtf(v) * f.root + f.eps);
  }
}

}  // namespace

template <class T>
void rope(T* qkv, const int32_t* positions, const float* cosine, const float* sine,
          const AttentionShape& shape, int64_t rows, bool inverse, cudaStream_t stream) {
  if (shape.rotary_size == 0) return;
  launch("rope", {rows, shape.row()}, rope_kernel<T>, rows, kBlock, stream, qkv, positions, cosine,
         sine, HeadShape(shape), inverse ? -1.0f : 1.0f);
}

template <class T>
void swiglu_backward(const T* dy, const T* gate_up, T* d_gate_up, T* inner, int64_t rows,
                     int64_t width, cudaStream_t stream) {
  launch("swiglu_backward", {rows, width}, swiglu_backward_kernel<T>, rows, kBlock, stream, dy,
         gate_up, d_gate_up, inner, width);
}

template <class T>
void sum_rows(const T* in, const RowSums& sums, T* out, int64_t out_row, int64_t width, bool add,
              cudaStream_t stream) {
  launch("sum_rows", {sums.count, width}, sum_rows_kernel<T>, sums.count, kBlock, stream, in, sums,
         out, out_row, width, add);
}

void adamw(float* weights, const float* gradient, float* moment1, float* moment2, int64_t count,
           const AdamStep& step, cudaStream_t stream) {
  constexpr int64_t kMostBlocks = 4096;  // several waves on any card; the rest is strides
  launch("adamw", {count}, adamw_kernel, std::min((count + kBlock - 1) / kBlock, kMostBlocks),
         kBlock, stream, weights, gradient, moment1, moment2, count, factors_of(step));
}

template void rope(float*, const int32_t*, const float*, const float*, const AttentionShape&,
                   int64_t, bool, cudaStream_t);
template void rope(Bf16*, const int32_t*, const float*, const float*, const AttentionShape&,
                   int64_t, bool, cudaStream_t);
template void swiglu_backward(const float*, const float*, float*, float*, int64_t, int64_t,
                              cudaStream_t);
template void swiglu_backward(const Bf16*, const Bf16*, Bf16*, Bf16*, int64_t, int64_t,
                              cudaStream_t);
template void sum_rows(const float*, const RowSums&, float*, int64_t, int64_t, bool, cudaStream_t);
template void sum_rows(const Bf16*, const RowSums&, Bf16*, int64_t, int64_t, bool, cudaStream_t);

}  // namespace vernier::kernels::device
