// A layer in sweeps over blocks of rows: between two products a block stays in the cache of a core.
// What a sweep needs of all rows lies between two of them: attention, and the gradients of weights.
//
// The bits do not depend on the number of threads: blocks are as long as sizes say, and what they
// add up is added in their order.
#include "core/kernels/layer.h"

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <utility>

#include "core/base/errors.h"
#include "core/kernels/operand.h"

namespace vernier::kernels {
namespace {

// Rows of a block: as many as leave what a row needs at a time in a second-level cache, for the
// weights of the layer pass by each block.
template <class Half>
int64_t block_rows(const LayerShape& shape) {
  constexpr int64_t kBytes = int64_t{7} << 18, kUnit = kRounded<Half> ? 64 : 48;
  const auto half = static_cast<int64_t>(sizeof(Half));
  const int64_t mlp = 2 * shape.inner * half + 3 * shape.width * 4;
  const int64_t attention = shape.attention.row() * (half + 4) + 3 * shape.width * 4;
  return std::clamp(kBytes / std::max(mlp, attention) / kUnit * kUnit, kUnit, 4 * kUnit);
}

// Columns of gate and up that are taken together: whole panels of both, or all of them.
int64_t inner_columns(int64_t inner) {
  for (const int64_t columns : {4 * kPanel, 3 * kPanel, 2 * kPanel, kPanel})
    if (inner % columns == 0) return columns;
  return inner;
}

// Arrays of one block, kept by each thread: what of them grows with the rows is in block_bytes().
template <class Half>
struct Block {
  Room<float> normed, inverse, wide, inner, d_wide, out, d_out, unused;
  Room<Half> operand, gates;
};
template <class Half>
Block<Half>& block() {
  thread_local Block<Half> kept;
  return kept;
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
        inner_(shape.inner),
        chunk_(inner_columns(shape.inner)),
        each_(block_rows<Half>(shape)) {}

  void forward(const LayerWeights& w, const float* x, float* y, const LayerSaved* saved) {
    float* qkv = scratch_.qkv.take(in_.rows * heads_.row());
    by_blocks(in_.rows, each_, [&](int64_t first, int64_t last) {
      queries_keys_values(w, x + first * width_, saved, first, last - first, qkv);
    });
    float* attended = scratch_.attended.take(in_.rows * attended_);
    float* log_sum =
        saved != nullptr ? saved->log_sum : scratch_.d_qkv.take(in_.rows * heads_.heads);
    attention(qkv, in_.segments, attended, log_sum, heads_, in_.rotations());
    by_blocks(in_.rows, each_, [&](int64_t first, int64_t last) {
      output_and_mlp(w, x + first * width_, y + first * width_, saved, first, last - first,
                     attended + first * attended_);
    });
  }

  void backward(const LayerWeights& w, const float* x, const LayerSaved& saved, float* d,
                const LayerGradients& g, const LayerAdapters& adapters) {
    const VectorSums sums(shape_, g, tasks_for(in_.rows, each_), scratch_.partial);
    float* d_attended = scratch_.attended.take(in_.rows * attended_);
    const Factors factors(*this);
    by_blocks(in_.rows, each_, [&](int64_t first, int64_t last) {
      mlp_and_output_backward(w, saved, d + first * width_, g, sums, factors, first, last - first,
                              d_attended + first * attended_);
    });
    add_product(factors.d_mlp, factors.inner, g.down, adapters.down, width_, inner_);
    add_product(factors.d_gate_up, factors.mlp_in, g.gate_up, adapters.gate_up, 2 * inner_, width_);
    add_product(factors.d_attention, halves(saved.attended), g.output, adapters.output, width_,
                attended_);

    float* qkv = scratch_.qkv.take(in_.rows * heads_.row());
    by_blocks(in_.rows, each_, [&](int64_t first, int64_t last) {
      const int64_t at = first * heads_.row(), count = (last - first) * heads_.row();
      float* raw = raw_or(qkv + at, count);
      load(halves(saved.qkv) + at, count, raw);
      rotate(w, raw, qkv + at, first, last - first);
    });
    float* d_qkv = scratch_.d_qkv.take(in_.rows * heads_.row());
    attend_backward(saved, d_attended, qkv, d_qkv);
    by_blocks(in_.rows, each_, [&](int64_t first, int64_t last) {
      queries_keys_values_backward(w, x + first * width_, saved, d + first * width_, g, sums,
                                   factors, first, last - first, d_qkv + first * heads_.row());
    });
    add_product(factors.d_qkv, factors.attention_in, g.qkv, adapters.qkv, heads_.row(), width_);
    sums.finish();
  }

  static int64_t factor_bytes(const LayerShape& shape) {
    const auto [left, right] = Factors::widths(shape);
    return (left + right) * Factors::bytes();
  }

 private:
  static Half* halves(void* array) { return static_cast<Half*>(array); }
  static int64_t row_of(int64_t width) { return padded<Half>(width); }

  // Both factors of the gradients of the matrices, for all rows; those of qkv come when the ones
  // of the MLP are done with.
  struct Factors {
    explicit Factors(Layer& layer) {
      const int64_t rows = layer.in_.rows, d = row_of(layer.width_);
      const auto [left, right] = widths(layer.shape_);
      Half* a = reinterpret_cast<Half*>(layer.scratch_.left.take(rows * left * bytes()));
      Half* b = reinterpret_cast<Half*>(layer.scratch_.right.take(rows * right * bytes()));
      d_qkv = d_mlp = a;
      d_attention = d_mlp + rows * d;
      d_gate_up = d_attention + rows * d;
      attention_in = mlp_in = b;
      inner = mlp_in + rows * d;
    }
    static int64_t bytes() { return static_cast<int64_t>(sizeof(Half)); }
    // Numbers a row of the left factors and of the right ones.
    static std::pair<int64_t, int64_t> widths(const LayerShape& shape) {
      const int64_t d = row_of(shape.width);
      return {std::max(2 * d + row_of(2 * shape.inner), row_of(shape.attention.row())),
              d + row_of(shape.inner)};
    }
    Half *d_mlp, *d_attention, *d_gate_up, *d_qkv;
    Half *mlp_in, *inner, *attention_in;
  };

  void norm(const float* x, const float* weight, float* y, int64_t rows) const {
    table().rms_norm(x, weight, y, block<Half>().inverse.take(rows), rows, width_,
                     static_cast<float>(shape_.eps));
  }

  // dx is the gradient before a norm of x, whose means are computed again.
  void norm_backward(const float* dy, const float* x, const float* weight, float* dx, float* sum,
                     int64_t rows) const {
    norm(x, weight, dx, rows);
    if (sum == nullptr) sum = block<Half>().unused.take(width_);
    table().rms_norm_backward(dy, x, weight, block<Half>().inverse.take(rows), dx, sum, rows,
                              width_);
  }

  // What a product reads of x: its norm, where the layer norms before.
  void store_input(const float* x, const float* norm_weight, Half* to, int64_t rows) const {
    if (shape_.norm_after) return store_operand(x, rows, width_, to);
    float* normed = block<Half>().normed.take(rows * width_);
    norm(x, norm_weight, normed, rows);
    store_operand(normed, rows, width_, to);
  }

  // Where queries, keys and values lie as the product gives them: at `rotated` itself, unless they
  // are normed on the way there.
  float* raw_or(float* rotated, int64_t count) const {
    return shape_.qk_norm == QkNorm::none ? rotated : block<Half>().wide.take(count);
  }
  void rotate(const LayerWeights& w, const float* raw, float* to, int64_t first,
              int64_t rows) const {
    if (shape_.qk_norm != QkNorm::none)
      qk_norm_rows(raw, w.q_norm, w.k_norm, to,
                   block<Half>().inverse.take(rows * qk_norms(heads_, shape_.qk_norm)), heads_,
                   shape_.qk_norm, rows, static_cast<float>(shape_.eps));
    ref::rope(to, in_.positions + first, in_.cosine, in_.sine, heads_, rows, false);
  }

  void queries_keys_values(const LayerWeights& w, const float* x, const LayerSaved* saved,
                           int64_t first, int64_t rows, float* qkv) const {
    Half* in = block<Half>().operand.take(rows * row_of(width_));
    store_input(x, w.attention_norm, in, rows);
    const int64_t at = first * heads_.row(), count = rows * heads_.row();
    float* raw = raw_or(qkv + at, count);
    multiply(in, *w.qkv, raw, rows, w.qkv_bias);
    if (saved != nullptr) store(raw, count, halves(saved->qkv) + at);
    rotate(w, raw, qkv + at, first, rows);
  }

  // y = x + the block's result, normed where the layer norms after it.
  void add_result(const float* x, float* out, const float* norm_weight, void* saved, float* y,
                  int64_t first, int64_t rows) const {
    const float* result = out;
    if (shape_.norm_after) {
      float* normed = block<Half>().normed.take(rows * width_);
      norm(out, norm_weight, normed, rows);
      if (saved != nullptr) store(out, rows * width_, halves(saved) + first * width_);
      result = normed;
    }
    for (int64_t i = 0; i < rows * width_; ++i) y[i] = x[i] + result[i];
  }

  void output_and_mlp(const LayerWeights& w, const float* x, float* y, const LayerSaved* saved,
                      int64_t first, int64_t rows, const float* attended) const {
    const bool keep = saved != nullptr;
    Half* in = keep ? halves(saved->attended) + first * row_of(attended_)
                    : block<Half>().operand.take(rows * row_of(attended_));
    store_operand(attended, rows, attended_, in);
    float* out = block<Half>().out.take(rows * width_);
    multiply(in, *w.output, out, rows, w.output_bias);
    float* middle = keep ? saved->middle + first * width_ : y;
    add_result(x, out, w.attention_norm, keep ? saved->attention_out : nullptr, middle, first,
               rows);
    in = block<Half>().operand.take(rows * row_of(width_));
    store_input(middle, w.mlp_norm, in, rows);
    Half* gates = block<Half>().gates.take(rows * row_of(inner_));
    for (int64_t column = 0; column < inner_; column += chunk_)
      gate_columns(w, in, column, keep ? halves(saved->gate_up) + first * 2 * inner_ : nullptr,
                   gates, rows);
    multiply(gates, *w.down, out, rows, w.down_bias);
    add_result(middle, out, w.mlp_norm, keep ? saved->mlp_out : nullptr, y, first, rows);
  }

  // Columns [column, column + chunk_) of gate and up, and what comes of them.
  void gate_columns(const LayerWeights& w, const Half* in, int64_t column, Half* saved, Half* gates,
                    int64_t rows) const {
    float* gate_up = block<Half>().wide.take(rows * 2 * chunk_);
    if (chunk_ == inner_) {
      multiply(in, *w.gate_up, gate_up, rows, w.gate_up_bias);
    } else {
      multiply(in, *w.gate_up, column, chunk_, gate_up, 2 * chunk_, rows, w.gate_up_bias);
      multiply(in, *w.gate_up, inner_ + column, chunk_, gate_up + chunk_, 2 * chunk_, rows,
               w.gate_up_bias);
    }
    float* act = block<Half>().inner.take(rows * chunk_);
    table().swiglu(gate_up, act, chunk_, rows, chunk_);
    put_columns(act, chunk_, gates, inner_, row_of(inner_), column, rows);
    if (saved == nullptr) return;
    const int64_t both = 2 * inner_;
    put_columns(gate_up, 2 * chunk_, saved, both, both, column, rows);
    put_columns(gate_up + chunk_, 2 * chunk_, saved, both, both, inner_ + column, rows);
  }

  // chunk_ numbers of each row to the columns from `column` on of rows of `width` numbers, which
  // are `to_row` apart; zeros behind the last of them.
  void put_columns(const float* from, int64_t from_row, Half* to, int64_t width, int64_t to_row,
                   int64_t column, int64_t rows) const {
    for (int64_t t = 0; t < rows; ++t) {
      store(from + t * from_row, chunk_, to + t * to_row + column);
      if (column + chunk_ == width)
        std::fill(to + t * to_row + width, to + (t + 1) * to_row, Half{0});
    }
  }

  // The gradient of a block's result, from that of the sum that it went into, and as an operand.
  const float* result_backward(const float* d, void* saved, const float* norm_weight, float* sum,
                               int64_t first, int64_t rows, Half* operand) const {
    if (shape_.norm_after) {
      float* out = block<Half>().out.take(rows * width_);
      load(halves(saved) + first * width_, rows * width_, out);
      float* d_out = block<Half>().d_out.take(rows * width_);
      norm_backward(d, out, norm_weight, d_out, sum, rows);
      d = d_out;
    }
    store_operand(d, rows, width_, operand);
    return d;
  }

  // d += what came through a product's input, or through the norm before it.
  void add_input_backward(float* d, const float* d_in, const float* x, const float* norm_weight,
                          float* sum, int64_t rows) const {
    if (shape_.norm_after) return add(d, d_in, rows * width_);
    float* dx = block<Half>().out.take(rows * width_);
    norm_backward(d_in, x, norm_weight, dx, sum, rows);
    add(d, dx, rows * width_);
  }

  void add_bias(const float* d, int64_t row, float* sum, int64_t rows, int64_t width) const {
    if (sum == nullptr) return;
    for (int64_t t = 0; t < rows; ++t) add(sum, d + t * row, width);
  }

  void mlp_and_output_backward(const LayerWeights& w, const LayerSaved& saved, float* d,
                               const LayerGradients& g, const VectorSums& sums,
                               const Factors& factors, int64_t first, int64_t rows,
                               float* d_attended) const {
    const int64_t at = first * width_, place = first / each_;
    const int64_t operand = first * row_of(width_), gate_up = first * row_of(2 * inner_);
    const float* d_mlp = result_backward(d, saved.mlp_out, w.mlp_norm, sums.of(place, g.mlp_norm),
                                         first, rows, factors.d_mlp + operand);
    add_bias(d_mlp, width_, sums.of(place, g.down_bias), rows, width_);
    for (int64_t column = 0; column < inner_; column += chunk_)
      gate_columns_backward(w, factors.d_mlp + operand, column,
                            halves(saved.gate_up) + first * 2 * inner_,
                            factors.inner + first * row_of(inner_), factors.d_gate_up + gate_up,
                            sums.of(place, g.gate_up_bias), rows);
    store_input(saved.middle + at, w.mlp_norm, factors.mlp_in + operand, rows);
    float* d_in = block<Half>().normed.take(rows * width_);
    multiply(factors.d_gate_up + gate_up, *w.gate_up, d_in, rows, nullptr);
    add_input_backward(d, d_in, saved.middle + at, w.mlp_norm, sums.of(place, g.mlp_norm), rows);

    const float* d_attention =
        result_backward(d, saved.attention_out, w.attention_norm, sums.of(place, g.attention_norm),
                        first, rows, factors.d_attention + operand);
    add_bias(d_attention, width_, sums.of(place, g.output_bias), rows, width_);
    multiply(factors.d_attention + operand, *w.output, d_attended, rows, nullptr);
  }

  void gate_columns_backward(const LayerWeights& w, const Half* d_mlp, int64_t column,
                             const Half* saved, Half* inner, Half* d_gate_up, float* bias_sum,
                             int64_t rows) const {
    float* gate_up = block<Half>().wide.take(rows * 2 * chunk_);
    for (int64_t t = 0; t < rows; ++t)
      for (const int64_t part : {0, 1})
        load(saved + t * 2 * inner_ + part * inner_ + column, chunk_,
             gate_up + (2 * t + part) * chunk_);
    float* numbers = block<Half>().inner.take(rows * chunk_);
    table().swiglu(gate_up, numbers, chunk_, rows, chunk_);
    put_columns(numbers, chunk_, inner, inner_, row_of(inner_), column, rows);
    multiply(d_mlp, *w.down, column, chunk_, numbers, chunk_, rows, nullptr);
    float* d = block<Half>().d_wide.take(rows * 2 * chunk_);
    table().swiglu_backward(numbers, gate_up, d, rows, chunk_);
    for (const int64_t part : {0, 1}) {
      const int64_t to = part * inner_ + column;
      const float* from = d + part * chunk_;
      put_columns(from, 2 * chunk_, d_gate_up, 2 * inner_, row_of(2 * inner_), to, rows);
      add_bias(from, 2 * chunk_, bias_sum == nullptr ? nullptr : bias_sum + to, rows, chunk_);
    }
  }

  void attend_backward(const LayerSaved& saved, const float* d_attended, const float* qkv,
                       float* d_qkv) const {
    const float* attended = nullptr;
    if constexpr (kRounded<Half>) {
      float* wide = scratch_.attended_again.take(in_.rows * attended_);
      by_blocks(in_.rows, each_, [&](int64_t first, int64_t last) {
        for (int64_t t = first; t < last; ++t)
          load(halves(saved.attended) + t * row_of(attended_), attended_, wide + t * attended_);
      });
      attended = wide;
    } else {
      attended = halves(saved.attended);
    }
    attention_backward(d_attended, qkv, attended, saved.log_sum, in_.segments, d_qkv, heads_,
                       in_.rotations());
  }

  void queries_keys_values_backward(const LayerWeights& w, const float* x, const LayerSaved& saved,
                                    float* d, const LayerGradients& g, const VectorSums& sums,
                                    const Factors& factors, int64_t first, int64_t rows,
                                    float* d_qkv) const {
    const int64_t row = heads_.row(), place = first / each_;
    ref::rope(d_qkv, in_.positions + first, in_.cosine, in_.sine, heads_, rows, true);
    const float* d_raw = d_qkv;
    if (shape_.qk_norm != QkNorm::none)
      d_raw = qk_norm_backward(w, saved, g, sums, first, rows, d_qkv);
    Half* operand = factors.d_qkv + first * row_of(row);
    store_operand(d_raw, rows, row, operand);
    add_bias(d_raw, row, sums.of(place, g.qkv_bias), rows, row);
    store_input(x, w.attention_norm, factors.attention_in + first * row_of(width_), rows);
    float* d_in = block<Half>().normed.take(rows * width_);
    multiply(operand, *w.qkv, d_in, rows, nullptr);
    add_input_backward(d, d_in, x, w.attention_norm, sums.of(place, g.attention_norm), rows);
  }

  const float* qk_norm_backward(const LayerWeights& w, const LayerSaved& saved,
                                const LayerGradients& g, const VectorSums& sums, int64_t first,
                                int64_t rows, const float* d_qkv) const {
    const int64_t row = heads_.row(), place = first / each_;
    float* raw = block<Half>().wide.take(rows * row);
    load(halves(saved.qkv) + first * row, rows * row, raw);
    float* d_raw = block<Half>().d_wide.take(rows * row);
    float* inverse = block<Half>().inverse.take(rows * qk_norms(heads_, shape_.qk_norm));
    float* unused = block<Half>().unused.take(2 * row);
    float *q_sum = sums.of(place, g.q_norm), *k_sum = sums.of(place, g.k_norm);
    qk_norm_rows(raw, w.q_norm, w.k_norm, d_raw, inverse, heads_, shape_.qk_norm, rows,
                 static_cast<float>(shape_.eps));
    qk_norm_backward_rows(d_qkv, raw, w.q_norm, w.k_norm, inverse, d_raw,
                          q_sum != nullptr ? q_sum : unused,
                          k_sum != nullptr ? k_sum : unused + row, heads_, shape_.qk_norm, rows);
    return d_raw;
  }

  // gradient [out, in] += dy^T x, or what an adapter gets of it.
  void add_product(const Half* dy, const Half* x, float* gradient,
                   const MatrixAdapter<float>* adapter, int64_t out, int64_t in) const {
    if (gradient != nullptr)
      multiply_transposed(dy, row_of(out), x, row_of(in), gradient, in_.rows, out, in);
    if (adapter != nullptr) adapter_gradient(*adapter, dy, x, in_.rows, scratch_.adapter);
  }

  const LayerShape& shape_;
  const AttentionShape& heads_;
  const LayerRows& in_;
  LayerScratch& scratch_;
  int64_t width_, attended_, inner_, chunk_, each_;
};

// Runs `body` with the number type of what is kept.
template <class Body>
void by_precision(Precision precision, const Body& body) {
  if (precision == Precision::bf16) return body(uint16_t{});
  body(float{});
}

}  // namespace

int64_t LayerScratch::bytes() const {
  return qkv.bytes() + d_qkv.bytes() + attended.bytes() + attended_again.bytes() + partial.bytes() +
         left.bytes() + right.bytes();
}

int64_t forward_scratch_bytes(const LayerShape& shape, int64_t rows) {
  const AttentionShape& heads = shape.attention;
  return 4 * rows * (heads.row() + heads.heads * heads.head_size + heads.heads);
}

int64_t backward_scratch_bytes(const LayerShape& shape, int64_t rows, Precision precision,
                               int64_t vectors) {
  const AttentionShape& heads = shape.attention;
  int64_t bytes = 0;
  by_precision(precision, [&](auto half) {
    using Half = decltype(half);
    const int64_t attended = heads.heads * heads.head_size;
    bytes = rows * Layer<Half>::factor_bytes(shape) +
            4 * (rows * (2 * heads.row() + (kRounded<Half> ? 2 : 1) * attended) +
                 tasks_for(rows, block_rows<Half>(shape)) * vectors);
  });
  return bytes;
}

int64_t block_bytes(const LayerShape& shape, Precision precision) {
  const AttentionShape& heads = shape.attention;
  int64_t bytes = 0;
  by_precision(precision, [&](auto half) {
    using Half = decltype(half);
    const int64_t wide =
        std::max(2 * inner_columns(shape.inner), shape.qk_norm == QkNorm::none ? 0 : heads.row());
    const int64_t numbers = 2 * wide + inner_columns(shape.inner) +
                            shape.width * (shape.norm_after ? 3 : 2);  // normed, out, d_out
    const int64_t halves = padded<Half>(std::max(shape.width, heads.heads * heads.head_size)) +
                           padded<Half>(shape.inner);
    bytes = block_rows<Half>(shape) * (4 * numbers + halves * static_cast<int64_t>(sizeof(Half)));
  });
  return bytes;
}

int64_t saved_bytes(const LayerShape& shape, int64_t rows, Precision precision) {
  int64_t bytes = 0;
  share_saved(shape, rows, precision, nullptr, &bytes);
  return bytes;
}

LayerSaved share_saved(const LayerShape& shape, int64_t rows, Precision precision, void* memory,
                       int64_t* bytes) {
  const AttentionShape& heads = shape.attention;
  const bool rounded = precision == Precision::bf16;
  const int64_t attended = heads.heads * heads.head_size;
  int64_t at = 0;
  const auto take = [&](int64_t width, int64_t size) -> void* {
    void* place = memory == nullptr ? nullptr : static_cast<std::byte*>(memory) + at;
    at += round_up(rows * width * size, 64);
    return place;
  };
  const auto numbers = [&](int64_t width) { return static_cast<float*>(take(width, 4)); };
  const auto half = [&](int64_t width) { return take(width, rounded ? 2 : 4); };
  LayerSaved saved{.middle = numbers(shape.width),
                   .log_sum = numbers(heads.heads),
                   .qkv = half(heads.row()),
                   .attended = half(rounded ? padded<uint16_t>(attended) : attended),
                   .gate_up = half(2 * shape.inner)};
  if (shape.norm_after) {
    saved.attention_out = half(shape.width);
    saved.mlp_out = half(shape.width);
  }
  if (bytes != nullptr) *bytes = at;
  return saved;
}

void layer_forward(const LayerShape& shape, const LayerWeights& weights, const LayerRows& rows,
                   Precision precision, const float* x, float* y, const LayerSaved* saved,
                   LayerScratch& scratch) {
  by_precision(precision, [&](auto half) {
    Layer<decltype(half)>(shape, rows, scratch).forward(weights, x, y, saved);
  });
}

void layer_backward(const LayerShape& shape, const LayerWeights& plain, const LayerRows& rows,
                    Precision precision, const float* x, const LayerSaved& saved, float* d,
                    const LayerGradients& gradients, LayerScratch& scratch,
                    const LayerAdapters& adapters) {
  by_precision(precision, [&](auto half) {
    Layer<decltype(half)>(shape, rows, scratch).backward(plain, x, saved, d, gradients, adapters);
  });
}

}  // namespace vernier::kernels
