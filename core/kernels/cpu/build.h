// Which build of the inner loops runs, and how the kernels share rows by threads. For the kernels'
// own files.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/base/pool.h"
#include "core/kernels/cpu/table.h"
#include "core/kernels/kernels.h"

namespace vernier::kernels {

struct Build {
  const CpuTable& loops;
  const GemmTable& gemm;
  PairsProduct* pairs;
  const char* name;
  bool prefers_pairs;  // to bf16 weights and fp32 rows
};

/// The one for this processor.
const Build& build();
inline const CpuTable& table() { return build().loops; }

inline constexpr int64_t kRowsPerTask = 64;            // where pieces are added up
inline constexpr int64_t kFloatsPerRowTask = 1 << 13;  // where rows are on their own
inline constexpr int64_t kFloatsPerTask = 1 << 16;

inline int64_t tasks_for(int64_t count, int64_t each) { return (count + each - 1) / each; }

/// Calls body(first, last) for blocks of `each` out of [0, count).
template <class Body>
void by_blocks(int64_t count, int64_t each, const Body& body) {
  kernel_pool().run(tasks_for(count, each),
                    [&](int64_t task) { body(task * each, std::min(count, (task + 1) * each)); });
}

/// The same for rows that are on their own, of `width` numbers each.
template <class Body>
void by_rows(int64_t rows, int64_t width, const Body& body) {
  by_blocks(rows, std::max<int64_t>(1, kFloatsPerRowTask / width), body);
}

/// Rows [rows, inner] in words of two bf16 numbers, filled up with zeros to `words` a row. On the
/// calling thread, as all that follows.
void round_rows(const float* a, int64_t rows, int64_t inner, int64_t words, uint16_t* out);

/// gemm() for a block of rows and the panels [first_panel, last_panel) of the matrix; `pairs` are
/// the rows in words, where the matrix wants them. Rows of c are `c_row` apart, its first column is
/// that of the first panel; `bias` has one number for each column of the matrix.
void multiply_rows(const float* a, const uint32_t* pairs, const PackedMatrix& b,
                   int64_t first_panel, int64_t last_panel, float* c, int64_t c_row, int64_t rows,
                   const float* bias);

/// qk_norm() and its backward pass for a block of rows.
void qk_norm_rows(const float* qkv, const float* q_weight, const float* k_weight, float* out,
                  float* inverse_rms, const AttentionShape& shape, QkNorm kind, int64_t rows,
                  float eps);
void qk_norm_backward_rows(const float* d_out, const float* qkv, const float* q_weight,
                           const float* k_weight, const float* inverse_rms, float* d_qkv,
                           float* dq_weight, float* dk_weight, const AttentionShape& shape,
                           QkNorm kind, int64_t rows);

}  // namespace vernier::kernels
