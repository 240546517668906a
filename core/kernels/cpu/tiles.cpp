// The products of pairs.cpp by AMX: tiles of 16 rows of 16 words, two bf16 numbers a word.
//
// An element of the result is a chain over blocks of 32 numbers in order; in a block the even
// products and the odd ones are summed by themselves, then both are added (Intel's SDM, TDPBF16PS).
// Numbers below the normal ones count as 0. A row does not depend on how many rows it comes with.
#include <immintrin.h>

#include "core/kernels/cpu/table.h"

namespace vernier::kernels {
namespace {

constexpr long kTile = kPairColumns;       // rows, and words a row
constexpr long kLine = 16, kAhead = 1024;  // words of a cache line; fetched before they are used

struct alignas(64) TileShapes {
  unsigned char palette = 1, start_row = 0, reserved[14] = {};
  unsigned short row_bytes[16] = {};
  unsigned char rows[16] = {};
};

// Tiles: sums of the first 16 rows in 0 and 1, of the others in 2 and 3; rows of a in 4 and 5; the
// panel's in 6 and 7. `rows` is at most 32.
void shape_tiles(long rows) {
  const auto upper = static_cast<unsigned char>(rows < kTile ? rows : kTile);
  const auto lower = static_cast<unsigned char>(rows < kTile ? kTile : rows - kTile);
  const unsigned char of[8] = {upper, upper, lower, lower, upper, lower, kTile, kTile};
  TileShapes shapes;
  for (long i = 0; i < 8; ++i) {
    shapes.rows[i] = of[i] == 0 ? static_cast<unsigned char>(kTile) : of[i];
    shapes.row_bytes[i] = 64;
  }
  __asm__ volatile("" : : "m"(shapes));  // the intrinsic says that it reads 8 bytes; it reads all
  _tile_loadconfig(&shapes);
}

// One or two tiles of rows with one or two of columns: each is loaded once and used twice.
template <bool kLower, bool kRight>
void sum_tiles(const unsigned* a, long a_row, const unsigned* b, float* c, long c_row, long pairs) {
  const long a_tile = kTile * a_row, c_tile = kTile * c_row, b_tile = kTile * pairs;
  _tile_zero(0);
  if constexpr (kRight) _tile_zero(1);
  if constexpr (kLower) _tile_zero(2);
  if constexpr (kLower && kRight) _tile_zero(3);
  for (long k = 0; k < pairs; k += kTile, a += kTile, b += kTile * kTile) {
    for (long word = 0; word < kTile * kTile; word += kLine) __builtin_prefetch(b + kAhead + word);
    _tile_loadd(6, b, kTile * 4);
    _tile_loadd(4, a, a_row * 4);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (kLower) {
      _tile_loadd(5, a + a_tile, a_row * 4);
      _tile_dpbf16ps(2, 5, 6);
    }
    if constexpr (kRight) {
      for (long word = 0; word < kTile * kTile; word += kLine)
        __builtin_prefetch(b + b_tile + kAhead + word);
      _tile_loadd(7, b + b_tile, kTile * 4);
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (kLower && kRight) _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, c, c_row * 4);
  if constexpr (kRight) _tile_stored(1, c + kTile, c_row * 4);
  if constexpr (kLower) _tile_stored(2, c + c_tile, c_row * 4);
  if constexpr (kLower && kRight) _tile_stored(3, c + c_tile + kTile, c_row * 4);
}

}  // namespace

void pairs_amx(const unsigned* a, long a_row, const unsigned* b, float* c, long c_row, long rows,
               long pairs, long columns) {
  constexpr long kRows = 2 * kTile, kColumns = 2 * kTile;
  const bool whole = columns == kColumns, right = columns > kTile;
  long shaped = 0;
  for (long i = 0; i < rows; i += kRows, a += kRows * a_row, c += kRows * c_row) {
    const long count = rows - i < kRows ? rows - i : kRows;
    if (count != shaped) shape_tiles(count);
    shaped = count;
    float sums[kRows * kColumns];
    float* to = whole ? c : sums;
    const long to_row = whole ? c_row : kColumns;
    if (count > kTile)
      (right ? sum_tiles<true, true> : sum_tiles<true, false>)(a, a_row, b, to, to_row, pairs);
    else
      (right ? sum_tiles<false, true> : sum_tiles<false, false>)(a, a_row, b, to, to_row, pairs);
    if (whole) continue;
    for (long row = 0; row < count; ++row)
      for (long j = 0; j < columns; ++j) c[row * c_row + j] = sums[row * kColumns + j];
  }
  _tile_release();
}

}  // namespace vernier::kernels
