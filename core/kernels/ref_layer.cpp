// A layer, adapters and the head as chains of the references, each for all rows: what the tests
// hold layer.cpp, adapter.cpp and head.cpp to, and what fp64 models run on.
#include <algorithm>
#include <vector>

#include "core/kernels/head.h"
#include "core/kernels/layer.h"

namespace vernier::kernels::ref {
namespace {

// The steps of a layer; every method is for all rows.
template <class T>
struct Steps {
  const LayerShape& shape;
  const LayerRows& in;

  std::vector<T> room(int64_t width) const {
    return std::vector<T>(static_cast<size_t>(in.rows * width));
  }

  std::vector<T> norm(const std::vector<T>& x, const T* weight) const {
    std::vector<T> y(x.size()), inverse = room(1);
    rms_norm(x.data(), weight, y.data(), inverse.data(), in.rows, shape.width, shape.eps);
    return y;
  }
  std::vector<T> norm_backward(const std::vector<T>& dy, const std::vector<T>& x, const T* weight,
                               T* d_weight) const {
    std::vector<T> y(x.size()), dx(x.size()), inverse = room(1);
    std::vector<T> unused(static_cast<size_t>(shape.width));
    rms_norm(x.data(), weight, y.data(), inverse.data(), in.rows, shape.width, shape.eps);
    rms_norm_backward(dy.data(), x.data(), weight, inverse.data(), dx.data(),
                      d_weight == nullptr ? unused.data() : d_weight, in.rows, shape.width);
    return dx;
  }

  std::vector<T> linear(const std::vector<T>& x, const T* weight, const T* bias, int64_t inner,
                        int64_t columns) const {
    std::vector<T> y = room(columns);
    matmul(x.data(), false, weight, true, y.data(), in.rows, inner, columns, false);
    if (bias != nullptr) add_bias(y.data(), bias, in.rows, columns);
    return y;
  }
  std::vector<T> linear_backward(const std::vector<T>& dy, const std::vector<T>& x, const T* weight,
                                 T* d_weight, T* d_bias, int64_t inner, int64_t columns) const {
    std::vector<T> dx = room(inner);
    matmul(dy.data(), false, weight, false, dx.data(), in.rows, columns, inner, false);
    if (d_weight != nullptr)
      matmul(dy.data(), true, x.data(), false, d_weight, columns, in.rows, inner, true);
    if (d_bias != nullptr) add_bias_backward(dy.data(), d_bias, in.rows, columns);
    return dx;
  }

  // Queries and keys normed and rotated.
  std::vector<T> rotated(const std::vector<T>& qkv, const T* q_norm, const T* k_norm) const {
    const AttentionShape& heads = shape.attention;
    std::vector<T> out = qkv;
    if (shape.qk_norm != QkNorm::none) {
      std::vector<T> inverse = room(qk_norms(heads, shape.qk_norm));
      qk_norm(qkv.data(), q_norm, k_norm, out.data(), inverse.data(), heads, shape.qk_norm, in.rows,
              shape.eps);
    }
    rope(out.data(), in.positions, in.cosine, in.sine, heads, in.rows, false);
    return out;
  }
  std::vector<T> rotated_backward(std::vector<T> d, const std::vector<T>& qkv, const T* q_norm,
                                  const T* k_norm, T* dq_norm, T* dk_norm) const {
    const AttentionShape& heads = shape.attention;
    rope(d.data(), in.positions, in.cosine, in.sine, heads, in.rows, true);
    if (shape.qk_norm == QkNorm::none) return d;
    std::vector<T> normed(qkv.size()), dx(qkv.size());
    std::vector<T> inverse = room(qk_norms(heads, shape.qk_norm)), unused = room(heads.row());
    unused.resize(unused.size() + static_cast<size_t>(heads.row()));
    qk_norm(qkv.data(), q_norm, k_norm, normed.data(), inverse.data(), heads, shape.qk_norm,
            in.rows, shape.eps);
    qk_norm_backward(d.data(), qkv.data(), q_norm, k_norm, inverse.data(), dx.data(),
                     dq_norm == nullptr ? unused.data() : dq_norm,
                     dk_norm == nullptr ? unused.data() : dk_norm, heads, shape.qk_norm, in.rows);
    return dx;
  }
};

template <class T>
void add(std::vector<T>& to, const std::vector<T>& other) {
  for (size_t i = 0; i < to.size(); ++i) to[i] += other[i];
}

}  // namespace

template <class T>
void layer_forward(const LayerShape& shape, const LayerParts<const T*, const T*>& w,
                   const LayerRows& rows, T* x, LayerState<T>& saved) {
  const Steps<T> steps{shape, rows};
  const AttentionShape& heads = shape.attention;
  const int64_t width = shape.width, attended = heads.heads * heads.head_size;
  saved.x.assign(x, x + rows.rows * width);
  const auto normed = [&](const std::vector<T>& in, const T* weight) {
    return shape.norm_after ? in : steps.norm(in, weight);
  };
  const auto after = [&](const std::vector<T>& out, const T* weight) {
    return shape.norm_after ? steps.norm(out, weight) : out;
  };
  saved.qkv =
      steps.linear(normed(saved.x, w.attention_norm), w.qkv, w.qkv_bias, width, heads.row());
  const std::vector<T> qkv = steps.rotated(saved.qkv, w.q_norm, w.k_norm);
  saved.attended = steps.room(attended);
  saved.log_sum = steps.room(heads.heads);
  attention(qkv.data(), rows.segments, saved.attended.data(), saved.log_sum.data(), heads,
            rows.rotations());
  saved.attention_out = steps.linear(saved.attended, w.output, w.output_bias, attended, width);
  saved.middle = saved.x;
  add(saved.middle, after(saved.attention_out, w.attention_norm));
  saved.gate_up = steps.linear(normed(saved.middle, w.mlp_norm), w.gate_up, w.gate_up_bias, width,
                               2 * shape.inner);
  std::vector<T> inner = steps.room(shape.inner);
  swiglu(saved.gate_up.data(), inner.data(), rows.rows, shape.inner);
  saved.mlp_out = steps.linear(inner, w.down, w.down_bias, shape.inner, width);
  std::vector<T> y = saved.middle;
  add(y, after(saved.mlp_out, w.mlp_norm));
  std::copy(y.begin(), y.end(), x);
}

template <class T>
void layer_backward(const LayerShape& shape, const LayerParts<const T*, const T*>& w,
                    const LayerRows& rows, const LayerState<T>& saved, T* d,
                    const LayerParts<T*, T*>& g) {
  const Steps<T> steps{shape, rows};
  const AttentionShape& heads = shape.attention;
  const int64_t width = shape.width, attended = heads.heads * heads.head_size;
  const auto normed = [&](const std::vector<T>& in, const T* weight) {
    return shape.norm_after ? in : steps.norm(in, weight);
  };
  std::vector<T> inner = steps.room(shape.inner), d_gate_up = steps.room(2 * shape.inner);
  swiglu(saved.gate_up.data(), inner.data(), rows.rows, shape.inner);

  std::vector<T> d_middle(d, d + rows.rows * width), d_block = d_middle;
  if (shape.norm_after)
    d_block = steps.norm_backward(d_block, saved.mlp_out, w.mlp_norm, g.mlp_norm);
  const std::vector<T> d_inner =
      steps.linear_backward(d_block, inner, w.down, g.down, g.down_bias, shape.inner, width);
  swiglu_backward(d_inner.data(), saved.gate_up.data(), d_gate_up.data(), rows.rows, shape.inner);
  d_block = steps.linear_backward(d_gate_up, normed(saved.middle, w.mlp_norm), w.gate_up, g.gate_up,
                                  g.gate_up_bias, width, 2 * shape.inner);
  if (!shape.norm_after)
    d_block = steps.norm_backward(d_block, saved.middle, w.mlp_norm, g.mlp_norm);
  add(d_middle, d_block);

  d_block = d_middle;
  if (shape.norm_after)
    d_block = steps.norm_backward(d_block, saved.attention_out, w.attention_norm, g.attention_norm);
  const std::vector<T> d_attended = steps.linear_backward(d_block, saved.attended, w.output,
                                                          g.output, g.output_bias, attended, width);
  const std::vector<T> qkv = steps.rotated(saved.qkv, w.q_norm, w.k_norm);
  std::vector<T> d_qkv(qkv.size());
  attention_backward(d_attended.data(), qkv.data(), saved.attended.data(), saved.log_sum.data(),
                     rows.segments, d_qkv.data(), heads, rows.rotations());
  d_qkv = steps.rotated_backward(d_qkv, saved.qkv, w.q_norm, w.k_norm, g.q_norm, g.k_norm);
  d_block = steps.linear_backward(d_qkv, normed(saved.x, w.attention_norm), w.qkv, g.qkv,
                                  g.qkv_bias, width, heads.row());
  if (!shape.norm_after)
    d_block = steps.norm_backward(d_block, saved.x, w.attention_norm, g.attention_norm);
  add(d_middle, d_block);
  std::copy(d_middle.begin(), d_middle.end(), d);
}

template <class T>
void merge_adapter(const MatrixAdapter<T>& m, T* w) {
  for (size_t p = 0; p < m.parts.size(); ++p) {
    const AdapterPart<T>& part = m.parts[p];
    std::vector<T> product(static_cast<size_t>(part.rows * m.columns));
    matmul(part.b, false, m.a + static_cast<int64_t>(p) * m.rank * m.columns, false, product.data(),
           part.rows, m.rank, m.columns, false);
    for (size_t i = 0; i < product.size(); ++i)
      w[part.first_row * m.columns + static_cast<int64_t>(i)] +=
          static_cast<T>(m.scale) * product[i];
  }
}

template <class T>
void adapter_gradient(const MatrixAdapter<T>& m, const T* d_weight) {
  for (size_t p = 0; p < m.parts.size(); ++p) {
    const AdapterPart<T>& part = m.parts[p];
    const int64_t place = static_cast<int64_t>(p) * m.rank * m.columns;
    std::vector<T> scaled(d_weight + part.first_row * m.columns,
                          d_weight + (part.first_row + part.rows) * m.columns);
    for (T& value : scaled) value *= static_cast<T>(m.scale);
    matmul(part.b, true, scaled.data(), false, m.d_a + place, m.rank, part.rows, m.columns, true);
    matmul(scaled.data(), false, m.a + place, true, part.d_b, part.rows, m.columns, m.rank, true);
  }
}

template <class T>
void head_forward(const T* hidden, const T* weight, const int32_t* targets, double temperature,
                  T* log_sum, T* logprob, T* entropy, T* square_mass, int64_t rows, int64_t width,
                  int64_t vocabulary) {
  std::vector<T> logits(static_cast<size_t>(rows * vocabulary));
  matmul(hidden, false, weight, true, logits.data(), rows, width, vocabulary, false);
  log_softmax(logits.data(), targets, 1.0 / temperature, log_sum, logprob, entropy, rows,
              vocabulary, square_mass);
}

template <class T>
void head_backward(const T* hidden, const T* weight, const int32_t* targets, double temperature,
                   const T* log_sum, const T* entropy, const T* d_logprob, const T* d_entropy,
                   T* d_hidden, T* d_weight, int64_t rows, int64_t width, int64_t vocabulary) {
  std::vector<T> logits(static_cast<size_t>(rows * vocabulary));
  matmul(hidden, false, weight, true, logits.data(), rows, width, vocabulary, false);
  log_softmax_backward(logits.data(), targets, 1.0 / temperature, log_sum, entropy, d_logprob,
                       d_entropy, rows, vocabulary);
  matmul(logits.data(), false, weight, false, d_hidden, rows, vocabulary, width, false);
  if (d_weight != nullptr)
    matmul(logits.data(), true, hidden, false, d_weight, vocabulary, rows, width, true);
}

template void layer_forward<float>(const LayerShape&, const LayerParts<const float*, const float*>&,
                                   const LayerRows&, float*, LayerState<float>&);
template void layer_backward<float>(const LayerShape&,
                                    const LayerParts<const float*, const float*>&, const LayerRows&,
                                    const LayerState<float>&, float*,
                                    const LayerParts<float*, float*>&);
template void layer_forward<double>(const LayerShape&,
                                    const LayerParts<const double*, const double*>&,
                                    const LayerRows&, double*, LayerState<double>&);
template void layer_backward<double>(const LayerShape&,
                                     const LayerParts<const double*, const double*>&,
                                     const LayerRows&, const LayerState<double>&, double*,
                                     const LayerParts<double*, double*>&);
template void merge_adapter<float>(const MatrixAdapter<float>&, float*);
template void merge_adapter<double>(const MatrixAdapter<double>&, double*);
template void adapter_gradient<float>(const MatrixAdapter<float>&, const float*);
template void adapter_gradient<double>(const MatrixAdapter<double>&, const double*);
template void head_forward<float>(const float*, const float*, const int32_t*, double, float*,
                                  float*, float*, float*, int64_t, int64_t, int64_t);
template void head_backward<float>(const float*, const float*, const int32_t*, double, const float*,
                                   const float*, const float*, const float*, float*, float*,
                                   int64_t, int64_t, int64_t);
template void head_forward<double>(const double*, const double*, const int32_t*, double, double*,
                                   double*, double*, double*, int64_t, int64_t, int64_t);
template void head_backward<double>(const double*, const double*, const int32_t*, double,
                                    const double*, const double*, const double*, const double*,
                                    double*, double*, int64_t, int64_t, int64_t);

}  // namespace vernier::kernels::ref
