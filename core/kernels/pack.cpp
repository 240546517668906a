// Matrices in the panels that the CPU kernels read.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/base/errors.h"
#include "core/kernels/cpu/build.h"
#include "core/weights/weights.h"

namespace vernier::kernels {

int64_t PackedMatrix::stride() const {
  if (format == WeightFormat::bf16_pairs) return words() * kPanel * 4;
  const int64_t element = format == WeightFormat::int8 ? 1 : format == WeightFormat::bf16 ? 2 : 4;
  return inner * kPanel * element;
}

namespace {

void shape_pack(PackedMatrix& out, int64_t inner, int64_t columns, WeightFormat format) {
  out.format = format;
  out.inner = inner;
  out.columns = columns;
  const auto bytes = static_cast<size_t>(out.bytes());
  if (out.data.size() != bytes) out.data = Buffer(bytes);
  out.scales.resize(format == WeightFormat::int8 ? static_cast<size_t>(out.panels() * kPanel) : 0);
}

void pack_column(const float* w, int64_t inner, float* panel) {
  for (int64_t k = 0; k < inner; ++k) panel[k * kPanel] = w[k];
}

void pack_column(const float* w, int64_t inner, uint16_t* panel) {
  for (int64_t k = 0; k < inner; ++k) panel[k * kPanel] = to_bf16(w[k]);
}

void pack_column(const float* w, int64_t inner, uint32_t* panel) {
  for (int64_t k = 0; k < inner; k += 2)
    panel[k / 2 * kPairColumns] =
        to_bf16(w[k]) | (k + 1 < inner ? uint32_t{to_bf16(w[k + 1])} << 16 : 0);
}

// Returns the scale. Numbers that are not finite have none: NaN, which every product shows.
float pack_column(const float* w, int64_t inner, int8_t* panel) {
  float largest = 0;
  for (int64_t k = 0; k < inner; ++k) largest = std::max(largest, std::abs(w[k]));
  if (!all_finite(w, inner)) return std::numeric_limits<float>::quiet_NaN();
  const float inverse = largest > 0 ? 127.0f / largest : 0.0f;
  for (int64_t k = 0; k < inner; ++k)
    panel[k * kPanel] = static_cast<int8_t>(std::lrint(w[k] * inverse));
  return largest / 127.0f;
}

// A panel of `width` columns of w, whose rows are `row` apart; word k of a column has rows 2k and
// 2k + 1.
void pack_plain_pairs(const float* w, int64_t inner, int64_t row, int64_t width, int64_t words,
                      uint32_t* panel) {
  uint16_t halves[2][kPanel] = {};
  for (int64_t k = 0; k < words; ++k) {
    for (int64_t i = 0; i < 2; ++i) {
      if (2 * k + i < inner)
        table().round_bf16(w + (2 * k + i) * row, halves[i], width);
      else
        std::fill_n(halves[i], kPanel, uint16_t{0});
    }
    for (int64_t part = 0; part < kPanel; part += kPairColumns)
      for (int64_t j = 0; j < kPairColumns; ++j)
        panel[(part * words) + k * kPairColumns + j] =
            halves[0][part + j] | uint32_t{halves[1][part + j]} << 16;
  }
}

}  // namespace

void pack_transposed(const float* w, int64_t columns, int64_t inner, PackedMatrix& out,
                     WeightFormat format) {
  shape_pack(out, inner, columns, format);
  kernel_pool().run(out.panels(), [&](int64_t panel) {
    const int64_t bytes = panel * out.stride();
    for (int64_t j = 0; j < std::min(kPanel, columns - panel * kPanel); ++j) {
      const int64_t column = panel * kPanel + j;
      const float* from = w + column * inner;
      if (format == WeightFormat::fp32)
        pack_column(from, inner, out.data.as<float>() + bytes / 4 + j);
      else if (format == WeightFormat::bf16)
        pack_column(from, inner, out.data.as<uint16_t>() + bytes / 2 + j);
      else if (format == WeightFormat::bf16_pairs)
        pack_column(from, inner,
                    out.data.as<uint32_t>() + bytes / 4 + j % kPairColumns +
                        j / kPairColumns * kPairColumns * out.words());
      else
        out.scales[static_cast<size_t>(column)] =
            pack_column(from, inner, out.data.as<int8_t>() + bytes + j);
    }
  });
}

void pack_plain(const float* w, int64_t inner, int64_t columns, PackedMatrix& out,
                WeightFormat format) {
  ensure(format == WeightFormat::fp32 || format == WeightFormat::bf16_pairs,
         "a format of training");
  shape_pack(out, inner, columns, format);
  kernel_pool().run(out.panels(), [&](int64_t panel) {
    const int64_t first = panel * kPanel, width = std::min(kPanel, columns - first);
    const int64_t at = panel * out.stride() / 4;
    if (format == WeightFormat::bf16_pairs)
      return pack_plain_pairs(w + first, inner, columns, width, out.words(),
                              out.data.as<uint32_t>() + at);
    for (int64_t k = 0; k < inner; ++k)
      std::memcpy(out.data.as<float>() + at + k * kPanel, w + k * columns + first,
                  sizeof(float) * width);
  });
}

}  // namespace vernier::kernels
