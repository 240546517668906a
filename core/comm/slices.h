// How a flat buffer is cut among ranks.
#pragma once

#include <algorithm>
#include <cstdint>

namespace vernier {

/// Rank r has [begin(r), end(r)) of `count` numbers: equal shares of whole blocks, so that sums
/// over blocks are the same however many ranks there are. The last ranks may have less, or nothing.
struct Slices {
  static constexpr int64_t kBlock = 1 << 16;  // kernels::kSumBlock; a multiple of kMomentBlock

  int64_t count = 0, each = 0;

  Slices(int64_t numbers, int64_t ranks) : count(numbers) {
    const int64_t blocks = (numbers + kBlock - 1) / kBlock;
    each = (blocks + ranks - 1) / ranks * kBlock;
  }
  int64_t begin(int64_t rank) const { return std::min(count, rank * each); }
  int64_t end(int64_t rank) const { return std::min(count, (rank + 1) * each); }
  int64_t size(int64_t rank) const { return end(rank) - begin(rank); }
};

}  // namespace vernier
