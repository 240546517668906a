// Products of rows with packed matrices, and of rows with rows.
//
// A number of the result is one chain over the inner dimension, whatever thread computes it and
// whatever rows it comes with.
#include <algorithm>
#include <cstring>
#include <vector>

#include "core/kernels/cpu/build.h"

namespace vernier::kernels {
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

// Rows [rows, inner] in words of two bf16 numbers, as round_rows() leaves them. Lasts until the
// thread asks again.
const uint32_t* pairs_of(const float* a, int64_t rows, int64_t inner, int64_t words) {
  thread_local Room<uint16_t> room;  // on cache lines: tiles are loaded three times as fast
  uint16_t* halves = room.take(2 * words * rows);
  by_rows(rows, inner, [&](int64_t first, int64_t last) {
    round_rows(a + first * inner, last - first, inner, words, halves + 2 * words * first);
  });
  return reinterpret_cast<const uint32_t*>(halves);
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

int64_t gemm_pairs_bytes(int64_t rows, int64_t inner) { return rows * pair_words(inner) * 4; }

void round_rows(const float* a, int64_t rows, int64_t inner, int64_t words, uint16_t* out) {
  for (int64_t i = 0; i < rows; ++i, out += 2 * words) {
    table().round_bf16(a + i * inner, out, inner);
    std::fill(out + inner, out + 2 * words, uint16_t{0});
  }
}

void multiply_rows(const float* a, const uint32_t* pairs, const PackedMatrix& b,
                   int64_t first_panel, int64_t last_panel, float* c, int64_t c_row, int64_t rows,
                   const float* bias) {
  for (int64_t panel = first_panel; panel < last_panel; ++panel) {
    const int64_t column = panel * kPanel, width = std::min(kPanel, b.columns - column);
    float* to = c + (panel - first_panel) * kPanel;
    gemm_panel(a, pairs, b, panel, to, c_row, rows);
    if (bias != nullptr) add_rows(to, c_row, bias + column, 0, rows, width);
  }
}

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

void gemm_unpacked(const float* a, const float* w, WeightFormat format, float* c, int64_t rows,
                   int64_t inner, int64_t columns) {
  const bool rounded = format == WeightFormat::bf16_pairs;
  const uint32_t* pairs = rounded ? pairs_of(a, rows, inner, pair_words(inner)) : nullptr;
  kernel_pool().run(tasks_for(columns, kPanel), [&](int64_t panel) {
    thread_local PackedMatrix packed;
    const int64_t first = panel * kPanel;
    pack_transposed(w + first * inner, std::min(kPanel, columns - first), inner, packed, format);
    gemm_panel(a, pairs, packed, 0, c + first, columns, rows);
  });
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

namespace {

// 16 columns of rows of halves as a product over the rows reads them: word k of a column has rows
// 2k and 2k + 1. Zeros stand where there are fewer rows or columns.
void pack_rows(const uint16_t* from, int64_t row, int64_t rows, int64_t columns, int64_t words,
               uint32_t* to) {
  const int64_t width = std::clamp<int64_t>(columns, 0, kPairColumns);
  for (int64_t k = 0; k < words; ++k, to += kPairColumns) {
    const uint16_t *even = from + 2 * k * row, *odd = even + row;
    const bool both = 2 * k + 1 < rows;
    if (both && width == kPairColumns) {
      for (int64_t j = 0; j < kPairColumns; ++j) to[j] = even[j] | uint32_t{odd[j]} << 16;
      continue;
    }
    for (int64_t j = 0; j < kPairColumns; ++j)
      to[j] = j < width && 2 * k < rows ? even[j] | (both ? uint32_t{odd[j]} << 16 : 0) : 0;
  }
}

// The transpose of `columns` columns of such rows, in words: [columns, stride].
void transpose_rows(const uint16_t* from, int64_t row, int64_t rows, int64_t columns, int64_t words,
                    uint32_t* to, int64_t stride) {
  constexpr int64_t kBlock = kPairColumns;
  alignas(64) uint32_t block[kBlock * kBlock];
  for (int64_t k = 0; k < words; k += kBlock)
    for (int64_t j = 0; j < columns; j += kBlock) {
      pack_rows(from + 2 * k * row + j, row, rows - 2 * k, columns - j, kBlock, block);
      if (columns - j >= kBlock) {
        table().transpose_words(block, to + j * stride + k, stride);
        continue;
      }
      for (int64_t l = 0; l < columns - j; ++l)
        for (int64_t i = 0; i < kBlock; ++i) to[(j + l) * stride + k + i] = block[i * kBlock + l];
    }
}

}  // namespace

namespace {
constexpr int64_t kTogether = 2048;  // rows whose products are one chain
}  // namespace

int64_t gemm_tn_bytes(int64_t rows, int64_t columns_b) {
  return round_up(columns_b, kPanel) * pair_words(std::min(rows, kTogether)) * 4;
}

void gemm_tn(const uint16_t* a, int64_t a_row, const uint16_t* b, int64_t b_row, float* c,
             int64_t rows, int64_t columns_a, int64_t columns_b) {
  constexpr int64_t kOut = 64;  // columns of a that are taken together
  thread_local Room<uint32_t> kept;
  const int64_t panels = tasks_for(columns_b, kPanel);
  for (int64_t start = 0; start < rows; start += kTogether) {
    const int64_t inner = std::min(kTogether, rows - start);
    const int64_t words = pair_words(inner), stride = words + kPairColumns;
    uint32_t* packed = kept.take(gemm_tn_bytes(inner, columns_b) / 4);
    kernel_pool().run(panels, [&](int64_t panel) {
      for (int64_t part = 0; part < kPanel; part += kPairColumns) {
        const int64_t column = panel * kPanel + part;
        pack_rows(b + start * b_row + column, b_row, inner, columns_b - column, words,
                  packed + column * words);
      }
    });
    kernel_pool().run(tasks_for(columns_a, kOut), [&](int64_t task) {
      thread_local Room<uint32_t> room;
      alignas(64) float sums[kOut * kPanel];
      const int64_t first = task * kOut, count = std::min(kOut, columns_a - first);
      uint32_t* left = room.take(kOut * stride);
      transpose_rows(a + start * a_row + first, a_row, inner, count, words, left, stride);
      for (int64_t panel = 0; panel < panels; ++panel) {
        const int64_t column = panel * kPanel, width = std::min(kPanel, columns_b - column);
        build().pairs(left, stride, packed + panel * words * kPanel, sums, kPanel, count, words,
                      width);
        add_rows(c + first * columns_b + column, columns_b, sums, kPanel, count, width);
      }
    });
  }
}

}  // namespace vernier::kernels
