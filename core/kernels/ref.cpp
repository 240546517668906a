// Plain loops for every kernel, in double. What a reader checks against the formula, what the tests
// hold the fast kernels to, and what fp64 tensors run on.
#include <cmath>
#include <vector>

#include "core/kernels/kernels.h"

namespace vernier::kernels::ref {

template <class T>
void matmul(const T* a, bool transpose_a, const T* b, bool transpose_b, T* c, int64_t rows,
            int64_t inner, int64_t columns, bool accumulate) {
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) {
      double sum = accumulate ? c[i * columns + j] : 0.0;
      for (int64_t k = 0; k < inner; ++k)
        sum += static_cast<double>(transpose_a ? a[k * rows + i] : a[i * inner + k]) *
               static_cast<double>(transpose_b ? b[j * inner + k] : b[k * columns + j]);
      c[i * columns + j] = static_cast<T>(sum);
    }
}

template <class T>
void rms_norm(const T* x, const T* w, T* y, T* inverse_rms, int64_t rows, int64_t width,
              double eps) {
  for (int64_t t = 0; t < rows; ++t) {
    double squares = 0;
    for (int64_t i = 0; i < width; ++i) squares += double{x[t * width + i]} * x[t * width + i];
    const double inverse = 1.0 / std::sqrt(squares / static_cast<double>(width) + eps);
    inverse_rms[t] = static_cast<T>(inverse);
    for (int64_t i = 0; i < width; ++i)
      y[t * width + i] = static_cast<T>(x[t * width + i] * inverse * w[i]);
  }
}

template <class T>
void rms_norm_backward(const T* dy, const T* x, const T* w, const T* inverse_rms, T* dx, T* dw,
                       int64_t rows, int64_t width) {
  for (int64_t t = 0; t < rows; ++t) {
    const double inverse = inverse_rms[t];
    double dot = 0;
    for (int64_t i = 0; i < width; ++i) dot += double{dy[t * width + i]} * w[i] * x[t * width + i];
    for (int64_t i = 0; i < width; ++i) {
      const int64_t at = t * width + i;
      dx[at] =
          static_cast<T>(dy[at] * double{w[i]} * inverse -
                         x[at] * dot * inverse * inverse * inverse / static_cast<double>(width));
      dw[i] = static_cast<T>(dw[i] + double{dy[at]} * x[at] * inverse);
    }
  }
}

template <class T>
void swiglu(const T* gate_up, T* y, int64_t rows, int64_t width) {
  for (int64_t t = 0; t < rows; ++t)
    for (int64_t i = 0; i < width; ++i) {
      const double gate = gate_up[t * 2 * width + i], up = gate_up[(t * 2 + 1) * width + i];
      y[t * width + i] = static_cast<T>(gate / (1.0 + std::exp(-gate)) * up);
    }
}

template <class T>
void swiglu_backward(const T* dy, const T* gate_up, T* d_gate_up, int64_t rows, int64_t width) {
  for (int64_t t = 0; t < rows; ++t)
    for (int64_t i = 0; i < width; ++i) {
      const double gate = gate_up[t * 2 * width + i], up = gate_up[(t * 2 + 1) * width + i];
      const double d = dy[t * width + i], s = 1.0 / (1.0 + std::exp(-gate));
      d_gate_up[t * 2 * width + i] = static_cast<T>(d * up * s * (1.0 + gate * (1.0 - s)));
      d_gate_up[(t * 2 + 1) * width + i] = static_cast<T>(d * gate * s);
    }
}

template <class T>
void add_bias(T* y, const T* bias, int64_t rows, int64_t width) {
  for (int64_t t = 0; t < rows; ++t)
    for (int64_t i = 0; i < width; ++i) y[t * width + i] += bias[i];
}

template <class T>
void add_bias_backward(const T* dy, T* d_bias, int64_t rows, int64_t width) {
  for (int64_t i = 0; i < width; ++i) {
    double sum = d_bias[i];
    for (int64_t t = 0; t < rows; ++t) sum += dy[t * width + i];
    d_bias[i] = static_cast<T>(sum);
  }
}

namespace {

// Calls body(offset in a row of qkv, rows, width, weight, first mean) for queries, then keys.
template <class T, class Body>
void for_queries_and_keys(const T* q_weight, const T* k_weight, const AttentionShape& shape,
                          QkNorm kind, const Body& body) {
  const int64_t queries = shape.heads * shape.head_size, keys = shape.kv_heads * shape.head_size;
  if (kind == QkNorm::all) {
    body(0, 1, queries, q_weight, 0);
    body(queries, 1, keys, k_weight, 1);
  } else {
    body(0, shape.heads, shape.head_size, q_weight, 0);
    body(queries, shape.kv_heads, shape.head_size, k_weight, shape.heads);
  }
}

}  // namespace

template <class T>
void qk_norm(const T* qkv, const T* q_weight, const T* k_weight, T* out, T* inverse_rms,
             const AttentionShape& shape, QkNorm kind, int64_t rows, double eps) {
  const int64_t norms = qk_norms(shape, kind);
  for (int64_t t = 0; t < rows; ++t) {
    const T* in = qkv + t * shape.row();
    T* to = out + t * shape.row();
    for (int64_t i = 0; i < shape.row(); ++i) to[i] = in[i];
    for_queries_and_keys(q_weight, k_weight, shape, kind,
                         [&](int64_t at, int64_t count, int64_t width, const T* w, int64_t mean) {
                           rms_norm(in + at, w, to + at, inverse_rms + t * norms + mean, count,
                                    width, eps);
                         });
  }
}

template <class T>
void qk_norm_backward(const T* d_out, const T* qkv, const T* q_weight, const T* k_weight,
                      const T* inverse_rms, T* d_qkv, T* dq_weight, T* dk_weight,
                      const AttentionShape& shape, QkNorm kind, int64_t rows) {
  const int64_t norms = qk_norms(shape, kind);
  for (int64_t t = 0; t < rows; ++t) {
    const int64_t row = t * shape.row();
    for (int64_t i = 0; i < shape.row(); ++i) d_qkv[row + i] = d_out[row + i];
    for_queries_and_keys(q_weight, k_weight, shape, kind,
                         [&](int64_t at, int64_t count, int64_t width, const T* w, int64_t mean) {
                           rms_norm_backward(d_out + row + at, qkv + row + at, w,
                                             inverse_rms + t * norms + mean, d_qkv + row + at,
                                             w == q_weight ? dq_weight : dk_weight, count, width);
                         });
  }
}

template <class T>
void rope(T* qkv, const int32_t* positions, const float* cosine, const float* sine,
          const AttentionShape& shape, int64_t rows, bool inverse) {
  const int64_t half = shape.rotary_size / 2;
  for (int64_t t = 0; t < rows; ++t) {
    const float *c = cosine + positions[t] * half, *s = sine + positions[t] * half;
    for (int64_t h = 0; h < shape.heads + shape.kv_heads; ++h) {
      T* head = qkv + t * shape.row() + h * shape.head_size;
      for (int64_t i = 0; i < half; ++i) {
        const T a = head[i], b = head[i + half], angle_sine = inverse ? -s[i] : s[i];
        head[i] = a * static_cast<T>(c[i]) - b * angle_sine;
        head[i + half] = b * static_cast<T>(c[i]) + a * angle_sine;
      }
    }
  }
}

template <class T>
void log_softmax(const T* logits, const int32_t* targets, double scale, T* log_sum, T* logprob,
                 T* entropy, int64_t rows, int64_t vocabulary, T* square_mass) {
  for (int64_t t = 0; t < rows; ++t) {
    const T* row = logits + t * vocabulary;
    double top = -INFINITY, total = 0, product = 0, squares = 0;
    for (int64_t i = 0; i < vocabulary; ++i) top = std::fmax(top, row[i] * scale);
    for (int64_t i = 0; i < vocabulary; ++i) total += std::exp(row[i] * scale - top);
    const double log_total = top + std::log(total);
    for (int64_t i = 0; i < vocabulary; ++i) {
      const double z = row[i] * scale - log_total;
      product += std::exp(z) * z;
      squares += std::exp(2 * z);
    }
    log_sum[t] = static_cast<T>(log_total);
    if (logprob != nullptr) logprob[t] = static_cast<T>(row[targets[t]] * scale - log_total);
    if (entropy != nullptr) entropy[t] = static_cast<T>(-product);
    if (square_mass != nullptr) square_mass[t] = static_cast<T>(squares);
  }
}

template <class T>
void log_softmax_backward(T* logits, const int32_t* targets, double scale, const T* log_sum,
                          const T* entropy, const T* d_logprob, const T* d_entropy, int64_t rows,
                          int64_t vocabulary) {
  for (int64_t t = 0; t < rows; ++t) {
    T* row = logits + t * vocabulary;
    for (int64_t i = 0; i < vocabulary; ++i) {
      const double z = row[i] * scale - log_sum[t], p = std::exp(z);
      const double d =
          d_logprob[t] * ((i == targets[t] ? 1.0 : 0.0) - p) - d_entropy[t] * p * (z + entropy[t]);
      row[i] = static_cast<T>(scale * d);
    }
  }
}

template <class T>
void adamw(T* weights, const T* gradient, T* moment1, T* moment2, int64_t count,
           const AdamStep& step) {
  const double correction1 = 1.0 - std::pow(step.beta1, static_cast<double>(step.step));
  const double correction2 = 1.0 - std::pow(step.beta2, static_cast<double>(step.step));
  for (int64_t i = 0; i < count; ++i) {
    const double g = gradient[i] * step.grad_scale;
    const double m = step.beta1 * moment1[i] + (1.0 - step.beta1) * g;
    const double v = step.beta2 * moment2[i] + (1.0 - step.beta2) * g * g;
    moment1[i] = static_cast<T>(m);
    moment2[i] = static_cast<T>(v);
    weights[i] = static_cast<T>(weights[i] * (1.0 - step.learning_rate * step.weight_decay) -
                                step.learning_rate * (m / correction1) /
                                    (std::sqrt(v / correction2) + step.eps));
  }
}

template void matmul<float>(const float*, bool, const float*, bool, float*, int64_t, int64_t,
                            int64_t, bool);
template void rms_norm<float>(const float*, const float*, float*, float*, int64_t, int64_t, double);
template void rms_norm_backward<float>(const float*, const float*, const float*, const float*,
                                       float*, float*, int64_t, int64_t);
template void swiglu<float>(const float*, float*, int64_t, int64_t);
template void swiglu_backward<float>(const float*, const float*, float*, int64_t, int64_t);
template void add_bias<float>(float*, const float*, int64_t, int64_t);
template void add_bias_backward<float>(const float*, float*, int64_t, int64_t);
template void qk_norm<float>(const float*, const float*, const float*, float*, float*,
                             const AttentionShape&, QkNorm, int64_t, double);
template void qk_norm_backward<float>(const float*, const float*, const float*, const float*,
                                      const float*, float*, float*, float*, const AttentionShape&,
                                      QkNorm, int64_t);
template void rope<float>(float*, const int32_t*, const float*, const float*, const AttentionShape&,
                          int64_t, bool);
template void log_softmax<float>(const float*, const int32_t*, double, float*, float*, float*,
                                 int64_t, int64_t, float*);
template void log_softmax_backward<float>(float*, const int32_t*, double, const float*,
                                          const float*, const float*, const float*, int64_t,
                                          int64_t);
template void adamw<float>(float*, const float*, float*, float*, int64_t, const AdamStep&);
template void matmul<double>(const double*, bool, const double*, bool, double*, int64_t, int64_t,
                             int64_t, bool);
template void rms_norm<double>(const double*, const double*, double*, double*, int64_t, int64_t,
                               double);
template void rms_norm_backward<double>(const double*, const double*, const double*, const double*,
                                        double*, double*, int64_t, int64_t);
template void swiglu<double>(const double*, double*, int64_t, int64_t);
template void swiglu_backward<double>(const double*, const double*, double*, int64_t, int64_t);
template void add_bias<double>(double*, const double*, int64_t, int64_t);
template void add_bias_backward<double>(const double*, double*, int64_t, int64_t);
template void qk_norm<double>(const double*, const double*, const double*, double*, double*,
                              const AttentionShape&, QkNorm, int64_t, double);
template void qk_norm_backward<double>(const double*, const double*, const double*, const double*,
                                       const double*, double*, double*, double*,
                                       const AttentionShape&, QkNorm, int64_t);
template void rope<double>(double*, const int32_t*, const float*, const float*,
                           const AttentionShape&, int64_t, bool);
template void log_softmax<double>(const double*, const int32_t*, double, double*, double*, double*,
                                  int64_t, int64_t, double*);
template void log_softmax_backward<double>(double*, const int32_t*, double, const double*,
                                           const double*, const double*, const double*, int64_t,
                                           int64_t);
template void adamw<double>(double*, const double*, double*, double*, int64_t, const AdamStep&);

}  // namespace vernier::kernels::ref
