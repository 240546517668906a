// Keys and values of many sequences, all layers, in pages.
#pragma once

#include <cstdint>

#include "core/base/buffer.h"
#include "core/kernels/kernels.h"
#include "core/model/spec.h"

namespace vernier {

/// Memory for pages of kernels::kKeyBlock tokens. Who holds which page is the scheduler's
/// knowledge; a page that was never written takes no memory.
class KvCache {
 public:
  KvCache(const ModelSpec& spec, int64_t pages);

  static int64_t page_bytes(const ModelSpec& spec);
  /// Pages that `gb` GB hold, with 0 half of the memory that the machine has free. UsageError where
  /// not one fits.
  static int64_t pages_within(double gb, const ModelSpec& spec);

  int64_t pages() const { return pages_; }
  kernels::PagedLayer layer(int64_t index);

  /// The first `tokens` tokens of page `from` become those of page `to`.
  void copy(int32_t from, int32_t to, int64_t tokens);

 private:
  kernels::AttentionShape shape_;
  int64_t layers_, pages_, page_floats_;
  Buffer data_;
};

}  // namespace vernier
