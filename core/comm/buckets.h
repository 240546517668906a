// What of a flat buffer that is cut into slices is on its way at a time.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/comm/slices.h"

namespace vernier {

/// Some of the blocks of every rank, which are on their way together: of each block the numbers
/// [low, high).
struct Bucket {
  const Slices& slices;
  int64_t first, last;  // of the buffer
  int64_t row, rows;    // row i has block i of every slice
  int64_t low = 0, high = Slices::kBlock;

  int64_t width() const { return high - low; }
  int64_t across() const { return slices.ranks * Slices::kBlock; }

  /// Rows that lie in the stretch with all of their blocks, [begin, end).
  struct Rows {
    int64_t begin, end;
  };
  Rows whole_rows() const {
    const int64_t begin = std::clamp((first + across() - 1) / across(), row, row + rows);
    return {begin, std::clamp(last / across(), begin, row + rows)};
  }

  /// body(row of the bucket, place in the buffer, place in the block's numbers, place in the slice,
  /// numbers) for what a rank has here, but for whole rows.
  template <class Body>
  void for_edges(int64_t rank, const Body& body) const {
    const Rows whole = whole_rows();
    for_blocks(rank, row, whole.begin, body);
    for_blocks(rank, whole.end, row + rows, body);
  }

  /// The same of rows [begin, end).
  template <class Body>
  void for_blocks(int64_t rank, int64_t begin, int64_t end, const Body& body) const {
    slices.for_blocks(rank, std::max(first, begin * across()), std::min(last, end * across()),
                      [&](int64_t at, int64_t place, int64_t count) {
                        body(at / across() - row, at, at % Slices::kBlock - low, place, count);
                      });
  }
};

/// A stretch that is shorter than a row of blocks sends no more of them than it has.
inline void trim(Bucket& bucket) {
  if (bucket.rows > 1) return;
  int64_t low = Slices::kBlock, high = 0;
  for (int64_t r = 0; r < bucket.slices.ranks; ++r)
    bucket.for_blocks(r, bucket.row, bucket.row + 1,
                      [&](int64_t, int64_t, int64_t within, int64_t, int64_t count) {
                        low = std::min(low, within);
                        high = std::max(high, within + count);
                      });
  bucket.low = low;
  bucket.high = high;
}

/// Calls body(bucket) for the buckets of a stretch, of about `bytes` for all ranks, in order.
template <class Body>
void for_buckets(const Slices& slices, int64_t first, int64_t last, int64_t bytes,
                 const Body& body) {
  const int64_t across = slices.ranks * Slices::kBlock,
                most = std::max<int64_t>(1, bytes / static_cast<int64_t>(sizeof(float)) / across);
  const int64_t end = (last + across - 1) / across;
  for (int64_t row = first / across; row < end; row += most) {
    Bucket bucket{.slices = slices,
                  .first = first,
                  .last = last,
                  .row = row,
                  .rows = std::min(most, end - row)};
    trim(bucket);
    body(bucket);
  }
}

/// Bytes of the largest of them where a stretch has so many numbers.
inline int64_t largest_bucket(int64_t numbers, int64_t ranks, int64_t bytes) {
  const int64_t row = static_cast<int64_t>(sizeof(float)) * ranks * Slices::kBlock;
  const int64_t rows = numbers / (ranks * Slices::kBlock) + 2;  // it begins and ends in one
  return row * std::min(rows, std::max<int64_t>(1, bytes / row));
}

}  // namespace vernier
