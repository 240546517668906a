// A layer in sweeps over blocks of rows: between two products a block stays in the cache of a core.
// What a sweep needs of all rows lies between two of them: attention, and the gradients of weights.
//
// The bits do not depend on the number of threads: blocks are as long as sizes say, and what they
// add up is added in their order.
#include "core/kernels/layer.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "core/base/errors.h"
#include "core/kernels/cpu/build.h"

namespace vernier::kernels {
namespace {

template <class Half>
constexpr bool kRounded = std::is_same_v<Half, uint16_t>;

void store(const float* from, int64_t count, float* to) { std::copy_n(from, count, to); }
void store(const float* from, int64_t count, uint16_t* to) { table().round_bf16(from, to, count); }

void load(const float* from, int64_t count, float* to) { std::copy_n(from, count, to); }
void load(const uint16_t* from, int64_t count, float* to) { table().widen_bf16(from, to, count); }

// Rows of a block. The weights of the layer pass by each block: many rows make that worth its
// traffic, and what a row needs at a time should still be near.
int64_t block_rows(const LayerShape& shape, Precision precision) {
  constexpr int64_t kBytes = int64_t{4} << 20;
  const int64_t unit = precision == Precision::bf16 ? 64 : 48;
  const int64_t widest = std::max(2 * shape.inner, shape.attention.row()) + shape.width;
  return std::clamp(kBytes / (4 * widest) / unit * unit, unit, 4 * unit);
}

// Arrays of one block, kept by each thread.
struct Block {
  Room<float> normed, inverse, wide, inner, d_wide, d_inner, out, d_out, unused;
  Room<uint16_t> words;
};
Block& block() {
  thread_local Block kept;
  return kept;
}

// c [rows, b.columns] = the rows times b, rounded first where b is.
void product(const float* a, const PackedMatrix& b, float* c, int64_t rows,
             const float* bias = nullptr) {
  const uint32_t* pairs = nullptr;
  if (b.format == WeightFormat::bf16_pairs) {
    uint16_t* halves = block().words.take(2 * b.words() * rows);
    round_rows(a, rows, b.inner, b.words(), halves);
    pairs = reinterpret_cast<const uint32_t*>(halves);
  }
  multiply_rows(a, pairs, b, c, rows, bias);
}

void add(float* to, const float* from, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] += from[i];
}

// Sums over the rows for the vectors of a layer: a part of each for every block, added in order.
class VectorSums {
 public:
  VectorSums(const LayerShape& shape, const LayerGradients& gradients, int64_t blocks,
             Room<float>& room) {
    const AttentionShape& heads = shape.attention;
    const bool all = shape.qk_norm == QkNorm::all;
    const auto part = [&](float* const& gradient, int64_t width) {
      if (gradient == nullptr) return;
      parts_.push_back({&gradient, gradient, width, stride_});
      stride_ += width;
    };
    part(gradients.attention_norm, shape.width);
    part(gradients.mlp_norm, shape.width);
    part(gradients.q_norm, heads.head_size * (all ? heads.heads : 1));
    part(gradients.k_norm, heads.head_size * (all ? heads.kv_heads : 1));
    part(gradients.qkv_bias, heads.row());
    part(gradients.output_bias, shape.width);
    part(gradients.gate_up_bias, 2 * shape.inner);
    part(gradients.down_bias, shape.width);
    blocks_ = blocks;
    sums_ = room.take(blocks * stride_);
    std::fill_n(sums_, blocks * stride_, 0.0f);
  }

  // The sums of one block for `gradient`, a member of the gradients; null where it has none.
  float* of(int64_t block, float* const& gradient) const {
    for (const Part& part : parts_)
      if (part.key == &gradient) return sums_ + block * stride_ + part.offset;
    return nullptr;
  }

  void finish() const {
    for (const Part& part : parts_)
      for (int64_t b = 0; b < blocks_; ++b)
        add(part.gradient, sums_ + b * stride_ + part.offset, part.width);
  }

 private:
  struct Part {
    float* const* key;
    float* gradient;
    int64_t width, offset;
  };
  std::vector<Part> parts_;
  int64_t stride_ = 0, blocks_ = 0;
  float* sums_ = nullptr;
};

template <class Half>
class Layer {
 public:
  Layer(const LayerShape& shape, const LayerRows& in, LayerScratch& scratch)
      : shape_(shape),
        heads_(shape.attention),
        in_(in),
        scratch_(scratch),
        width_(shape.width),
        attended_(heads_.heads * heads_.head_size),
        each_(block_rows(shape, kRounded<Half> ? Precision::bf16 : Precision::fp32)) {}

  void forward(const LayerWeights& w, float* x, const LayerSaved* saved) {
    float* qkv = scratch_.qkv.take(in_.rows * heads_.row());
    by_blocks(in_.rows, each_, [&](int64_t first, int64_t last) {
      queries_keys_values(w, x + first * width_, saved, first, last - first, qkv);
    });
    float* attended = scratch_.attended.take(in_.rows * attended_);
    float* log_sum =
        saved != nullptr ? saved->log_sum : scratch_.d_qkv.take(in_.rows * heads_.heads);
    attention(qkv, in_.segments, attended, log_sum, heads_);
    by_blocks(in_.rows, each_, [&](int64_t first, int64_t last) {
      output_and_mlp(w, x + first * width_, saved, first, last - first,
                     attended + first * attended_);
    });
  }

  void backward(const LayerWeights& w, const LayerSaved& saved, float* d, const LayerGradients& g) {
    const VectorSums sums(shape_, g, tasks_for(in_.rows, each_), scratch_.partial);
    float* d_attended = scratch_.attended.take(in_.rows * attended_);
    Factors factors(*this);
    by_blocks(in_.rows, each_, [&](int64_t first, int64_t last) {
      mlp_and_output_backward(w, saved, d + first * width_, g, sums, factors, first, last - first,
                              d_attended + first * attended_);
    });
    add_product(factors.d_mlp, factors.inner, g.down, width_, shape_.inner);
    add_product(factors.d_gate_up, factors.mlp_in, g.gate_up, 2 * shape_.inner, width_);
    add_product(factors.d_attention, halves(saved.attended), g.output, width_, attended_);

    float* qkv = scratch_.qkv.take(in_.rows * heads_.row());
    by_blocks(in_.rows, each_, [&](int64_t first, int64_t last) {
      const int64_t at = first * heads_.row(), count = (last - first) * heads_.row();
      float* raw = block().wide.take(count);
      load(halves(saved.qkv) + at, count, raw);
      rotate(w, raw, qkv + at, first, last - first);
    });
    float* d_qkv = scratch_.d_qkv.take(in_.rows * heads_.row());
    attend_backward(saved, d_attended, qkv, d_qkv);
    by_blocks(in_.rows, each_, [&](int64_t first, int64_t last) {
      queries_keys_values_backward(w, saved, d + first * width_, g, sums, factors, first,
                                   last - first, d_qkv + first * heads_.row());
    });
    add_product(factors.d_qkv, factors.attention_in, g.qkv, heads_.row(), width_);
    sums.finish();
  }

 private:
  static Half* halves(void* array) { return static_cast<Half*>(array); }

  // Both factors of the gradients of the matrices, for all rows; those of qkv come when the ones
  // of the MLP are done with.
  struct Factors {
    explicit Factors(Layer& layer) {
      const int64_t rows = layer.in_.rows, d = layer.width_, f = layer.shape_.inner;
      const int64_t left = std::max(2 * d + 2 * f, layer.heads_.row()), right = d + f;
      Half* a = reinterpret_cast<Half*>(layer.scratch_.left.take(rows * left * sizeof(Half)));
      Half* b = reinterpret_cast<Half*>(layer.scratch_.right.take(rows * right * sizeof(Half)));
      d_qkv = d_mlp = a;
      d_attention = d_mlp + rows * d;
      d_gate_up = d_attention + rows * d;
      attention_in = mlp_in = b;
      inner = mlp_in + rows * d;
    }
    Half *d_mlp, *d_attention, *d_gate_up, *d_qkv;
    Half *mlp_in, *inner, *attention_in;
  };

  void norm(const float* x, const float* weight, float* y, int64_t rows) const {
    table().rms_norm(x, weight, y, block().inverse.take(rows), rows, width_,
                     static_cast<float>(shape_.eps));
  }

  // dx is the gradient before a norm of x, whose means are computed again.
  void norm_backward(const float* dy, const float* x, const float* weight, float* dx, float* sum,
                     int64_t rows) const {
    norm(x, weight, dx, rows);
    if (sum == nullptr) sum = block().unused.take(width_);
    table().rms_norm_backward(dy, x, weight, block().inverse.take(rows), dx, sum, rows, width_);
  }

  void rotate(const LayerWeights& w, const float* raw, float* to, int64_t first,
              int64_t rows) const {
    if (shape_.qk_norm == QkNorm::none)
      std::copy_n(raw, rows * heads_.row(), to);
    else
      qk_norm_rows(raw, w.q_norm, w.k_norm, to,
                   block().inverse.take(rows * qk_norms(heads_, shape_.qk_norm)), heads_,
                   shape_.qk_norm, rows, static_cast<float>(shape_.eps));
    ref::rope(to, in_.positions + first, in_.cosine, in_.sine, heads_, rows, false);
  }

  void queries_keys_values(const LayerWeights& w, const float* x, const LayerSaved* saved,
                           int64_t first, int64_t rows, float* qkv) const {
    const float* in = x;
    if (!shape_.norm_after) {
      float* normed = block().normed.take(rows * width_);
      norm(x, w.attention_norm, normed, rows);
      in = normed;
    }
    const int64_t at = first * heads_.row(), count = rows * heads_.row();
    float* raw = block().wide.take(count);
    product(in, *w.qkv, raw, rows, w.qkv_bias);
    rotate(w, raw, qkv + at, first, rows);
    if (saved == nullptr) return;
    std::copy_n(x, rows * width_, saved->x + first * width_);
    store(raw, count, halves(saved->qkv) + at);
  }

  // x += the block's result, normed where the layer norms after it.
  void add_result(float* x, const float* out, const float* norm_weight, void* saved, int64_t first,
                  int64_t rows) const {
    if (!shape_.norm_after) return add(x, out, rows * width_);
    float* normed = block().normed.take(rows * width_);
    norm(out, norm_weight, normed, rows);
    add(x, normed, rows * width_);
    if (saved != nullptr) store(out, rows * width_, halves(saved) + first * width_);
  }

  void output_and_mlp(const LayerWeights& w, float* x, const LayerSaved* saved, int64_t first,
                      int64_t rows, const float* attended) const {
    const bool keep = saved != nullptr;
    float* out = block().out.take(rows * width_);
    product(attended, *w.output, out, rows, w.output_bias);
    add_result(x, out, w.attention_norm, keep ? saved->attention_out : nullptr, first, rows);
    const float* in = x;
    if (!shape_.norm_after) {
      float* normed = block().normed.take(rows * width_);
      norm(x, w.mlp_norm, normed, rows);
      in = normed;
    }
    const int64_t inner = shape_.inner;
    float* gate_up = block().wide.take(rows * 2 * inner);
    product(in, *w.gate_up, gate_up, rows, w.gate_up_bias);
    if (keep) {
      store(attended, rows * attended_, halves(saved->attended) + first * attended_);
      std::copy_n(x, rows * width_, saved->middle + first * width_);
      store(gate_up, rows * 2 * inner, halves(saved->gate_up) + first * 2 * inner);
    }
    float* act = block().inner.take(rows * inner);
    table().swiglu(gate_up, act, inner, rows, inner);
    product(act, *w.down, out, rows, w.down_bias);
    add_result(x, out, w.mlp_norm, keep ? saved->mlp_out : nullptr, first, rows);
  }

  // The gradient of a block's result, from that of the sum that it went into.
  const float* result_backward(const float* d, void* saved, const float* norm_weight, float* sum,
                               int64_t first, int64_t rows) const {
    if (!shape_.norm_after) return d;
    float* out = block().out.take(rows * width_);
    load(halves(saved) + first * width_, rows * width_, out);
    float* d_out = block().d_out.take(rows * width_);
    norm_backward(d, out, norm_weight, d_out, sum, rows);
    return d_out;
  }

  // d += what came through a product's input `in`, or through the norm before it.
  void add_input_backward(float* d, const float* d_in, const float* x, const float* norm_weight,
                          float* sum, int64_t rows) const {
    if (shape_.norm_after) return add(d, d_in, rows * width_);
    float* dx = block().out.take(rows * width_);
    norm_backward(d_in, x, norm_weight, dx, sum, rows);
    add(d, dx, rows * width_);
  }

  // A product's input again: x, or its norm.
  void store_input(const float* x, const float* norm_weight, Half* to, int64_t rows) const {
    if (shape_.norm_after) return store(x, rows * width_, to);
    float* normed = block().normed.take(rows * width_);
    norm(x, norm_weight, normed, rows);
    store(normed, rows * width_, to);
  }

  void add_bias(const float* d, float* sum, int64_t rows, int64_t width) const {
    if (sum == nullptr) return;
    for (int64_t t = 0; t < rows; ++t) add(sum, d + t * width, width);
  }

  void mlp_and_output_backward(const LayerWeights& w, const LayerSaved& saved, float* d,
                               const LayerGradients& g, const VectorSums& sums, Factors& factors,
                               int64_t first, int64_t rows, float* d_attended) const {
    const int64_t inner = shape_.inner, at = first * width_, place = first / each_;
    const float* d_mlp =
        result_backward(d, saved.mlp_out, w.mlp_norm, sums.of(place, g.mlp_norm), first, rows);
    store(d_mlp, rows * width_, factors.d_mlp + at);
    add_bias(d_mlp, sums.of(place, g.down_bias), rows, width_);
    float* d_inner = block().d_inner.take(rows * inner);
    product(d_mlp, *w.down, d_inner, rows);
    float* gate_up = block().wide.take(rows * 2 * inner);
    load(halves(saved.gate_up) + first * 2 * inner, rows * 2 * inner, gate_up);
    float* act = block().inner.take(rows * inner);
    table().swiglu(gate_up, act, inner, rows, inner);
    store(act, rows * inner, factors.inner + first * inner);
    float* d_gate_up = block().d_wide.take(rows * 2 * inner);
    table().swiglu_backward(d_inner, gate_up, d_gate_up, rows, inner);
    store(d_gate_up, rows * 2 * inner, factors.d_gate_up + first * 2 * inner);
    add_bias(d_gate_up, sums.of(place, g.gate_up_bias), rows, 2 * inner);
    store_input(saved.middle + at, w.mlp_norm, factors.mlp_in + at, rows);
    float* d_in = block().normed.take(rows * width_);
    product(d_gate_up, *w.gate_up, d_in, rows);
    add_input_backward(d, d_in, saved.middle + at, w.mlp_norm, sums.of(place, g.mlp_norm), rows);

    const float* d_attention = result_backward(d, saved.attention_out, w.attention_norm,
                                               sums.of(place, g.attention_norm), first, rows);
    store(d_attention, rows * width_, factors.d_attention + at);
    add_bias(d_attention, sums.of(place, g.output_bias), rows, width_);
    product(d_attention, *w.output, d_attended, rows);
  }

  void attend_backward(const LayerSaved& saved, const float* d_attended, const float* qkv,
                       float* d_qkv) const {
    if constexpr (kRounded<Half>) {
      float* attended = scratch_.attended_again.take(in_.rows * attended_);
      by_blocks(in_.rows, each_, [&](int64_t first, int64_t last) {
        load(halves(saved.attended) + first * attended_, (last - first) * attended_,
             attended + first * attended_);
      });
      attention_backward(d_attended, qkv, attended, saved.log_sum, in_.segments, d_qkv, heads_);
    } else {
      attention_backward(d_attended, qkv, halves(saved.attended), saved.log_sum, in_.segments,
                         d_qkv, heads_);
    }
  }

  void queries_keys_values_backward(const LayerWeights& w, const LayerSaved& saved, float* d,
                                    const LayerGradients& g, const VectorSums& sums,
                                    Factors& factors, int64_t first, int64_t rows,
                                    float* d_qkv) const {
    const int64_t row = heads_.row(), at = first * width_, place = first / each_;
    ref::rope(d_qkv, in_.positions + first, in_.cosine, in_.sine, heads_, rows, true);
    const float* d_raw = d_qkv;
    if (shape_.qk_norm != QkNorm::none)
      d_raw = qk_norm_backward(w, saved, g, sums, first, rows, d_qkv);
    store(d_raw, rows * row, factors.d_qkv + first * row);
    add_bias(d_raw, sums.of(place, g.qkv_bias), rows, row);
    store_input(saved.x + at, w.attention_norm, factors.attention_in + at, rows);
    float* d_in = block().normed.take(rows * width_);
    product(d_raw, *w.qkv, d_in, rows);
    add_input_backward(d, d_in, saved.x + at, w.attention_norm, sums.of(place, g.attention_norm),
                       rows);
  }

  const float* qk_norm_backward(const LayerWeights& w, const LayerSaved& saved,
                                const LayerGradients& g, const VectorSums& sums, int64_t first,
                                int64_t rows, const float* d_qkv) const {
    const int64_t row = heads_.row(), place = first / each_;
    float* raw = block().wide.take(rows * row);
    load(halves(saved.qkv) + first * row, rows * row, raw);
    float* d_raw = block().d_wide.take(rows * row);
    float* inverse = block().inverse.take(rows * qk_norms(heads_, shape_.qk_norm));
    float* unused = block().unused.take(2 * row);
    float *q_sum = sums.of(place, g.q_norm), *k_sum = sums.of(place, g.k_norm);
    qk_norm_rows(raw, w.q_norm, w.k_norm, d_raw, inverse, heads_, shape_.qk_norm, rows,
                 static_cast<float>(shape_.eps));
    qk_norm_backward_rows(d_qkv, raw, w.q_norm, w.k_norm, inverse, d_raw,
                          q_sum != nullptr ? q_sum : unused,
                          k_sum != nullptr ? k_sum : unused + row, heads_, shape_.qk_norm, rows);
    return d_raw;
  }

  // gradient [out, in] += dy^T x.
  void add_product(const Half* dy, const Half* x, float* gradient, int64_t out, int64_t in) const {
    if (gradient != nullptr) gemm_tn(dy, x, gradient, in_.rows, out, in);
  }

  const LayerShape& shape_;
  const AttentionShape& heads_;
  const LayerRows& in_;
  LayerScratch& scratch_;
  int64_t width_, attended_, each_;
};

// Runs `body` with the number type of what is kept.
template <class Body>
void by_precision(Precision precision, const Body& body) {
  if (precision == Precision::bf16) return body(uint16_t{});
  body(float{});
}

}  // namespace

int64_t saved_bytes(const LayerShape& shape, int64_t rows, Precision precision) {
  int64_t bytes = 0;
  share_saved(shape, rows, precision, nullptr, &bytes);
  return bytes;
}

LayerSaved share_saved(const LayerShape& shape, int64_t rows, Precision precision, void* memory,
                       int64_t* bytes) {
  const AttentionShape& heads = shape.attention;
  int64_t at = 0;
  const auto take = [&](int64_t width, int64_t size) -> void* {
    void* place = memory == nullptr ? nullptr : static_cast<std::byte*>(memory) + at;
    at += round_up(rows * width * size, 64);
    return place;
  };
  const auto numbers = [&](int64_t width) { return static_cast<float*>(take(width, 4)); };
  const auto half = [&](int64_t width) {
    return take(width, precision == Precision::bf16 ? 2 : 4);
  };
  LayerSaved saved{.x = numbers(shape.width),
                   .middle = numbers(shape.width),
                   .log_sum = numbers(heads.heads),
                   .qkv = half(heads.row()),
                   .attended = half(heads.heads * heads.head_size),
                   .gate_up = half(2 * shape.inner)};
  if (shape.norm_after) {
    saved.attention_out = half(shape.width);
    saved.mlp_out = half(shape.width);
  }
  if (bytes != nullptr) *bytes = at;
  return saved;
}

void layer_forward(const LayerShape& shape, const LayerWeights& weights, const LayerRows& rows,
                   Precision precision, float* x, const LayerSaved* saved, LayerScratch& scratch) {
  by_precision(precision, [&](auto half) {
    Layer<decltype(half)>(shape, rows, scratch).forward(weights, x, saved);
  });
}

void layer_backward(const LayerShape& shape, const LayerWeights& plain, const LayerRows& rows,
                    Precision precision, const LayerSaved& saved, float* d,
                    const LayerGradients& gradients, LayerScratch& scratch) {
  by_precision(precision, [&](auto half) {
    Layer<decltype(half)>(shape, rows, scratch).backward(plain, saved, d, gradients);
  });
}

}  // namespace vernier::kernels
