// The fast CPU kernels but for the products: how rows are shared by threads.
//
// However the work is cut, a number of the result comes from one thread, or from pieces that sizes
// alone define and that are added in order: the same bits with one thread or with many.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "core/base/errors.h"
#include "core/kernels/cpu/build.h"

namespace vernier::kernels {

void rms_norm(const float* x, const float* w, float* y, float* inverse_rms, int64_t rows,
              int64_t width, float eps) {
  by_rows(rows, width, [&](int64_t first, int64_t last) {
    table().rms_norm(x + first * width, w, y + first * width, inverse_rms + first, last - first,
                     width, eps);
  });
}

void rms_norm_backward(const float* dy, const float* x, const float* w, const float* inverse_rms,
                       float* dx, float* dw, int64_t rows, int64_t width) {
  std::vector<float> partial(static_cast<size_t>(tasks_for(rows, kRowsPerTask) * width), 0.0f);
  by_blocks(rows, kRowsPerTask, [&](int64_t first, int64_t last) {
    const int64_t at = first * width;
    table().rms_norm_backward(dy + at, x + at, w, inverse_rms + first, dx + at,
                              &partial[first / kRowsPerTask * width], last - first, width);
  });
  for (size_t i = 0; i < partial.size(); ++i) dw[i % width] += partial[i];
}

void swiglu(const float* gate_up, float* y, int64_t rows, int64_t width) {
  by_rows(rows, 2 * width, [&](int64_t first, int64_t last) {
    table().swiglu(gate_up + first * 2 * width, y + first * width, width, last - first, width);
  });
}

int64_t qk_norms(const AttentionShape& shape, QkNorm kind) {
  return kind == QkNorm::all ? 2 : shape.heads + shape.kv_heads;
}

namespace {

// Where the queries (or keys) of a row lie, and how they are normalised.
struct NormPart {
  int64_t offset, count, width, first_mean;
};

std::array<NormPart, 2> norm_parts(const AttentionShape& shape, QkNorm kind) {
  const int64_t queries = shape.heads * shape.head_size, keys = shape.kv_heads * shape.head_size;
  if (kind == QkNorm::all) return {{{0, 1, queries, 0}, {queries, 1, keys, 1}}};
  return {{{0, shape.heads, shape.head_size, 0},
           {queries, shape.kv_heads, shape.head_size, shape.heads}}};
}

}  // namespace

void qk_norm_rows(const float* qkv, const float* q_weight, const float* k_weight, float* out,
                  float* inverse_rms, const AttentionShape& shape, QkNorm kind, int64_t rows,
                  float eps) {
  const int64_t row = shape.row(), norms = qk_norms(shape, kind);
  const auto [q, k] = norm_parts(shape, kind);
  const int64_t values = k.offset + k.count * k.width;
  for (int64_t t = 0; t < rows; ++t) {
    const float* in = qkv + t * row;
    float *to = out + t * row, *means = inverse_rms + t * norms;
    table().rms_norm(in, q_weight, to, means, q.count, q.width, eps);
    table().rms_norm(in + k.offset, k_weight, to + k.offset, means + k.first_mean, k.count, k.width,
                     eps);
    std::copy(in + values, in + row, to + values);
  }
}

void qk_norm(const float* qkv, const float* q_weight, const float* k_weight, float* out,
             float* inverse_rms, const AttentionShape& shape, QkNorm kind, int64_t rows,
             float eps) {
  by_rows(rows, shape.row(), [&](int64_t first, int64_t last) {
    qk_norm_rows(qkv + first * shape.row(), q_weight, k_weight, out + first * shape.row(),
                 inverse_rms + first * qk_norms(shape, kind), shape, kind, last - first, eps);
  });
}

void qk_norm_backward_rows(const float* d_out, const float* qkv, const float* q_weight,
                           const float* k_weight, const float* inverse_rms, float* d_qkv,
                           float* dq_weight, float* dk_weight, const AttentionShape& shape,
                           QkNorm kind, int64_t rows) {
  const int64_t row = shape.row(), norms = qk_norms(shape, kind);
  const auto [q, k] = norm_parts(shape, kind);
  const int64_t values = k.offset + k.count * k.width;
  for (int64_t t = 0; t < rows; ++t) {
    const float *d = d_out + t * row, *in = qkv + t * row, *means = inverse_rms + t * norms;
    float* to = d_qkv + t * row;
    table().rms_norm_backward(d, in, q_weight, means, to, dq_weight, q.count, q.width);
    table().rms_norm_backward(d + k.offset, in + k.offset, k_weight, means + k.first_mean,
                              to + k.offset, dk_weight, k.count, k.width);
    std::copy(d + values, d + row, to + values);
  }
}

void rope(float* qkv, const int32_t* positions, const float* cosine, const float* sine,
          const AttentionShape& shape, int64_t rows, bool inverse) {
  // The rotation is cheap and has no sum in it: the reference serves as it is.
  by_rows(rows, shape.row(), [&](int64_t first, int64_t last) {
    ref::rope(qkv + first * shape.row(), positions + first, cosine, sine, shape, last - first,
              inverse);
  });
}

float largest(const float* values, int64_t count) { return table().largest(values, count); }

float weigh(const float* logits, float top, float scale, float* weights, int64_t count) {
  return table().weigh(logits, top, scale, weights, count);
}

void log_softmax(const float* logits, const int32_t* targets, float scale, float* log_sum,
                 float* logprob, float* entropy, int64_t rows, int64_t vocabulary,
                 float* square_mass) {
  by_blocks(rows, std::max<int64_t>(1, kFloatsPerTask / vocabulary), [&](int64_t a, int64_t b) {
    for (int64_t t = a; t < b; ++t) {
      const float* row = logits + t * vocabulary;
      log_sum[t] =
          table().log_sum_exp(row, scale, entropy == nullptr ? nullptr : entropy + t, vocabulary);
      if (square_mass != nullptr)
        square_mass[t] = table().square_mass(row, scale, log_sum[t], vocabulary);
      if (logprob != nullptr) logprob[t] = row[targets[t]] * scale - log_sum[t];
    }
  });
}

void adamw_rows(float* weights, const float* gradient, float* moment1, float* moment2,
                int64_t count, const AdamStep& step) {
  const auto correction = [&](double beta) {
    return static_cast<float>(1.0 - std::pow(beta, static_cast<double>(step.step)));
  };
  table().adamw(weights, gradient, moment1, moment2, count, static_cast<float>(step.learning_rate),
                static_cast<float>(step.beta1), static_cast<float>(step.beta2),
                static_cast<float>(step.eps), static_cast<float>(step.weight_decay),
                correction(step.beta1), correction(step.beta2),
                static_cast<float>(step.grad_scale));
}

void adamw(float* weights, const float* gradient, float* moment1, float* moment2, int64_t count,
           const AdamStep& step) {
  by_blocks(count, kFloatsPerTask, [&](int64_t a, int64_t b) {
    adamw_rows(weights + a, gradient + a, moment1 + a, moment2 + a, b - a, step);
  });
}

bool all_finite(const float* values, int64_t count) {
  uint32_t largest = 0;  // magnitudes of floats are ordered like their bits
  for (int64_t i = 0; i < count; ++i)
    largest = std::max(largest, std::bit_cast<uint32_t>(values[i]) & 0x7FFFFFFF);
  return largest < 0x7F800000;
}

std::vector<double> block_sums_of_squares(const float* values, int64_t count) {
  std::vector<double> sums(static_cast<size_t>(tasks_for(count, kSumBlock)));
  by_blocks(count, kSumBlock, [&](int64_t a, int64_t b) {
    sums[static_cast<size_t>(a / kSumBlock)] = table().sum_of_squares(values + a, b - a);
  });
  return sums;
}

double sum_of_squares(const float* values, int64_t count) {
  double total = 0;
  for (const double sum : block_sums_of_squares(values, count)) total += sum;
  return total;
}

}  // namespace vernier::kernels
