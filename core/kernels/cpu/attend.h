// The inner loops of attention, of loops.cpp alone: it compiles them once for each instruction set.
#pragma once

#include "core/kernels/cpu/table.h"
#include "core/kernels/cpu/vector.h"

namespace vernier::kernels {
namespace {

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

// Scores of `count` tokens, the last of them the one that looks, less its head's slope for each
// token of distance (ALiBi).
template <long kHeads>
inline void lean(float* scores, long row, const float* slopes, long count) {
  for (long h = 0; h < kHeads; ++h)
    for (long j = 0; j < count; ++j)
      scores[h * row + j] -= slopes[h] * static_cast<float>(count - 1 - j);
}

// kHeads heads of one token, which share keys and values: those are read once. Every head's numbers
// are those of a head alone.
template <long kHeads, class Source>
inline void attend_heads(const float* queries, const Source& source, float* out, float* log_sums,
                         float* scores, const float* slopes, long from, long to, long size,
                         float scale) {
  const long row = to - from + 3 * kTileTokens;
  float* seen = score_keys<kHeads>(queries, source, scores, row, from, to, size, scale);
  if (slopes != nullptr) lean<kHeads>(seen, row, slopes, to - from);
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
                         float* log_sums, float* scores, const float* slopes, long from, long to,
                         long size, float scale) {
  by_heads(heads, [&](auto together, long h) {
    attend_heads<decltype(together)::kCount>(
        queries + h * size, source, out + h * size, log_sums == nullptr ? nullptr : log_sums + h,
        scores, slopes == nullptr ? nullptr : slopes + h, from, to, size, scale);
  });
}

void attend(const float* queries, long heads, const float* k_columns, const float* v, float* out,
            float* log_sums, float* scores, const float* slopes, long from, long to, long size,
            float scale) {
  attend_group(queries, heads, Dense{k_columns, v, size}, out, log_sums, scores, slopes, from, to,
               size, scale);
}

void attend_paged(const float* queries, long heads, const float* const* pages, long at,
                  long values_at, float* out, float* log_sums, float* scores, const float* slopes,
                  long from, long to, long size, float scale) {
  attend_group(queries, heads, Paged{pages, at, values_at, size}, out, log_sums, scores, slopes,
               from, to, size, scale);
}

// Of kHeads heads of one token: weights, then the gradients of the scores and of the queries.
template <long kHeads>
inline void attend_heads_backward(const float* d_out, const float* queries, const Dense& keys,
                                  const Dense& values, const float* out, const float* log_sums,
                                  float* dq, float* weights, float* d_scores, long row,
                                  float* scratch, const float* slopes, long from, long to,
                                  long size, float scale) {
  const long count = to - from;
  float* products = scratch + kHeads * row;
  float* scores = score_keys<kHeads>(queries, keys, scratch, row, from, to, size, scale);
  if (slopes != nullptr) lean<kHeads>(scores, row, slopes, count);
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
                     float* scratch, const float* slopes, long from, long to, long size,
                     float scale) {
  const Dense keys{k_columns, k, size}, values{v_columns, nullptr, size};
  by_heads(heads, [&](auto together, long h) {
    constexpr long kHeads = decltype(together)::kCount;
    attend_heads_backward<kHeads>(d_out + h * size, queries + h * size, keys, values,
                                  out + h * size, log_sums + h, dq + h * size, weights + h * row,
                                  d_scores + h * row, row, scratch,
                                  slopes == nullptr ? nullptr : slopes + h, from, to, size, scale);
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

}  // namespace
}  // namespace vernier::kernels
