#include "core/kernels/adapter.h"

#include <algorithm>
#include <bit>

#include "core/kernels/operand.h"

namespace vernier::kernels {
namespace {

// out [count, columns] = rows of halves times the columns of `b`, rounded again where Half is bf16.
template <class Half>
void multiply_all(const Half* rows, int64_t row, const PackedMatrix& b, int64_t count, Half* out) {
  by_blocks(count, kRowsPerTask, [&](int64_t first, int64_t last) {
    thread_local Room<float> sums;
    float* c = sums.take((last - first) * b.columns);
    multiply(rows + first * row, b, c, last - first, nullptr);
    store(c, (last - first) * b.columns, out + first * b.columns);
  });
}

// B of all parts [rows, stacked] times `scale`, each in columns of its own, zeros elsewhere: one
// product serves all of them, and its panels are fuller than those of one rank.
float* spread_b(const MatrixAdapter<float>& m, float scale, Room<float>& room) {
  const int64_t stacked = m.stacked();
  float* all = room.take(m.rows * stacked);
  std::fill_n(all, m.rows * stacked, 0.0f);
  for (size_t p = 0; p < m.parts.size(); ++p) {
    const AdapterPart<float>& part = m.parts[p];
    float* to = all + part.first_row * stacked + static_cast<int64_t>(p) * m.rank;
    for (int64_t i = 0; i < part.rows; ++i)
      for (int64_t k = 0; k < m.rank; ++k) to[i * stacked + k] = scale * part.b[i * m.rank + k];
  }
  return all;
}

template <class Half>
void gradient(const MatrixAdapter<float>& m, const Half* dy, const Half* x, int64_t tokens,
              AdapterScratch& scratch) {
  const WeightFormat format = kRounded<Half> ? WeightFormat::bf16_pairs : WeightFormat::fp32;
  const int64_t stacked = m.stacked(), dy_row = padded<Half>(m.rows),
                x_row = padded<Half>(m.columns);
  const auto scale = static_cast<float>(m.scale);
  const auto room = [&](Room<std::byte>& bytes) {
    return reinterpret_cast<Half*>(
        bytes.take(tokens * stacked * static_cast<int64_t>(sizeof(Half))));
  };
  float* a = scratch.a.take(stacked * m.columns);
  for (int64_t i = 0; i < stacked * m.columns; ++i) a[i] = scale * m.a[i];
  pack_transposed(a, stacked, m.columns, scratch.packed_a, format);
  pack_plain(spread_b(m, scale, scratch.b), m.rows, stacked, scratch.packed_b, format);
  Half *through_a = room(scratch.through_a), *through_b = room(scratch.through_b);
  multiply_all(x, x_row, scratch.packed_a, tokens, through_a);
  multiply_all(dy, dy_row, scratch.packed_b, tokens, through_b);
  multiply_transposed(through_b, stacked, x, x_row, m.d_a, tokens, stacked, m.columns);

  float* d_b = scratch.b.take(m.rows * stacked);
  std::fill_n(d_b, m.rows * stacked, 0.0f);
  multiply_transposed(dy, dy_row, through_a, stacked, d_b, tokens, m.rows, stacked);
  for (size_t p = 0; p < m.parts.size(); ++p) {
    const AdapterPart<float>& part = m.parts[p];
    const float* from = d_b + part.first_row * stacked + static_cast<int64_t>(p) * m.rank;
    for (int64_t i = 0; i < part.rows; ++i)
      for (int64_t k = 0; k < m.rank; ++k) part.d_b[i * m.rank + k] += from[i * stacked + k];
  }
}

}  // namespace

void merge_adapter(const MatrixAdapter<float>& m, float* w, AdapterScratch& scratch) {
  const auto scale = static_cast<float>(m.scale);
  for (size_t p = 0; p < m.parts.size(); ++p) {
    const AdapterPart<float>& part = m.parts[p];
    float* across = scratch.b.take(m.rank * part.rows);  // scale B^T
    for (int64_t i = 0; i < part.rows; ++i)
      for (int64_t k = 0; k < m.rank; ++k)
        across[k * part.rows + i] = scale * part.b[i * m.rank + k];
    gemm_tn(across, m.a + static_cast<int64_t>(p) * m.rank * m.columns,
            w + part.first_row * m.columns, m.rank, part.rows, m.columns);
  }
}

void adapter_gradient(const MatrixAdapter<float>& adapter, const float* dy, const float* x,
                      int64_t tokens, AdapterScratch& scratch) {
  gradient(adapter, dy, x, tokens, scratch);
}

void adapter_gradient(const MatrixAdapter<float>& adapter, const uint16_t* dy, const uint16_t* x,
                      int64_t tokens, AdapterScratch& scratch) {
  gradient(adapter, dy, x, tokens, scratch);
}

FixedNumbers::FixedNumbers(const float* values, int64_t count)
    : count_(count), rounded_(std::all_of(values, values + count, [](float value) {
        return (std::bit_cast<uint32_t>(value) & 0xFFFF) == 0;
      })) {
  data_ = Buffer(static_cast<size_t>(count) * (rounded_ ? sizeof(uint16_t) : sizeof(float)));
  if (rounded_)
    store(values, count, data_.as<uint16_t>());
  else
    store(values, count, data_.as<float>());
}

void FixedNumbers::copy_to(float* out) const {
  by_blocks(count_, kFloatsPerTask, [&](int64_t first, int64_t last) {
    if (rounded_)
      load(data_.as<uint16_t>() + first, last - first, out + first);
    else
      load(data_.as<float>() + first, last - first, out + first);
  });
}

}  // namespace vernier::kernels
