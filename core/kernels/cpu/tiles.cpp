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
constexpr long kMost = 4;                  // tiles of rows that are summed together
constexpr long kLine = 16, kAhead = 1024;  // words of a cache line; fetched before they are used

struct alignas(64) TileShapes {
  unsigned char palette = 1, start_row = 0, reserved[14] = {};
  unsigned short row_bytes[16] = {};
  unsigned char rows[16] = {};
};

// Tiles: sums in 0 to 3; rows of a in 4, the last of them, which may be fewer, in 5; the panel's
// in 6.
void shape_tiles(long rows) {
  const long last = (rows - 1) / kTile, left = rows - last * kTile;
  TileShapes shapes;
  for (long i = 0; i < 7; ++i) {
    shapes.rows[i] = static_cast<unsigned char>(i == last || i == 5 ? left : kTile);
    shapes.row_bytes[i] = 64;
  }
  __asm__ volatile("" : : "m"(shapes));  // the intrinsic says that it reads 8 bytes; it reads all
  _tile_loadconfig(&shapes);
}

// 16 columns for kTiles tiles of rows, all of them at once: the panel is read once.
template <long kTiles>
void sum_columns(const unsigned* a, long a_row, const unsigned* b, float* c, long c_row,
                 long pairs) {
  const long a_tile = kTile * a_row, c_tile = kTile * c_row;
  _tile_zero(0);
  if constexpr (kTiles > 1) _tile_zero(1);
  if constexpr (kTiles > 2) _tile_zero(2);
  if constexpr (kTiles > 3) _tile_zero(3);
  for (long k = 0; k < pairs; k += kTile, a += kTile, b += kTile * kTile) {
    for (long word = 0; word < kTile * kTile; word += kLine) __builtin_prefetch(b + kAhead + word);
    _tile_loadd(6, b, kTile * 4);
    if constexpr (kTiles > 1) {
      _tile_loadd(4, a, a_row * 4);
      _tile_dpbf16ps(0, 4, 6);
    }
    if constexpr (kTiles > 2) {
      _tile_loadd(4, a + a_tile, a_row * 4);
      _tile_dpbf16ps(1, 4, 6);
    }
    if constexpr (kTiles > 3) {
      _tile_loadd(4, a + 2 * a_tile, a_row * 4);
      _tile_dpbf16ps(2, 4, 6);
    }
    _tile_loadd(5, a + (kTiles - 1) * a_tile, a_row * 4);
    if constexpr (kTiles == 1) _tile_dpbf16ps(0, 5, 6);
    if constexpr (kTiles == 2) _tile_dpbf16ps(1, 5, 6);
    if constexpr (kTiles == 3) _tile_dpbf16ps(2, 5, 6);
    if constexpr (kTiles == 4) _tile_dpbf16ps(3, 5, 6);
  }
  _tile_stored(0, c, c_row * 4);
  if constexpr (kTiles > 1) _tile_stored(1, c + c_tile, c_row * 4);
  if constexpr (kTiles > 2) _tile_stored(2, c + 2 * c_tile, c_row * 4);
  if constexpr (kTiles > 3) _tile_stored(3, c + 3 * c_tile, c_row * 4);
}

}  // namespace

void pairs_amx(const unsigned* a, long a_row, const unsigned* b, float* c, long c_row, long rows,
               long pairs, long columns) {
  constexpr long kRows = kMost * kTile;
  long shaped = 0;
  for (long i = 0; i < rows; i += kRows, a += kRows * a_row, c += kRows * c_row) {
    const long count = rows - i < kRows ? rows - i : kRows;
    if (count != shaped) shape_tiles(count);
    shaped = count;
    for (long column = 0; column < columns; column += kTile) {
      float whole[kRows * kTile];
      const bool direct = columns - column >= kTile;
      float* to = direct ? c + column : whole;
      const long to_row = direct ? c_row : kTile;
      const unsigned* from = b + column * pairs;
      if (count > 3 * kTile)
        sum_columns<4>(a, a_row, from, to, to_row, pairs);
      else if (count > 2 * kTile)
        sum_columns<3>(a, a_row, from, to, to_row, pairs);
      else if (count > kTile)
        sum_columns<2>(a, a_row, from, to, to_row, pairs);
      else
        sum_columns<1>(a, a_row, from, to, to_row, pairs);
      if (direct) continue;
      for (long row = 0; row < count; ++row)
        for (long j = column; j < columns; ++j)
          c[row * c_row + j] = whole[row * kTile + j - column];
    }
  }
  _tile_release();
}

}  // namespace vernier::kernels
