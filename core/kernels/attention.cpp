// Attention on the CPU: of packed sequences, forward and backward, and of tokens over a cache.
//
// However the work is cut, a number of the result comes from one thread, in one order.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "core/base/errors.h"
#include "core/kernels/cpu/build.h"

namespace vernier::kernels {
namespace {

// Where the rows of a segment and of those before it lie.
struct Place {
  int64_t first = 0, count = 0;                // own rows
  int64_t prefix_first = 0, prefix_count = 0;  // rows that its tokens see before them

  int64_t tokens() const { return prefix_count + count; }
};

Place place_of(const Segments& segments, int64_t s) {
  Place place{.first = segments.starts[s], .count = segments.starts[s + 1] - segments.starts[s]};
  if (segments.prefix == nullptr || segments.prefix[s] < 0) return place;
  const int32_t before = segments.prefix[s];
  place.prefix_first = segments.starts[before];
  place.prefix_count = segments.starts[before + 1] - place.prefix_first;
  return place;
}

// Calls body(token of the sequence, row of the packed array) for the tokens [0, tokens).
template <class Body>
void for_tokens(const Place& place, const Body& body) {
  for (int64_t j = 0; j < place.prefix_count; ++j) body(j, place.prefix_first + j);
  for (int64_t j = 0; j < place.count; ++j) body(place.prefix_count + j, place.first + j);
}

int64_t row_of(const Place& place, int64_t token) {
  return token < place.prefix_count ? place.prefix_first + token
                                    : place.first + token - place.prefix_count;
}

// Tokens that the last one of a sequence sees from behind the window.
int64_t sinks_of(const Place& place, const AttentionShape& shape) {
  return place.tokens() > 0 ? shape.far(place.tokens() - 1) : 0;
}

// Keys (or values) of one head of a sequence by columns, in tiles of kKeyTile tokens; zeros behind
// them. `rows` is where row 0 keeps them.
void transpose_head(const float* rows, int64_t row_stride, const Place& place, int64_t size,
                    std::vector<float>& columns) {
  columns.assign(static_cast<size_t>(round_up(place.tokens(), kKeyTile) * size), 0.0f);
  for_tokens(place, [&](int64_t j, int64_t row) {
    for (int64_t e = 0; e < size; ++e) columns[key_at(j, e, size)] = rows[row * row_stride + e];
  });
}

void dense_head(const float* rows, int64_t row_stride, const Place& place, int64_t size,
                std::vector<float>& dense) {
  dense.resize(static_cast<size_t>(place.tokens() * size));
  for_tokens(place, [&](int64_t j, int64_t row) {
    std::memcpy(&dense[j * size], rows + row * row_stride, sizeof(float) * size);
  });
}

// The first `count` tokens of a sequence as what lies behind the window sees them: keys of one head
// that are not rotated, and queries rotated as at place `window`.
class Sinks {
 public:
  Sinks(const AttentionShape& shape, const Rotations& rotations)
      : shape_(shape), rotations_(rotations), size_(shape.head_size) {}

  // key(j, to) writes the rotated key of token j.
  template <class Key>
  void take(int64_t count, const Key& key) {
    rows.resize(static_cast<size_t>(count * size_));
    columns.assign(static_cast<size_t>(round_up(count, kKeyTile) * size_), 0.0f);
    for (int64_t j = 0; j < count; ++j) {
      float* to = rows.data() + j * size_;
      key(j, to);
      turn(to, 1, j, true);
      for (int64_t e = 0; e < size_; ++e) columns[key_at(j, e, size_)] = to[e];
    }
  }

  // The queries [heads][E] of the token at `place`.
  const float* queries(const float* from, int64_t place) {
    turned_.assign(from, from + shape_.group() * size_);
    turn(turned_.data(), shape_.group(), place - shape_.window, true);
    return turned_.data();
  }

  // Turns `heads` vectors by the rotation of a position, or back.
  void turn(float* vectors, int64_t heads, int64_t position, bool back) const {
    const int64_t half = shape_.rotary_size / 2;
    const float *c = rotations_.cosine + position * half, *s = rotations_.sine + position * half;
    for (int64_t h = 0; h < heads; ++h)
      for (int64_t i = 0; i < half; ++i) {
        float &a = vectors[h * size_ + i], &b = vectors[h * size_ + i + half];
        const float x = a, y = b, sine = back ? -s[i] : s[i];
        a = x * c[i] - y * sine;
        b = y * c[i] + x * sine;
      }
  }

  // What the token at `place` gets from its first `far` tokens, whose values are `values` [far][E],
  // is put to what it got from the window: out [heads][E], log_sums [heads].
  void add(const float* from, int64_t place, const float* values, float* out, float* log_sums) {
    const int64_t group = shape_.group(), far = shape_.far(place);
    out_.resize(static_cast<size_t>(group * size_));
    log_sums_.resize(static_cast<size_t>(group));
    scores_.resize(static_cast<size_t>(kHeadsTogether * (far + 3 * kKeyTile)));
    table().attend(queries(from, place), group, columns.data(), values, out_.data(),
                   log_sums_.data(), scores_.data(), nullptr, 0, far, size_, shape_.scale(place));
    for (int64_t h = 0; h < group; ++h) {
      const float top = std::max(log_sums[h], log_sums_[static_cast<size_t>(h)]);
      const float near = std::exp(log_sums[h] - top);
      const float off = std::exp(log_sums_[static_cast<size_t>(h)] - top), all = near + off;
      for (int64_t e = 0; e < size_; ++e)
        out[h * size_ + e] =
            (near * out[h * size_ + e] + off * out_[static_cast<size_t>(h * size_ + e)]) / all;
      log_sums[h] = top + std::log(all);
    }
  }

  std::vector<float> rows, columns;  // of the keys

 private:
  const AttentionShape& shape_;
  const Rotations& rotations_;
  int64_t size_;
  std::vector<float> turned_, out_, log_sums_, scores_;
};

// Those of the heads that a key-value head serves; null without ALiBi.
const float* slopes_of(const std::vector<float>& slopes, int64_t h) {
  return slopes.empty() ? nullptr : slopes.data() + h;
}

std::vector<float> slopes_of(const AttentionShape& shape) {
  return shape.alibi ? alibi_slopes(shape.heads) : std::vector<float>();
}

}  // namespace

std::vector<float> alibi_slopes(int64_t heads) {
  int64_t power = 1;
  while (2 * power <= heads) power *= 2;
  const auto slope = [](double step, double number) {
    return static_cast<float>(std::exp2(-8.0 / step * number));
  };
  std::vector<float> out;
  for (int64_t h = 0; h < heads; ++h) {
    const auto p = static_cast<double>(power);
    out.push_back(h < power ? slope(p, static_cast<double>(h + 1))
                            : slope(2 * p, static_cast<double>(2 * (h - power) + 1)));
  }
  return out;
}

void attention(const float* qkv, const Segments& segments, float* out, float* log_sum,
               const AttentionShape& shape, const Rotations& rotations) {
  const int64_t size = shape.head_size, row = shape.row(), out_row = shape.heads * size;
  const std::vector<float> slopes = slopes_of(shape);
  kernel_pool().run(segments.count * shape.kv_heads, [&](int64_t task) {
    thread_local std::vector<float> columns, values, scores;
    const Place place = place_of(segments, task / shape.kv_heads);
    const int64_t kv = task % shape.kv_heads, h = kv * shape.group();
    const float* keys = qkv + (shape.heads + kv) * size;
    transpose_head(keys, row, place, size, columns);
    dense_head(keys + shape.kv_heads * size, row, place, size, values);
    scores.resize(static_cast<size_t>(kHeadsTogether * (place.tokens() + 3 * kKeyTile)));
    Sinks sinks(shape, rotations);
    sinks.take(sinks_of(place, shape), [&](int64_t j, float* to) {
      std::memcpy(to, keys + row_of(place, j) * row, sizeof(float) * size);
    });
    for (int64_t t = 0; t < place.count; ++t) {
      const int64_t token = place.prefix_count + t, at = place.first + t;
      const float* queries = qkv + at * row + h * size;
      float *to = out + at * out_row + h * size, *log_sums = log_sum + at * shape.heads + h;
      table().attend(queries, shape.group(), columns.data(), values.data(), to, log_sums,
                     scores.data(), slopes_of(slopes, h), shape.first_seen(token), token + 1, size,
                     shape.scale(token));
      if (shape.far(token) > 0) sinks.add(queries, token, values.data(), to, log_sums);
    }
  });
}

namespace {

// The gradients of one key-value head of one sequence. Tokens are taken some at a time: what they
// add to a key or a value is added in one go.
class HeadBackward {
 public:
  HeadBackward(const float* d_out, const float* qkv, const float* out, const float* log_sum,
               float* d_qkv, const AttentionShape& shape, const Rotations& rotations, int64_t kv)
      : d_out_(d_out),
        qkv_(qkv),
        out_(out),
        log_sum_(log_sum),
        d_qkv_(d_qkv),
        shape_(shape),
        kv_(kv),
        size_(shape.head_size),
        sinks_(shape, rotations),
        slopes_(slopes_of(shape)),
        keys_at_((shape.heads + kv) * size_),
        values_at_(keys_at_ + shape.kv_heads * size_) {}

  // Writes the gradients of the queries; those of keys and values are in dk() and dv() [tokens, E].
  void run(const Place& place) {
    const int64_t row = shape_.row(), tokens = place.tokens();
    transpose_head(qkv_ + keys_at_, row, place, size_, k_columns_);
    transpose_head(qkv_ + values_at_, row, place, size_, v_columns_);
    dense_head(qkv_ + keys_at_, row, place, size_, k_rows_);
    dk_.assign(static_cast<size_t>(tokens * size_), 0.0f);
    dv_.assign(static_cast<size_t>(tokens * size_), 0.0f);
    stride_ = round_up(tokens, kKeyTile) + 3 * kKeyTile;
    const auto rows = static_cast<size_t>(kTokens * shape_.group());
    weights_.resize(rows * static_cast<size_t>(stride_));
    d_scores_.resize(weights_.size());
    queries_.resize(rows * static_cast<size_t>(size_));
    d_outs_.resize(queries_.size());
    scratch_.resize(static_cast<size_t>(2 * kHeadsTogether * stride_));
    const int64_t sinks = sinks_of(place, shape_);
    sinks_.take(sinks,
                [&](int64_t j, float* to) { std::copy_n(k_rows_.data() + j * size_, size_, to); });
    d_sinks_.assign(static_cast<size_t>(sinks * size_), 0.0f);
    for (int64_t t = 0; t < place.count; t += kTokens)
      block(place, t, std::min(kTokens, place.count - t));
    for (int64_t j = 0; j < sinks; ++j) {
      float* d_key = d_sinks_.data() + j * size_;
      sinks_.turn(d_key, 1, j, false);
      for (int64_t e = 0; e < size_; ++e) dk_[static_cast<size_t>(j * size_ + e)] += d_key[e];
    }
  }

  const std::vector<float>& dk() const { return dk_; }
  const std::vector<float>& dv() const { return dv_; }

  // Writes rows [0, count) of dk and dv to the rows from `first` on of d_qkv.
  void put(const float* dk, const float* dv, int64_t first, int64_t count) const {
    for (int64_t t = 0; t < count; ++t) {
      float* to = d_qkv_ + (first + t) * shape_.row();
      std::memcpy(to + keys_at_, dk + t * size_, sizeof(float) * size_);
      std::memcpy(to + values_at_, dv + t * size_, sizeof(float) * size_);
    }
  }

 private:
  static constexpr int64_t kTokens = 4;

  void block(const Place& place, int64_t first, int64_t count) {
    const int64_t group = shape_.group(), h = kv_ * group, row = shape_.row();
    const int64_t from = shape_.first_seen(place.prefix_count + first);
    const int64_t to = place.prefix_count + first + count;
    for (int64_t t = 0; t < count; ++t) {
      const int64_t at = place.first + first + t, token = place.prefix_count + first + t;
      const int64_t head = (at * shape_.heads + h) * size_;
      const int64_t seen = shape_.first_seen(token), lead = seen - from;
      float* weights = weights_.data() + t * group * stride_;
      float* d_scores = d_scores_.data() + t * group * stride_;
      for (int64_t i = 0; i < group; ++i)  // what this token does not see
        for (float* one : {weights + i * stride_, d_scores + i * stride_}) {
          std::fill(one, one + lead, 0.0f);
          std::fill(one + token + 1 - from, one + to - from, 0.0f);
        }
      const float *query = qkv_ + at * row + h * size_, *d = d_out_ + head;
      std::copy_n(query, group * size_, queries_.data() + t * group * size_);
      std::copy_n(d, group * size_, d_outs_.data() + t * group * size_);
      table().attend_backward(d, query, group, k_columns_.data(), v_columns_.data(), k_rows_.data(),
                              out_ + head, log_sum_ + at * shape_.heads + h,
                              d_qkv_ + at * row + h * size_, weights + lead, d_scores + lead,
                              stride_, scratch_.data(), slopes_of(slopes_, h), seen, token + 1,
                              size_, shape_.scale(token));
    }
    table().add_outer(d_scores_.data(), stride_, queries_.data(), count * group,
                      dk_.data() + from * size_, to - from, size_);
    table().add_outer(weights_.data(), stride_, d_outs_.data(), count * group,
                      dv_.data() + from * size_, to - from, size_);
    for (int64_t t = 0; t < count; ++t)
      if (shape_.far(place.prefix_count + first + t) > 0) far(place, first + t);
  }

  // What token t of the segment sees from behind the window.
  void far(const Place& place, int64_t t) {
    const int64_t group = shape_.group(), h = kv_ * group, at = place.first + t;
    const int64_t token = place.prefix_count + t, count = shape_.far(token);
    const int64_t head = (at * shape_.heads + h) * size_;
    const float* queries = sinks_.queries(qkv_ + at * shape_.row() + h * size_, token);
    d_queries_.resize(static_cast<size_t>(group * size_));
    table().attend_backward(d_out_ + head, queries, group, sinks_.columns.data(), v_columns_.data(),
                            sinks_.rows.data(), out_ + head, log_sum_ + at * shape_.heads + h,
                            d_queries_.data(), weights_.data(), d_scores_.data(), stride_,
                            scratch_.data(), nullptr, 0, count, size_, shape_.scale(token));
    table().add_outer(d_scores_.data(), stride_, queries, group, d_sinks_.data(), count, size_);
    table().add_outer(weights_.data(), stride_, d_out_ + head, group, dv_.data(), count, size_);
    sinks_.turn(d_queries_.data(), group, token - shape_.window, false);
    float* d_query = d_qkv_ + at * shape_.row() + h * size_;
    for (int64_t i = 0; i < group * size_; ++i) d_query[i] += d_queries_[static_cast<size_t>(i)];
  }

  const float *d_out_, *qkv_, *out_, *log_sum_;
  float* d_qkv_;
  const AttentionShape& shape_;
  int64_t kv_, size_;
  Sinks sinks_;
  std::vector<float> slopes_, d_sinks_, d_queries_;
  int64_t keys_at_, values_at_, stride_ = 0;
  std::vector<float> k_columns_, v_columns_, k_rows_, dk_, dv_;
  std::vector<float> weights_, d_scores_, queries_, d_outs_, scratch_;
};

// Segments that share rows: one that others see, then those, in order.
std::vector<std::vector<int64_t>> families_of(const Segments& segments) {
  std::vector<std::vector<int64_t>> families;
  std::vector<size_t> family(static_cast<size_t>(segments.count));
  for (int64_t s = 0; s < segments.count; ++s) {
    const int64_t before = segments.prefix == nullptr ? -1 : segments.prefix[s];
    ensure(before < s, "a prefix before those that see it");
    if (before < 0) families.emplace_back();
    const size_t mine = before < 0 ? families.size() - 1 : family[static_cast<size_t>(before)];
    family[static_cast<size_t>(s)] = mine;
    families[mine].push_back(s);
  }
  return families;
}

}  // namespace

void attention_backward(const float* d_out, const float* qkv, const float* out,
                        const float* log_sum, const Segments& segments, float* d_qkv,
                        const AttentionShape& shape, const Rotations& rotations) {
  const auto families = families_of(segments);
  kernel_pool().run(std::ssize(families) * shape.kv_heads, [&](int64_t task) {
    const auto& family = families[static_cast<size_t>(task / shape.kv_heads)];
    HeadBackward head(d_out, qkv, out, log_sum, d_qkv, shape, rotations, task % shape.kv_heads);
    const Place root = place_of(segments, family.front());
    head.run(root);
    if (family.size() == 1)
      return head.put(head.dk().data(), head.dv().data(), root.first, root.count);
    std::vector<float> dk = head.dk(), dv = head.dv();
    for (size_t i = 1; i < family.size(); ++i) {
      const Place place = place_of(segments, family[i]);
      head.run(place);
      for (size_t k = 0; k < dk.size(); ++k) {
        dk[k] += head.dk()[k];
        dv[k] += head.dv()[k];
      }
      head.put(head.dk().data() + dk.size(), head.dv().data() + dv.size(), place.first,
               place.count);
    }
    head.put(dk.data(), dv.data(), root.first, root.count);
  });
}

namespace {

// Spans in parts of at most `tokens`: one long prompt would hold up the others.
std::vector<PagedSpan> parts_of(const PagedSpan* spans, int64_t count, int64_t tokens) {
  std::vector<PagedSpan> parts;
  for (int64_t s = 0; s < count; ++s)
    for (int64_t t = 0; t < spans[s].count; t += tokens)
      parts.push_back({.pages = spans[s].pages,
                       .first = spans[s].first + t,
                       .count = std::min(tokens, spans[s].count - t),
                       .row = spans[s].row + t});
  return parts;
}

}  // namespace

void paged_append(const float* qkv, const PagedLayer& cache, const PagedSpan* spans, int64_t count,
                  const AttentionShape& shape) {
  const int64_t size = shape.head_size, values_at = shape.kv_heads * size * kKeyBlock;
  const auto parts = parts_of(spans, count, kKeyBlock);
  by_blocks(std::ssize(parts), 4, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const PagedSpan& part = parts[static_cast<size_t>(p)];
      for (int64_t t = 0; t < part.count; ++t) {
        const int64_t token = part.first + t;
        float* page = cache.base + part.pages[token / kKeyBlock] * cache.stride;
        const int64_t place = token % kKeyBlock;
        const float* keys = qkv + (part.row + t) * shape.row() + shape.heads * size;
        const float* values = keys + shape.kv_heads * size;
        for (int64_t kv = 0; kv < shape.kv_heads; ++kv) {
          float* head = page + kv * kKeyBlock * size;
          for (int64_t e = 0; e < size; ++e) head[key_at(place, e, size)] = keys[kv * size + e];
          std::memcpy(head + values_at + place * size, values + kv * size, sizeof(float) * size);
        }
      }
    }
  });
}

void paged_attention(const float* qkv, const PagedLayer& cache, const PagedSpan* spans,
                     int64_t count, float* out, const AttentionShape& shape,
                     const Rotations& rotations) {
  const auto parts = parts_of(spans, count, 32);
  const int64_t size = shape.head_size, values_at = shape.kv_heads * size * kKeyBlock;
  const std::vector<float> slopes = slopes_of(shape);
  kernel_pool().run(std::ssize(parts), [&](int64_t task) {
    thread_local std::vector<float> scores, log_sums;
    thread_local std::vector<const float*> pages;
    const PagedSpan& part = parts[static_cast<size_t>(task)];
    const int64_t blocks = tasks_for(part.first + part.count, kKeyBlock);
    pages.clear();
    for (int64_t i = 0; i < blocks; ++i) pages.push_back(cache.base + part.pages[i] * cache.stride);
    scores.resize(static_cast<size_t>(kHeadsTogether * (blocks + 1) * kKeyBlock));
    log_sums.resize(static_cast<size_t>(shape.group()));
    const int64_t far = shape.far(part.first + part.count - 1);
    Sinks sinks(shape, rotations);
    for (int64_t kv = 0; kv < shape.kv_heads; ++kv) {
      const float* head = pages[0] + kv * size * kKeyBlock;  // sinks lie in the first page
      sinks.take(far, [&](int64_t j, float* to) {
        for (int64_t e = 0; e < size; ++e) to[e] = head[key_at(j, e, size)];
      });
      for (int64_t t = 0; t < part.count; ++t) {
        const int64_t token = part.first + t, h = kv * shape.group();
        const float* queries = qkv + (part.row + t) * shape.row() + h * size;
        float* to = out + ((part.row + t) * shape.heads + h) * size;
        const bool merges = shape.far(token) > 0;
        table().attend_paged(queries, shape.group(), pages.data(), kv * size * kKeyBlock, values_at,
                             to, merges ? log_sums.data() : nullptr, scores.data(),
                             slopes_of(slopes, h), shape.first_seen(token), token + 1, size,
                             shape.scale(token));
        if (merges) sinks.add(queries, token, head + values_at, to, log_sums.data());
      }
    }
  });
}

}  // namespace vernier::kernels
