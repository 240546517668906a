// How a flat buffer is cut among ranks.
#pragma once

#include <algorithm>
#include <cstdint>

namespace vernier {

/// Of a buffer of `count` numbers rank r has every block whose number leaves r by `ranks`: its
/// slice, block after block. So any stretch of the buffer, a layer say, is shared out evenly, and
/// sums over blocks are the same however many ranks there are.
struct Slices {
  static constexpr int64_t kBlock = 1 << 16;  // kernels::kSumBlock; a multiple of kMomentBlock

  int64_t count = 0, ranks = 1;

  Slices(int64_t numbers, int64_t among) : count(numbers), ranks(among) {}

  int64_t blocks() const { return (count + kBlock - 1) / kBlock; }
  /// Numbers of the longest slice, in whole blocks.
  int64_t each() const { return (blocks() + ranks - 1) / ranks * kBlock; }
  int64_t size(int64_t rank) const {
    int64_t numbers = 0;
    for_blocks(rank, 0, count, [&](int64_t, int64_t, int64_t some) { numbers += some; });
    return numbers;
  }

  /// What of numbers [first, last) of the buffer a rank has: body(place in the buffer, place in the
  /// slice, numbers) for every block.
  template <class Body>
  void for_blocks(int64_t rank, int64_t first, int64_t last, const Body& body) const {
    if (rank >= ranks) return;
    const int64_t begin = first / kBlock;
    for (int64_t block = begin + (rank - begin % ranks + ranks) % ranks; block * kBlock < last;
         block += ranks) {
      const int64_t at = std::max(first, block * kBlock),
                    end = std::min(last, (block + 1) * kBlock);
      body(at, block / ranks * kBlock + at % kBlock, end - at);
    }
  }
};

}  // namespace vernier
