// Attention as plain loops.
#include <algorithm>
#include <cmath>
#include <vector>

#include "core/kernels/kernels.h"

namespace vernier::kernels::ref {

namespace {

// Where head h of token t keeps its query, key and value in a row of qkv.
template <class T>
struct Heads {
  const T* qkv;
  const AttentionShape& shape;

  const T* query(int64_t t, int64_t h) const { return qkv + t * shape.row() + h * shape.head_size; }
  const T* key(int64_t t, int64_t h) const { return query(t, shape.heads + h / shape.group()); }
  const T* value(int64_t t, int64_t h) const {
    return query(t, shape.heads + shape.kv_heads + h / shape.group());
  }
};

template <class T>
double dot(const T* a, const T* b, int64_t size) {
  double sum = 0;
  for (int64_t i = 0; i < size; ++i) sum += double{a[i]} * b[i];
  return sum;
}

// A token that another one sees: its row, its place in the sequence, and whether it is a sink
// seen from behind the window.
struct Seen {
  int64_t row, index;
  bool far;
};

// Calls body(row of the token, its place in the sequence, those that it sees) for every token.
template <class Body>
void for_tokens(const Segments& segments, const AttentionShape& shape, const Body& body) {
  for (int64_t s = 0; s < segments.count; ++s) {
    std::vector<int64_t> rows;
    const auto add = [&](int64_t segment) {
      for (int64_t t = segments.starts[segment]; t < segments.starts[segment + 1]; ++t)
        rows.push_back(t);
    };
    if (segments.prefix != nullptr && segments.prefix[s] >= 0) add(segments.prefix[s]);
    const auto own = static_cast<int64_t>(rows.size());
    add(s);
    for (int64_t t = own; t < std::ssize(rows); ++t) {
      std::vector<Seen> seen;
      for (int64_t j = 0; j <= t; ++j)
        if (j < shape.far(t) || j >= shape.first_seen(t))
          seen.push_back({rows[static_cast<size_t>(j)], j, j < shape.far(t)});
      body(rows[static_cast<size_t>(t)], t, seen);
    }
  }
}

// A head's vector turned by the rotation of a position, or back.
template <class T>
std::vector<double> turned(const T* head, int64_t position, bool back, const AttentionShape& shape,
                           const Rotations& rotations) {
  std::vector<double> out(head, head + shape.head_size);
  const int64_t half = shape.rotary_size / 2;
  for (int64_t i = 0; i < half; ++i) {
    const double c = rotations.cosine[position * half + i];
    const double s =
        back ? -rotations.sine[position * half + i] : rotations.sine[position * half + i];
    out[static_cast<size_t>(i)] = head[i] * c - head[i + half] * s;
    out[static_cast<size_t>(i + half)] = head[i + half] * c + head[i] * s;
  }
  return out;
}

// What token t, at a place of its sequence, and a token that it sees are multiplied as: a sink from
// behind the window as it was before it was rotated, the query as at place `window`.
template <class T>
struct Pair {
  std::vector<double> query, key;

  Pair(const Heads<T>& at, int64_t t, int64_t place, const Seen& seen, int64_t h,
       const Rotations& rotations) {
    const T *q = at.query(t, h), *k = at.key(seen.row, h);
    const auto whole = [&](const T* head) {
      return std::vector<double>(head, head + at.shape.head_size);
    };
    query = seen.far ? turned(q, place - at.shape.window, true, at.shape, rotations) : whole(q);
    key = seen.far ? turned(k, seen.index, true, at.shape, rotations) : whole(k);
  }
};

double scale_of(const AttentionShape& shape, int64_t place) {
  const double plain = 1.0 / std::sqrt(static_cast<double>(shape.head_size));
  return shape.log_length ? plain * std::log(static_cast<double>(place + 1)) : plain;
}

double slope_of(const AttentionShape& shape, int64_t h) {
  return shape.alibi ? alibi_slopes(shape.heads)[static_cast<size_t>(h)] : 0.0;
}

}  // namespace

template <class T>
void attention(const T* qkv, const Segments& segments, T* out, T* log_sum,
               const AttentionShape& shape, const Rotations& rotations) {
  const Heads<T> at{qkv, shape};
  const int64_t size = shape.head_size;
  std::vector<double> score;
  for_tokens(segments, shape, [&](int64_t t, int64_t place, const std::vector<Seen>& all) {
    for (int64_t h = 0; h < shape.heads; ++h) {
      score.clear();
      double top = -INFINITY, total = 0;
      for (const Seen& seen : all) {
        const Pair<T> pair(at, t, place, seen, h, rotations);
        score.push_back(dot(pair.query.data(), pair.key.data(), size) * scale_of(shape, place) -
                        slope_of(shape, h) * static_cast<double>(place - seen.index));
        top = std::fmax(top, score.back());
      }
      for (double& value : score) total += value = std::exp(value - top);
      log_sum[t * shape.heads + h] = static_cast<T>(top + std::log(total));
      for (int64_t e = 0; e < size; ++e) {
        double sum = 0;
        for (size_t i = 0; i < all.size(); ++i) sum += score[i] * at.value(all[i].row, h)[e];
        out[(t * shape.heads + h) * size + e] = static_cast<T>(sum / total);
      }
    }
  });
}

template <class T>
void attention_backward(const T* d_out, const T* qkv, const T* out, const T* log_sum,
                        const Segments& segments, T* d_qkv, const AttentionShape& shape,
                        const Rotations& rotations) {
  const Heads<T> at{qkv, shape};
  const int64_t size = shape.head_size, total = segments.starts[segments.count] * shape.row();
  std::vector<double> sum(static_cast<size_t>(total), 0.0);
  const auto add = [&](const T* to, const std::vector<double>& values) {
    for (int64_t e = 0; e < size; ++e)
      sum[static_cast<size_t>(to - qkv + e)] += values[static_cast<size_t>(e)];
  };
  for_tokens(segments, shape, [&](int64_t t, int64_t place, const std::vector<Seen>& all) {
    const double scale = scale_of(shape, place);
    for (int64_t h = 0; h < shape.heads; ++h) {
      const T* d = d_out + (t * shape.heads + h) * size;
      const double shared = dot(d, out + (t * shape.heads + h) * size, size);
      for (const Seen& seen : all) {
        const Pair<T> pair(at, t, place, seen, h, rotations);
        const double score = dot(pair.query.data(), pair.key.data(), size) * scale -
                             slope_of(shape, h) * static_cast<double>(place - seen.index);
        const double p = std::exp(score - log_sum[t * shape.heads + h]);
        const double ds = p * (dot(d, at.value(seen.row, h), size) - shared) * scale;
        std::vector<double> dq = pair.key, dk = pair.query, dv(d, d + size);
        for (int64_t e = 0; e < size; ++e) {
          dq[static_cast<size_t>(e)] *= ds;
          dk[static_cast<size_t>(e)] *= ds;
          dv[static_cast<size_t>(e)] *= p;
        }
        if (seen.far) {
          dq = turned(dq.data(), place - shape.window, false, shape, rotations);
          dk = turned(dk.data(), seen.index, false, shape, rotations);
        }
        add(at.query(t, h), dq);
        add(at.key(seen.row, h), dk);
        add(at.value(seen.row, h), dv);
      }
    }
  });
  for (int64_t i = 0; i < total; ++i) d_qkv[i] = static_cast<T>(sum[static_cast<size_t>(i)]);
}

template void attention<float>(const float*, const Segments&, float*, float*, const AttentionShape&,
                               const Rotations&);
template void attention<double>(const double*, const Segments&, double*, double*,
                                const AttentionShape&, const Rotations&);
template void attention_backward<float>(const float*, const float*, const float*, const float*,
                                        const Segments&, float*, const AttentionShape&,
                                        const Rotations&);
template void attention_backward<double>(const double*, const double*, const double*, const double*,
                                         const Segments&, double*, const AttentionShape&,
                                         const Rotations&);

}  // namespace vernier::kernels::ref
