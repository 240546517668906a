// The inner loops of table.h, but for the products of gemm.cpp. Compiled once for each instruction
// set: VERNIER_TABLE names the table.
#include "core/kernels/cpu/attend.h"
#include "core/kernels/cpu/table.h"
#include "core/kernels/cpu/vector.h"

namespace vernier::kernels {
namespace {

void rms_norm(const float* x, const float* w, float* y, float* inverse_rms, long rows, long width,
              float eps) {
  for (long t = 0; t < rows; ++t) {
    const float* in = x + t * width;
    float* out = y + t * width;
    Vec squares = {};
    long i = 0;
    for (; i + kLanes <= width; i += kLanes) squares += load(in + i) * load(in + i);
    if (i < width) {
      const Vec tail = load_part(in + i, width - i, 0.0f);
      squares += tail * tail;
    }
    const float mean = sum_of(squares) / static_cast<float>(width);
    const float inverse = 1.0f / __builtin_sqrtf(mean + eps);
    inverse_rms[t] = inverse;
    for (i = 0; i < width; ++i) out[i] = in[i] * inverse * w[i];
  }
}

void rms_norm_backward(const float* dy, const float* x, const float* w, const float* inverse_rms,
                       float* dx, float* dw, long rows, long width) {
  for (long t = 0; t < rows; ++t) {
    const float *g = dy + t * width, *in = x + t * width;
    const float inverse = inverse_rms[t];
    Vec dots = {};
    long i = 0;
    for (; i + kLanes <= width; i += kLanes) dots += load(g + i) * load(w + i) * load(in + i);
    if (i < width)
      dots += load_part(g + i, width - i, 0) * load_part(w + i, width - i, 0) *
              load_part(in + i, width - i, 0);
    const float shared = sum_of(dots) * inverse * inverse * inverse / static_cast<float>(width);
    float* out = dx + t * width;
    for (i = 0; i < width; ++i) {
      out[i] = g[i] * w[i] * inverse - in[i] * shared;
      dw[i] += g[i] * in[i] * inverse;
    }
  }
}

inline Vec sigmoid_of(Vec x) { return 1.0f / (1.0f + exp_of(-x)); }

void swiglu(const float* gate_up, float* y, long y_row, long rows, long width) {
  for (long t = 0; t < rows; ++t) {
    const float *gate = gate_up + t * 2 * width, *up = gate + width;
    float* out = y + t * y_row;
    long i = 0;
    for (; i + kLanes <= width; i += kLanes) {
      const Vec g = load(gate + i);
      store(out + i, g * sigmoid_of(g) * load(up + i));
    }
    if (i < width) {
      const Vec g = load_part(gate + i, width - i, 0);
      store_part(out + i, g * sigmoid_of(g) * load_part(up + i, width - i, 0), width - i);
    }
  }
}

void swiglu_backward(const float* dy, const float* gate_up, float* d_gate_up, long rows,
                     long width) {
  for (long t = 0; t < rows; ++t) {
    const float *gate = gate_up + t * 2 * width, *up = gate + width, *g_out = dy + t * width;
    float *d_gate = d_gate_up + t * 2 * width, *d_up = d_gate + width;
    const auto part = [&](long i, auto read, auto write) __attribute__((always_inline)) {
      const Vec g = read(gate + i), u = read(up + i), d = read(g_out + i);
      const Vec s = sigmoid_of(g);
      write(d_up + i, d * g * s);
      write(d_gate + i, d * u * s * (1.0f + g * (1.0f - s)));
    };
    long i = 0;
    for (; i + kLanes <= width; i += kLanes) part(i, load, store);
    const long left = width - i;
    if (left > 0)
      part(
          i, [&](const float* p) { return load_part(p, left, 0); },
          [&](float* p, Vec v) { store_part(p, v, left); });
  }
}

float largest(const float* values, long count) {
  Vec tops = all(-3.4e38f);
  long i = 0;
  for (; i + kLanes <= count; i += kLanes) tops = max_of(load(values + i), tops);
  float lane[kLanes];
  store(lane, tops);
  float top = lane[0];
  for (long l = 1; l < kLanes; ++l) top = lane[l] > top ? lane[l] : top;
  for (; i < count; ++i) top = values[i] > top ? values[i] : top;
  return top;
}

float weigh(const float* logits, float top, float scale, float* weights, long count) {
  Vec sums = {};
  long i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const Vec weight = exp_of((load(logits + i) - top) * scale);
    store(weights + i, weight);
    sums += weight;
  }
  if (i < count) {
    const Vec weight = exp_of((load_part(logits + i, count - i, -3.4e38f) - top) * scale);
    store_part(weights + i, weight, count - i);
    float lane[kLanes];
    store(lane, weight);
    for (long l = count - i; l < kLanes; ++l) lane[l] = 0;
    sums += load(lane);
  }
  return sum_of(sums);
}

typedef unsigned WordVec __attribute__((vector_size(4 * VERNIER_LANES), aligned(4), may_alias));
typedef unsigned short HalfVec
    __attribute__((vector_size(2 * VERNIER_LANES), aligned(2), may_alias));

inline HalfVec rounded(Vec values) {
  const WordVec bits = reinterpret_cast<const WordVec&>(values);
  const WordVec nearest = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
  const WordVec nan = bits >> 16 | 0x0040;  // rounding could carry it into infinity
  return __builtin_convertvector((bits & 0x7FFFFFFF) > 0x7F800000 ? nan : nearest, HalfVec);
}

void round_bf16(const float* values, unsigned short* out, long count) {
  long i = 0;
  for (; i + kLanes <= count; i += kLanes)
    *reinterpret_cast<HalfVec*>(out + i) = rounded(load(values + i));
  if (i == count) return;
  const HalfVec tail = rounded(load_part(values + i, count - i, 0));
  for (long j = 0; i < count; ++i, ++j) out[i] = tail[j];
}

void widen_bf16(const unsigned short* values, float* out, long count) {
  long i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const auto halves = *reinterpret_cast<const HalfVec*>(values + i);
    const WordVec bits = __builtin_convertvector(halves, WordVec) << 16;
    store(out + i, reinterpret_cast<const Vec&>(bits));
  }
  for (; i < count; ++i) {
    const unsigned bits = static_cast<unsigned>(values[i]) << 16;
    __builtin_memcpy(out + i, &bits, sizeof bits);
  }
}

// A square of kLanes rows: in stage s, rows s apart exchange the halves of their blocks of 2 s
// words.
void transpose_square(const unsigned* from, unsigned* to, long to_row) {
  WordVec rows[kLanes];
  for (long i = 0; i < kLanes; ++i) rows[i] = *reinterpret_cast<const WordVec*>(from + i * 16);
  for (long s = 1; s < kLanes; s *= 2) {
    WordVec low, high;  // of the two rows, where the words of the new ones come from
    for (long l = 0; l < kLanes; ++l) {
      low[l] = static_cast<unsigned>((l & s) == 0 ? l : kLanes + l - s);
      high[l] = static_cast<unsigned>((l & s) == 0 ? l + s : kLanes + l);
    }
    for (long i = 0; i < kLanes; ++i) {
      if ((i & s) != 0) continue;
      const WordVec a = rows[i], b = rows[i + s];
      rows[i] = __builtin_shuffle(a, b, low);
      rows[i + s] = __builtin_shuffle(a, b, high);
    }
  }
  for (long i = 0; i < kLanes; ++i) *reinterpret_cast<WordVec*>(to + i * to_row) = rows[i];
}

void transpose_words(const unsigned* from, unsigned* to, long to_row) {
  for (long i = 0; i < 16; i += kLanes)
    for (long j = 0; j < 16; j += kLanes)
      transpose_square(from + i * 16 + j, to + j * to_row + i, to_row);
}

float log_sum_exp(const float* logits, float scale, float* entropy, long count) {
  Vec tops = all(-3.4e38f);
  bool nan = false;
  long i = 0;
  for (; i + kLanes <= count; i += kLanes) tops = max_of(load(logits + i) * scale, tops);
  float lane[kLanes];
  store(lane, tops);
  float top = lane[0];
  for (long l = 1; l < kLanes; ++l) top = lane[l] > top ? lane[l] : top;
  for (; i < count; ++i) top = logits[i] * scale > top ? logits[i] * scale : top;
  Vec sums = {}, products = {};
  for (i = 0; i + kLanes <= count; i += kLanes) {
    const Vec z = load(logits + i) * scale - top;
    const Vec p = exp_of(z);
    sums += p;
    products += p * z;
  }
  if (i < count) {
    const Vec z = load_part(logits + i, count - i, -3.0e38f / scale) * scale - top;
    const Vec p = exp_of(z);
    sums += p;
    products += p > 0.0f ? p * z : all(0.0f);
  }
  const float total = sum_of(sums);
  nan = total != total;
  const float log_total = __builtin_logf(total);
  if (entropy != nullptr) *entropy = nan ? total : log_total - sum_of(products) / total;
  return top + log_total;
}

float square_mass(const float* logits, float scale, float log_sum, long count) {
  Vec sums = {};
  long i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const Vec p = exp_of(load(logits + i) * scale - log_sum);
    sums += p * p;
  }
  if (i < count) {
    const Vec p = exp_of(load_part(logits + i, count - i, -3.0e38f / scale) * scale - log_sum);
    sums += p * p;
  }
  return sum_of(sums);
}

void log_softmax_backward(float* logits, long target, float scale, float log_sum, float entropy,
                          float d_logprob, float d_entropy, long count) {
  for (long i = 0; i < count; i += kLanes) {
    const long left = count - i < kLanes ? count - i : kLanes;
    const bool whole = left == kLanes;
    const Vec z = (whole ? load(logits + i) : load_part(logits + i, left, 0)) * scale - log_sum;
    const Vec p = exp_of(z);
    const Vec grad = -scale * p * (d_logprob + d_entropy * (z + entropy));
    if (whole)
      store(logits + i, grad);
    else
      store_part(logits + i, grad, left);
  }
  if (target >= 0) logits[target] += scale * d_logprob;
}

void adamw(float* weights, const float* gradient, float* moment1, float* moment2, long count,
           float learning_rate, float beta1, float beta2, float eps, float decay, float correction1,
           float correction2, float grad_scale) {
  const float keep = 1.0f - learning_rate * decay;
  const float rate = learning_rate / correction1;
  const float inverse = 1.0f / correction2;
  for (long i = 0; i < count; ++i) {
    const float g = gradient[i] * grad_scale;
    const float m = beta1 * moment1[i] + (1.0f - beta1) * g;
    const float v = beta2 * moment2[i] + (1.0f - beta2) * g * g;
    moment1[i] = m;
    moment2[i] = v;
    weights[i] = keep * weights[i] - rate * m / (__builtin_sqrtf(v * inverse) + eps);
  }
}

double sum_of_squares(const float* values, long count) {
  constexpr long kSums = 8;
  double sums[kSums] = {};
  long i = 0;
  for (; i + kSums <= count; i += kSums)
    for (long s = 0; s < kSums; ++s)
      sums[s] += static_cast<double>(values[i + s]) * static_cast<double>(values[i + s]);
  for (; i < count; ++i) sums[0] += static_cast<double>(values[i]) * static_cast<double>(values[i]);
  double total = 0;
  for (const double sum : sums) total += sum;
  return total;
}

}  // namespace

const CpuTable VERNIER_TABLE = {
    .rms_norm = rms_norm,
    .rms_norm_backward = rms_norm_backward,
    .swiglu = swiglu,
    .swiglu_backward = swiglu_backward,
    .attend = attend,
    .attend_paged = attend_paged,
    .attend_backward = attend_backward,
    .add_outer = add_outer,
    .largest = largest,
    .weigh = weigh,
    .round_bf16 = round_bf16,
    .widen_bf16 = widen_bf16,
    .transpose_words = transpose_words,
    .log_sum_exp = log_sum_exp,
    .square_mass = square_mass,
    .log_softmax_backward = log_softmax_backward,
    .adamw = adamw,
    .sum_of_squares = sum_of_squares,
};

}  // namespace vernier::kernels
