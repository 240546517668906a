// The inner loops of table.h, but for the products of gemm.cpp. Compiled once for each instruction
// set: VERNIER_TABLE names the table.
#include "core/kernels/cpu/table.h"
#include "core/kernels/cpu/vector.h"

namespace vernier::kernels {
namespace {

inline Vec max_of(Vec a, Vec b) { return a > b ? a : b; }

// Lanes are added in one fixed tree.
inline float sum_of(Vec v) {
  float lane[kLanes];
  store(lane, v);
  for (long width = kLanes / 2; width > 0; width /= 2)
    for (long i = 0; i < width; ++i) lane[i] += lane[i + width];
  return lane[0];
}

// e^x within 2 ulp for x <= 0 and for x up to 88; 0 below -87. Cody-Waite reduction, then the
// minimax polynomial of degree 6 on [-ln2/2, ln2/2].
inline Vec exp_of(Vec x) {
  const Vec low = all(-87.3f), high = all(88.7f);
  const Vec clamped = x < low ? low : (x > high ? high : x);
  const Vec shift = all(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const Vec rounded = clamped * 1.44269504088896341f + shift;
  const Vec n = rounded - shift;
  Vec r = clamped - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  Vec p = all(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const IntVec exponent =
      (reinterpret_cast<const IntVec&>(rounded) - reinterpret_cast<const IntVec&>(shift) + 127)
      << 23;
  const Vec power = reinterpret_cast<const Vec&>(exponent);
  const Vec result = p * power;
  const Vec kept = x < low ? all(0.0f) : result;
  return x != x ? x : kept;  // NaN stays NaN
}

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

// Keys and values of a sequence: keys (by columns) in tiles of 16 tokens, values (by rows) in
// blocks of 64. Where they lie, in one array or in pages of a cache, changes no number: a score is
// one chain over the head, a value one chain over the tokens.
constexpr long kBlockTokens = 64, kTileTokens = 16;

struct Dense {
  const float *columns, *rows;
  long size;
  const float* keys(long tile) const { return columns + tile * kTileTokens * size; }
  const float* values(long block) const { return rows + block * kBlockTokens * size; }
};

struct Paged {
  const float* const* pages;
  long at, values_at, size;
  const float* keys(long tile) const {
    constexpr long kTiles = kBlockTokens / kTileTokens;
    return pages[tile / kTiles] + at + tile % kTiles * kTileTokens * size;
  }
  const float* values(long block) const { return pages[block] + at + values_at; }
};

constexpr long kTileVectors = kTileTokens / kLanes, kTilesTogether = 4 / kTileVectors;

// scores of kHeads queries [kHeads][size] against `count` <= kTiles tiles: scale * query . column.
// Tiles are taken together so that there are chains enough to hide the latency of one.
template <long kHeads, long kTiles>
inline void score_tiles(const float* queries, const float* const* tiles, long count, float* scores,
                        long row, long size, float scale) {
  if constexpr (kTiles > 1)
    if (count < kTiles)
      return score_tiles<kHeads, kTiles - 1>(queries, tiles, count, scores, row, size, scale);
  constexpr long kWide = kTiles * kTileVectors;
  Vec sum[kHeads][kWide] = {};
  for (long e = 0; e < size; ++e) {
    Vec column[kWide];
    for (long v = 0; v < kWide; ++v)
      column[v] = load(tiles[v / kTileVectors] + e * kTileTokens + v % kTileVectors * kLanes);
    for (long h = 0; h < kHeads; ++h) {
      const Vec factor = all(queries[h * size + e]);
      for (long v = 0; v < kWide; ++v) sum[h][v] += factor * column[v];
    }
  }
  for (long h = 0; h < kHeads; ++h)
    for (long v = 0; v < kWide; ++v) store(scores + h * row + v * kLanes, sum[h][v] * scale);
}

// The scores of the tokens [from, to), of a head from where it says and `row` apart. Whole tiles
// are computed: there is room for one before and one behind.
template <long kHeads, class Source>
inline float* score_keys(const float* queries, const Source& source, float* scores, long row,
                         long from, long to, long size, float scale) {
  const long first = from / kTileTokens, last = (to + kTileTokens - 1) / kTileTokens;
  for (long tile = first; tile < last; tile += kTilesTogether) {
    const long count = last - tile < kTilesTogether ? last - tile : kTilesTogether;
    const float* tiles[kTilesTogether];
    for (long i = 0; i < count; ++i) tiles[i] = source.keys(tile + i);
    score_tiles<kHeads, kTilesTogether>(queries, tiles, count,
                                        scores + (tile - first) * kTileTokens, row, size, scale);
  }
  return scores + (from - first * kTileTokens);
}

template <long kNumber>
struct Together {
  static constexpr long kCount = kNumber;
};

// out [kHeads][size] = sum over the tokens [from, to) of weights[j - from] * values j, in order of
// j; weights of a head are `row` apart.
template <long kHeads, class Source>
inline void weighted_values(const float* weights, long row, const Source& source, float* out,
                            long from, long to, long size) {
  const auto each = [&](auto add) __attribute__((always_inline)) {
    for (long j = from; j < to;) {
      const long block = j / kBlockTokens, end = (block + 1) * kBlockTokens;
      const float* rows = source.values(block) - block * kBlockTokens * size;
      for (const long stop = end < to ? end : to; j < stop; ++j)
        add(weights + (j - from), rows + j * size);
    }
  };
  const auto tile = [&](auto wide, long e) __attribute__((always_inline)) {
    constexpr long kWide = decltype(wide)::kCount;
    Vec sum[kHeads][kWide] = {};
    each([&](const float* weight, const float* values) __attribute__((always_inline)) {
      Vec value[kWide];
      for (long v = 0; v < kWide; ++v) value[v] = load(values + e + v * kLanes);
      for (long h = 0; h < kHeads; ++h) {
        const Vec factor = all(weight[h * row]);
        for (long v = 0; v < kWide; ++v) sum[h][v] += factor * value[v];
      }
    });
    for (long h = 0; h < kHeads; ++h)
      for (long v = 0; v < kWide; ++v) store(out + h * size + e + v * kLanes, sum[h][v]);
  };
  long e = 0;
  for (; e + 4 * kLanes <= size; e += 4 * kLanes) tile(Together<4>{}, e);
  for (; e + 2 * kLanes <= size; e += 2 * kLanes) tile(Together<2>{}, e);
  for (; e + kLanes <= size; e += kLanes) tile(Together<1>{}, e);
  for (; e < size; ++e)
    for (long h = 0; h < kHeads; ++h) {
      float sum = 0;
      each([&](const float* weight, const float* values) { sum += weight[h * row] * values[e]; });
      out[h * size + e] = sum;
    }
}

// Scores become weights exp(score - top); returns their sum, and the top. There is room for whole
// vectors.
inline float soften(float* scores, long keys, float& top) {
  for (long j = keys; j % kLanes != 0; ++j) scores[j] = -3.4e38f;
  Vec tops = all(-3.4e38f);
  for (long j = 0; j < keys; j += kLanes) tops = max_of(load(scores + j), tops);
  top = tops[0];
  for (long l = 1; l < kLanes; ++l) top = tops[l] > top ? tops[l] : top;
  Vec sums = {};
  for (long j = 0; j < keys; j += kLanes) {
    const Vec weight = exp_of(load(scores + j) - top);
    store(scores + j, weight);
    sums += weight;
  }
  return sum_of(sums);
}

// kHeads heads of one token, which share keys and values: those are read once. Every head's numbers
// are those of a head alone.
template <long kHeads, class Source>
inline void attend_heads(const float* queries, const Source& source, float* out, float* log_sums,
                         float* scores, long from, long to, long size, float scale) {
  const long row = to - from + 3 * kTileTokens;
  float* seen = score_keys<kHeads>(queries, source, scores, row, from, to, size, scale);
  float total[kHeads];
  for (long h = 0; h < kHeads; ++h) {
    float top = 0;
    total[h] = soften(seen + h * row, to - from, top);
    if (log_sums != nullptr) log_sums[h] = top + __builtin_logf(total[h]);
  }
  weighted_values<kHeads>(seen, row, source, out, from, to, size);
  for (long h = 0; h < kHeads; ++h) {
    const float inverse = 1.0f / total[h];
    for (long e = 0; e < size; ++e) out[h * size + e] *= inverse;
  }
}

// Calls body(Together<n>, first) for heads that share keys and values, up to kHeadsTogether of them
// at a time.
template <class Body>
inline void by_heads(long heads, const Body& body) {
  static_assert(kHeadsTogether == 3);
  for (long h = 0; h < heads;) {
    const long left = heads - h;
    const long count = left == 3 || left > 4 ? 3 : left > 1 ? 2 : 1;
    if (count == 3)
      body(Together<3>{}, h);
    else if (count == 2)
      body(Together<2>{}, h);
    else
      body(Together<1>{}, h);
    h += count;
  }
}

template <class Source>
inline void attend_group(const float* queries, long heads, const Source& source, float* out,
                         float* log_sums, float* scores, long from, long to, long size,
                         float scale) {
  by_heads(heads, [&](auto together, long h) {
    attend_heads<decltype(together)::kCount>(queries + h * size, source, out + h * size,
                                             log_sums == nullptr ? nullptr : log_sums + h, scores,
                                             from, to, size, scale);
  });
}

void attend(const float* queries, long heads, const float* k_columns, const float* v, float* out,
            float* log_sums, float* scores, long from, long to, long size, float scale) {
  attend_group(queries, heads, Dense{k_columns, v, size}, out, log_sums, scores, from, to, size,
               scale);
}

void attend_paged(const float* queries, long heads, const float* const* pages, long at,
                  long values_at, float* out, float* scores, long from, long to, long size,
                  float scale) {
  attend_group(queries, heads, Paged{pages, at, values_at, size}, out, nullptr, scores, from, to,
               size, scale);
}

// Of kHeads heads of one token: weights, then the gradients of the scores and of the queries.
template <long kHeads>
inline void attend_heads_backward(const float* d_out, const float* queries, const Dense& keys,
                                  const Dense& values, const float* out, const float* log_sums,
                                  float* dq, float* weights, float* d_scores, long row,
                                  float* scratch, long from, long to, long size, float scale) {
  const long count = to - from;
  float* products = scratch + kHeads * row;
  const float* scores = score_keys<kHeads>(queries, keys, scratch, row, from, to, size, scale);
  const float* d_weights = score_keys<kHeads>(d_out, values, products, row, from, to, size, 1.0f);
  for (long h = 0; h < kHeads; ++h) {
    const float *s = scores + h * row, *d = d_weights + h * row;
    float *p = weights + h * row, *ds = d_scores + h * row;
    float shared = 0;  // sum over j of p_j dp_j
    for (long e = 0; e < size; ++e) shared += d_out[h * size + e] * out[h * size + e];
    for (long j = 0; j < count; j += kLanes) {
      const long left = count - j < kLanes ? count - j : kLanes;
      const Vec weight = exp_of(load(s + j) - log_sums[h]);
      const Vec d_score = weight * (load(d + j) - shared) * scale;
      if (left == kLanes) {
        store(p + j, weight);
        store(ds + j, d_score);
      } else {
        store_part(p + j, weight, left);
        store_part(ds + j, d_score, left);
      }
    }
  }
  weighted_values<kHeads>(d_scores, row, keys, dq, from, to, size);
}

void attend_backward(const float* d_out, const float* queries, long heads, const float* k_columns,
                     const float* v_columns, const float* k, const float* out,
                     const float* log_sums, float* dq, float* weights, float* d_scores, long row,
                     float* scratch, long from, long to, long size, float scale) {
  const Dense keys{k_columns, k, size}, values{v_columns, nullptr, size};
  by_heads(heads, [&](auto together, long h) {
    constexpr long kHeads = decltype(together)::kCount;
    attend_heads_backward<kHeads>(d_out + h * size, queries + h * size, keys, values,
                                  out + h * size, log_sums + h, dq + h * size, weights + h * row,
                                  d_scores + h * row, row, scratch, from, to, size, scale);
  });
}

// kRows rows and kWide vectors of `out`, each number one chain over the vectors in order.
template <long kRows, long kWide>
inline void add_outer_tile(const float* weights, long row, const float* vectors, long count,
                           float* out, long size) {
  Vec sum[kRows][kWide];
  for (long j = 0; j < kRows; ++j)
    for (long v = 0; v < kWide; ++v) sum[j][v] = load(out + j * size + v * kLanes);
  for (long r = 0; r < count; ++r) {
    Vec value[kWide];
    for (long v = 0; v < kWide; ++v) value[v] = load(vectors + r * size + v * kLanes);
    for (long j = 0; j < kRows; ++j) {
      const Vec factor = all(weights[r * row + j]);
      for (long v = 0; v < kWide; ++v) sum[j][v] += factor * value[v];
    }
  }
  for (long j = 0; j < kRows; ++j)
    for (long v = 0; v < kWide; ++v) store(out + j * size + v * kLanes, sum[j][v]);
}

template <long kRows>
inline void add_outer_rows(const float* weights, long row, const float* vectors, long count,
                           float* out, long size) {
  long e = 0;
  for (; e + 4 * kLanes <= size; e += 4 * kLanes)
    add_outer_tile<kRows, 4>(weights, row, vectors + e, count, out + e, size);
  for (; e + 2 * kLanes <= size; e += 2 * kLanes)
    add_outer_tile<kRows, 2>(weights, row, vectors + e, count, out + e, size);
  for (; e + kLanes <= size; e += kLanes)
    add_outer_tile<kRows, 1>(weights, row, vectors + e, count, out + e, size);
  for (long j = 0; j < kRows; ++j)
    for (long i = e; i < size; ++i)
      for (long r = 0; r < count; ++r)
        out[j * size + i] += weights[r * row + j] * vectors[r * size + i];
}

void add_outer(const float* weights, long row, const float* vectors, long count, float* out,
               long rows, long size) {
  long j = 0;
  for (; j + 4 <= rows; j += 4)
    add_outer_rows<4>(weights + j, row, vectors, count, out + j * size, size);
  for (; j < rows; ++j) add_outer_rows<1>(weights + j, row, vectors, count, out + j * size, size);
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
