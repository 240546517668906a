// The products of pairs.cpp by AMX: tiles of 16 rows of 16 words, two bf16 numbers a word.
//
// An element of the result is a chain over blocks of 32 numbers in order; in a block the even
// products and the odd ones are summed by themselves, then both are added (Intel's SDM, TDPBF16PS).
// Numbers below the normal ones count as 0. A row does not depend on how many rows it comes with.
#include <immintrin.h>

#include "core/kernels/cpu/table.h"

namespace vernier::kernels {
namespace {

constexpr long kPanelWidth = 32, kTile = 16;  // columns; rows, and words a row
constexpr long kLine = 16, kAhead = 1024;     // words of a cache line; fetched before they are used

struct alignas(64) TileShapes {
  unsigned char palette = 1, start_row = 0, reserved[14] = {};
  unsigned short row_bytes[16] = {};
  unsigned char rows[16] = {};
};

// Tiles: sums of the upper rows in 0 (left columns) and 1, of the lower rows in 2 and 3; rows of a
// in 4 and 5; the panel's in 6 and 7.
void shape_tiles(long upper, long lower) {
  TileShapes shapes;
  const long rows[8] = {upper, upper, lower, lower, upper, lower, kTile, kTile};
  for (int i = 0; i < 8; ++i) {
    shapes.rows[i] = static_cast<unsigned char>(rows[i]);
    shapes.row_bytes[i] = rows[i] > 0 ? 64 : 0;
  }
  __asm__ volatile("" : : "m"(shapes));  // the intrinsic says that it reads 8 bytes; it reads all
  _tile_loadconfig(&shapes);
}

template <bool kLower>
void block(const unsigned* a, long a_row, const unsigned* b, float* c, long c_row, long pairs) {
  _tile_zero(0);
  _tile_zero(1);
  if constexpr (kLower) {
    _tile_zero(2);
    _tile_zero(3);
  }
  for (long k = 0; k < pairs; k += kTile, b += kTile * kPanelWidth) {
    for (long word = 0; word < kTile * kPanelWidth; word += kLine)
      __builtin_prefetch(b + kAhead + word);
    _tile_loadd(6, b, kPanelWidth * 4);
    _tile_loadd(7, b + kTile, kPanelWidth * 4);
    _tile_loadd(4, a + k, a_row * 4);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    if constexpr (kLower) {
      _tile_loadd(5, a + kTile * a_row + k, a_row * 4);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, c, c_row * 4);
  _tile_stored(1, c + kTile, c_row * 4);
  if constexpr (kLower) {
    _tile_stored(2, c + kTile * c_row, c_row * 4);
    _tile_stored(3, c + kTile * c_row + kTile, c_row * 4);
  }
}

}  // namespace

void pairs_amx(const unsigned* a, long a_row, const unsigned* b, float* c, long c_row, long rows,
               long pairs, long columns) {
  long shaped = 0;
  for (long i = 0; i < rows; i += 2 * kTile, a += 2 * kTile * a_row, c += 2 * kTile * c_row) {
    const long count = rows - i < 2 * kTile ? rows - i : 2 * kTile;
    if (count != shaped)
      shape_tiles(count < kTile ? count : kTile, count > kTile ? count - kTile : 0);
    shaped = count;
    float whole[2 * kTile * kPanelWidth];
    float* to = columns == kPanelWidth ? c : whole;
    const long to_row = columns == kPanelWidth ? c_row : kPanelWidth;
    if (count > kTile)
      block<true>(a, a_row, b, to, to_row, pairs);
    else
      block<false>(a, a_row, b, to, to_row, pairs);
    if (to == c) continue;
    for (long row = 0; row < count; ++row)
      for (long j = 0; j < columns; ++j) c[row * c_row + j] = whole[row * kPanelWidth + j];
  }
  _tile_release();
}

}  // namespace vernier::kernels
