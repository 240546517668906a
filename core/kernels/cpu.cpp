// The fast CPU kernels: which build of the inner loops runs, and how rows are shared by threads.
//
// However the work is cut, a number of the result comes from one thread, or from pieces that sizes
// alone define and that are added in order: the same bits with one thread or with many.
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/base/errors.h"
#include "core/base/pool.h"
#include "core/kernels/cpu/table.h"
#include "core/kernels/kernels.h"
#include "core/weights/weights.h"

namespace vernier::kernels {
namespace {

struct Build {
  const CpuTable& loops;
  const GemmTable& gemm;
  PairsProduct* pairs;
  const char* name;
  bool prefers_pairs;  // to bf16 weights and fp32 rows
};

#if defined(__x86_64__)
// The registers of tiles are lent on request, to all threads of the process.
bool may_use_tiles() {
  constexpr int kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return __builtin_cpu_supports("amx-tile") && __builtin_cpu_supports("amx-bf16") &&
         ::syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
}
#endif

Build choose_build() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq")) {
    if (may_use_tiles()) return {kTableAvx512, kGemmAvx512, pairs_amx, "avx512+amx", true};
    if (!__builtin_cpu_supports("avx512bf16"))
      return {kTableAvx512, kGemmAvx512, pairs_avx512, "avx512", false};
    // Twice the sums of fp32 on AMD's processors, half of them on the Intel one that was measured.
    const bool fast = __builtin_cpu_is("amd");
    return {kTableAvx512, kGemmAvx512, pairs_avx512bf16, "avx512+bf16", fast};
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    return {kTableAvx2, kGemmAvx2, pairs_avx2, "avx2", false};
#endif
  return {kTableBase, kGemmBase, pairs_base, "x86-64", false};
}

const Build& build() {
  static const Build chosen = choose_build();
  return chosen;
}
const CpuTable& table() { return build().loops; }

constexpr int64_t kRowsPerTask = 64;            // where pieces are added up
constexpr int64_t kFloatsPerRowTask = 1 << 13;  // where rows are on their own
constexpr int64_t kFloatsPerTask = 1 << 16;

int64_t tasks_for(int64_t count, int64_t each) { return (count + each - 1) / each; }

// Calls body(first, last) for blocks of `each` out of [0, count).
template <class Body>
void by_blocks(int64_t count, int64_t each, const Body& body) {
  kernel_pool().run(tasks_for(count, each),
                    [&](int64_t task) { body(task * each, std::min(count, (task + 1) * each)); });
}

// The same for rows that are on their own, of `width` numbers each.
template <class Body>
void by_rows(int64_t rows, int64_t width, const Body& body) {
  by_blocks(rows, std::max<int64_t>(1, kFloatsPerRowTask / width), body);
}

// Keys (or values) of one head of a segment by columns, in tiles of kKeyTile tokens; zeros behind
// them.
void transpose_head(const float* rows, int64_t row_stride, int64_t count, int64_t size,
                    std::vector<float>& columns) {
  columns.assign(static_cast<size_t>(round_up(count, kKeyTile) * size), 0.0f);
  for (int64_t j = 0; j < count; ++j)
    for (int64_t e = 0; e < size; ++e) columns[key_at(j, e, size)] = rows[j * row_stride + e];
}

void dense_head(const float* rows, int64_t row_stride, int64_t count, int64_t size,
                std::vector<float>& dense) {
  dense.resize(static_cast<size_t>(count * size));
  for (int64_t j = 0; j < count; ++j)
    std::memcpy(&dense[j * size], rows + j * row_stride, sizeof(float) * size);
}

}  // namespace

const char* instruction_set() { return build().name; }

WeightFormat bf16_format() {
  return build().prefers_pairs ? WeightFormat::bf16_pairs : WeightFormat::bf16;
}

namespace {

// Rows times one panel; c is [rows, 32] inside rows of `c_row`. `pairs` are the rows in bf16, where
// the panel wants them.
void gemm_panel(const float* a, const uint32_t* pairs, const PackedMatrix& b, int64_t panel,
                float* c, int64_t c_row, int64_t rows) {
  const int64_t first = panel * kPanel, width = std::min(kPanel, b.columns - first);
  const int64_t bytes = panel * b.stride();
  const GemmTable& strips = build().gemm;
  switch (b.format) {
    case WeightFormat::fp32:
      return strips.fp32(a, b.inner, 1, b.data.as<float>() + bytes / 4, kPanel, c, c_row, rows,
                         b.inner, width, false);
    case WeightFormat::bf16:
      return strips.bf16(a, b.inner, b.data.as<uint16_t>() + bytes / 2, c, c_row, rows, b.inner,
                         width);
    case WeightFormat::int8:
      return strips.int8(a, b.inner, b.data.as<int8_t>() + bytes, &b.scales[first], c, c_row, rows,
                         b.inner, width);
    case WeightFormat::bf16_pairs:
      return build().pairs(pairs, b.words(), b.data.as<uint32_t>() + bytes / 4, c, c_row, rows,
                           b.words(), width);
  }
}

// to += from, row by row; a row that serves all of them has a step of 0.
void add_rows(float* to, int64_t to_row, const float* from, int64_t from_row, int64_t rows,
              int64_t width) {
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < width; ++j) to[i * to_row + j] += from[i * from_row + j];
}

// Rows [rows, inner] in words of two bf16 numbers, filled up with zeros to `words` a row. Lasts
// until the thread asks again.
const uint32_t* pairs_of(const float* a, int64_t rows, int64_t inner, int64_t words) {
  thread_local std::vector<uint16_t> halves;
  halves.resize(static_cast<size_t>(2 * words * rows));
  by_rows(rows, inner, [&, out = halves.data()](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      table().round_bf16(a + i * inner, out + 2 * words * i, inner);
      std::fill(out + 2 * words * i + inner, out + 2 * words * (i + 1), uint16_t{0});
    }
  });
  return reinterpret_cast<const uint32_t*>(halves.data());
}

// Calls body(rows of a, the same in bf16, first row, rows, panel) for all rows and the first
// `panels` panels of b.
template <class Body>
void by_panels(const float* a, const PackedMatrix& b, int64_t rows, int64_t panels,
               const Body& body) {
  // Few rows: threads share the panels, which are read once. Many rows: they share the rows, in
  // blocks that stay in the second-level cache while the panels pass.
  const int64_t inner = std::max<int64_t>(b.inner, 1), words = b.words();
  const int64_t fitting = (int64_t{96} << 10) / inner;  // rows of fp32
  const int64_t row_block = words > 0 ? std::clamp<int64_t>(2 * fitting, 64, 256) / 64 * 64
                                      : std::clamp<int64_t>(fitting, 24, 240);
  const int64_t row_tasks = tasks_for(rows, row_block);
  const int64_t panel_block = row_tasks >= 2 * kernel_pool().threads()
                                  ? panels
                                  : std::max<int64_t>(1, (kFloatsPerTask / kPanel) / inner);
  const int64_t panel_tasks = tasks_for(panels, panel_block);
  const uint32_t* pairs = words > 0 ? pairs_of(a, rows, b.inner, words) : nullptr;
  kernel_pool().run(row_tasks * panel_tasks, [&](int64_t task) {
    const int64_t first_row = task / panel_tasks * row_block;
    const int64_t count = std::min(row_block, rows - first_row);
    const int64_t first_panel = task % panel_tasks * panel_block;
    const int64_t last_panel = std::min(panels, first_panel + panel_block);
    for (int64_t panel = first_panel; panel < last_panel; ++panel)
      body(a + first_row * b.inner, pairs + first_row * words, first_row, count, panel);
  });
}

}  // namespace

void gemm(const float* a, const PackedMatrix& b, float* c, int64_t rows, const float* bias,
          bool accumulate) {
  const auto panel_of = [&](const float* in, const uint32_t* pairs, int64_t first, int64_t count,
                            int64_t panel) {
    thread_local std::vector<float> sums;
    const int64_t column = panel * kPanel, width = std::min(kPanel, b.columns - column);
    float *out = c + first * b.columns + column, *to = out;
    if (accumulate) {
      sums.resize(static_cast<size_t>(count * kPanel));
      to = sums.data();
    }
    const int64_t to_row = accumulate ? kPanel : b.columns;
    gemm_panel(in, pairs, b, panel, to, to_row, count);
    if (bias != nullptr) add_rows(to, to_row, bias + column, 0, count, width);
    if (accumulate) add_rows(out, b.columns, to, kPanel, count, width);
  };
  by_panels(a, b, rows, b.panels(), panel_of);
}

void gemm_swiglu(const float* a, const PackedMatrix& b, float* y, int64_t rows, const float* bias) {
  const int64_t width = b.columns / 2, half = width / kPanel;
  if (width % kPanel != 0) {  // a panel has columns of both halves
    thread_local std::vector<float> gate_up;
    gate_up.resize(static_cast<size_t>(rows * b.columns));
    gemm(a, b, gate_up.data(), rows, bias);
    return swiglu(gate_up.data(), y, rows, width);
  }
  const auto panel_of = [&](const float* in, const uint32_t* pairs, int64_t first, int64_t count,
                            int64_t panel) {
    thread_local std::vector<float> gate_up;
    gate_up.resize(static_cast<size_t>(count * 2 * kPanel));
    for (const int64_t part : {0, 1}) {
      float* to = gate_up.data() + part * kPanel;
      gemm_panel(in, pairs, b, part * half + panel, to, 2 * kPanel, count);
      if (bias != nullptr)
        add_rows(to, 2 * kPanel, bias + part * width + panel * kPanel, 0, count, kPanel);
    }
    table().swiglu(gate_up.data(), y + first * width + panel * kPanel, width, count, kPanel);
  };
  by_panels(a, b, rows, half, panel_of);
}

void gemm_tn(const float* a, const float* b, float* c, int64_t rows, int64_t columns_a,
             int64_t columns_b) {
  constexpr int64_t kInnerBlock = 256;  // rows of a and b that stay in cache together
  // Large blocks read b less often; a small matrix would be too few of them to share.
  const int64_t out_rows = columns_a < 480 ? 24 : 48;
  const int64_t panels = tasks_for(columns_b, kPanel), out_tasks = tasks_for(columns_a, out_rows);
  kernel_pool().run(out_tasks, [&](int64_t task) {
    thread_local std::vector<float> tail;
    const int64_t first = task * out_rows, count = std::min(out_rows, columns_a - first);
    for (int64_t start = 0; start < rows; start += kInnerBlock) {
      const int64_t inner = std::min(kInnerBlock, rows - start);
      for (int64_t panel = 0; panel < panels; ++panel) {
        const int64_t column = panel * kPanel, width = std::min(kPanel, columns_b - column);
        const float* source = b + start * columns_b + column;
        int64_t stride = columns_b;
        if (width < kPanel) {  // a whole panel is read: give it zeros past the edge
          tail.assign(static_cast<size_t>(inner * kPanel), 0.0f);
          for (int64_t k = 0; k < inner; ++k)
            std::memcpy(&tail[k * kPanel], source + k * columns_b, sizeof(float) * width);
          source = tail.data();
          stride = kPanel;
        }
        build().gemm.fp32(a + start * columns_a + first, 1, columns_a, source, stride,
                          c + first * columns_b + column, columns_b, count, inner, width, true);
      }
    }
  });
}

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

void swiglu_backward(const float* dy, const float* gate_up, float* d_gate_up, int64_t rows,
                     int64_t width) {
  by_rows(rows, 2 * width, [&](int64_t first, int64_t last) {
    table().swiglu_backward(dy + first * width, gate_up + first * 2 * width,
                            d_gate_up + first * 2 * width, last - first, width);
  });
}

void add_bias_backward(const float* dy, float* d_bias, int64_t rows, int64_t width) {
  constexpr int64_t kColumns =
      256;  // a thread sums whole columns, so the order is that of the rows
  by_blocks(width, kColumns, [&](int64_t first, int64_t last) {
    for (int64_t t = 0; t < rows; ++t)
      for (int64_t i = first; i < last; ++i) d_bias[i] += dy[t * width + i];
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

void qk_norm(const float* qkv, const float* q_weight, const float* k_weight, float* out,
             float* inverse_rms, const AttentionShape& shape, QkNorm kind, int64_t rows,
             float eps) {
  const int64_t row = shape.row(), norms = qk_norms(shape, kind);
  const auto [q, k] = norm_parts(shape, kind);
  const int64_t values = k.offset + k.count * k.width;
  by_rows(rows, row, [&](int64_t first, int64_t last) {
    for (int64_t t = first; t < last; ++t) {
      const float* in = qkv + t * row;
      float *to = out + t * row, *means = inverse_rms + t * norms;
      table().rms_norm(in, q_weight, to, means, q.count, q.width, eps);
      table().rms_norm(in + k.offset, k_weight, to + k.offset, means + k.first_mean, k.count,
                       k.width, eps);
      std::copy(in + values, in + row, to + values);
    }
  });
}

void qk_norm_backward(const float* d_out, const float* qkv, const float* q_weight,
                      const float* k_weight, const float* inverse_rms, float* d_qkv,
                      float* dq_weight, float* dk_weight, const AttentionShape& shape, QkNorm kind,
                      int64_t rows) {
  const int64_t row = shape.row(), norms = qk_norms(shape, kind);
  const auto [q, k] = norm_parts(shape, kind);
  const int64_t values = k.offset + k.count * k.width, weights = q.width + k.width;
  std::vector<float> partial(static_cast<size_t>(tasks_for(rows, kRowsPerTask) * weights), 0.0f);
  by_blocks(rows, kRowsPerTask, [&](int64_t first, int64_t last) {
    float* sums = &partial[static_cast<size_t>(first / kRowsPerTask * weights)];
    for (int64_t t = first; t < last; ++t) {
      const float *d = d_out + t * row, *in = qkv + t * row, *means = inverse_rms + t * norms;
      float* to = d_qkv + t * row;
      table().rms_norm_backward(d, in, q_weight, means, to, sums, q.count, q.width);
      table().rms_norm_backward(d + k.offset, in + k.offset, k_weight, means + k.first_mean,
                                to + k.offset, sums + q.width, k.count, k.width);
      std::copy(d + values, d + row, to + values);
    }
  });
  for (size_t task = 0; task < partial.size(); task += static_cast<size_t>(weights)) {
    for (int64_t i = 0; i < q.width; ++i) dq_weight[i] += partial[task + static_cast<size_t>(i)];
    for (int64_t i = 0; i < k.width; ++i)
      dk_weight[i] += partial[task + static_cast<size_t>(q.width + i)];
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

void attention(const float* qkv, const int32_t* starts, int64_t segments, float* out,
               float* log_sum, const AttentionShape& shape) {
  const int64_t size = shape.head_size, row = shape.row(), out_row = shape.heads * size;
  const float scale = 1.0f / std::sqrt(static_cast<float>(size));
  kernel_pool().run(segments * shape.kv_heads, [&](int64_t task) {
    thread_local std::vector<float> columns, values, scores;
    const int64_t segment = task / shape.kv_heads, kv = task % shape.kv_heads;
    const int64_t first = starts[segment], count = starts[segment + 1] - first;
    const float* keys = qkv + first * row + (shape.heads + kv) * size;
    transpose_head(keys, row, count, size, columns);
    dense_head(keys + shape.kv_heads * size, row, count, size, values);
    scores.resize(static_cast<size_t>(kHeadsTogether * (count + 3 * kKeyTile)));
    const int64_t h = kv * shape.group();
    for (int64_t t = 0; t < count; ++t)
      table().attend(qkv + (first + t) * row + h * size, shape.group(), columns.data(),
                     values.data(), out + (first + t) * out_row + h * size,
                     log_sum + (first + t) * shape.heads + h, scores.data(), shape.first_seen(t),
                     t + 1, size, scale);
  });
}

void attention_backward(const float* d_out, const float* qkv, const float* out,
                        const float* log_sum, const int32_t* starts, int64_t segments, float* d_qkv,
                        const AttentionShape& shape) {
  const int64_t size = shape.head_size, row = shape.row(), out_row = shape.heads * size;
  const float scale = 1.0f / std::sqrt(static_cast<float>(size));
  kernel_pool().run(segments * shape.kv_heads, [&](int64_t task) {
    thread_local std::vector<float> k_columns, v_columns, k_rows, dk, dv, scores, d_scores;
    const int64_t segment = task / shape.kv_heads, kv = task % shape.kv_heads;
    const int64_t first = starts[segment], count = starts[segment + 1] - first;
    const int64_t keys_at = (shape.heads + kv) * size, values_at = keys_at + shape.kv_heads * size;
    transpose_head(qkv + first * row + keys_at, row, count, size, k_columns);
    transpose_head(qkv + first * row + values_at, row, count, size, v_columns);
    dense_head(qkv + first * row + keys_at, row, count, size, k_rows);
    dk.assign(static_cast<size_t>(count * size), 0.0f);
    dv.assign(static_cast<size_t>(count * size), 0.0f);
    scores.resize(static_cast<size_t>(count + 3 * kKeyTile));
    d_scores.resize(scores.size());
    for (int64_t h = kv * shape.group(); h < (kv + 1) * shape.group(); ++h)
      for (int64_t t = 0; t < count; ++t) {
        const int64_t at = (first + t) * out_row + h * size;
        table().attend_backward(
            d_out + at, qkv + (first + t) * row + h * size, k_columns.data(), v_columns.data(),
            k_rows.data(), out + at, log_sum[(first + t) * shape.heads + h],
            d_qkv + (first + t) * row + h * size, dk.data(), dv.data(), scores.data(),
            d_scores.data(), shape.first_seen(t), t + 1, size, scale);
      }
    for (int64_t t = 0; t < count; ++t) {
      float* to = d_qkv + (first + t) * row;
      std::memcpy(to + keys_at, &dk[t * size], sizeof(float) * size);
      std::memcpy(to + values_at, &dv[t * size], sizeof(float) * size);
    }
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
                     int64_t count, float* out, const AttentionShape& shape) {
  const auto parts = parts_of(spans, count, 32);
  const int64_t size = shape.head_size, values_at = shape.kv_heads * size * kKeyBlock;
  const float scale = 1.0f / std::sqrt(static_cast<float>(size));
  kernel_pool().run(std::ssize(parts), [&](int64_t task) {
    thread_local std::vector<float> scores;
    thread_local std::vector<const float*> pages;
    const PagedSpan& part = parts[static_cast<size_t>(task)];
    const int64_t blocks = tasks_for(part.first + part.count, kKeyBlock);
    pages.clear();
    for (int64_t i = 0; i < blocks; ++i) pages.push_back(cache.base + part.pages[i] * cache.stride);
    scores.resize(static_cast<size_t>(kHeadsTogether * (blocks + 1) * kKeyBlock));
    for (int64_t kv = 0; kv < shape.kv_heads; ++kv)
      for (int64_t t = 0; t < part.count; ++t) {
        const int64_t token = part.first + t, h = kv * shape.group();
        table().attend_paged(qkv + (part.row + t) * shape.row() + h * size, shape.group(),
                             pages.data(), kv * size * kKeyBlock, values_at,
                             out + ((part.row + t) * shape.heads + h) * size, scores.data(),
                             shape.first_seen(token), token + 1, size, scale);
      }
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

void log_softmax_backward(float* logits, const int32_t* targets, float scale, const float* log_sum,
                          const float* entropy, const float* d_logprob, const float* d_entropy,
                          int64_t rows, int64_t vocabulary) {
  by_blocks(rows, std::max<int64_t>(1, kFloatsPerTask / vocabulary), [&](int64_t a, int64_t b) {
    for (int64_t t = a; t < b; ++t)
      table().log_softmax_backward(logits + t * vocabulary, targets[t], scale, log_sum[t],
                                   entropy[t], d_logprob[t], d_entropy[t], vocabulary);
  });
}

void adamw(float* weights, const float* gradient, float* moment1, float* moment2, int64_t count,
           const AdamStep& step) {
  const auto correction = [&](double beta) {
    return static_cast<float>(1.0 - std::pow(beta, static_cast<double>(step.step)));
  };
  by_blocks(count, kFloatsPerTask, [&](int64_t a, int64_t b) {
    table().adamw(weights + a, gradient + a, moment1 + a, moment2 + a, b - a,
                  static_cast<float>(step.learning_rate), static_cast<float>(step.beta1),
                  static_cast<float>(step.beta2), static_cast<float>(step.eps),
                  static_cast<float>(step.weight_decay), correction(step.beta1),
                  correction(step.beta2), static_cast<float>(step.grad_scale));
  });
}

bool all_finite(const float* values, int64_t count) {
  uint32_t largest = 0;  // magnitudes of floats are ordered like their bits
  for (int64_t i = 0; i < count; ++i)
    largest = std::max(largest, std::bit_cast<uint32_t>(values[i]) & 0x7FFFFFFF);
  return largest < 0x7F800000;
}

double sum_of_squares(const float* values, int64_t count) {
  std::vector<double> partial(static_cast<size_t>(tasks_for(count, kFloatsPerTask)));
  by_blocks(count, kFloatsPerTask, [&](int64_t a, int64_t b) {
    partial[static_cast<size_t>(a / kFloatsPerTask)] = table().sum_of_squares(values + a, b - a);
  });
  double total = 0;
  for (const double part : partial) total += part;
  return total;
}

}  // namespace vernier::kernels
