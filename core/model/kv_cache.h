// Keys and values of one sequence, all layers.
#pragma once

#include <cstdint>
#include <vector>

#include "core/kernels/kernels.h"
#include "core/model/spec.h"

namespace vernier {

/// A dense cache that grows by doubling up to its limit. Keys lie by columns ([G][E][capacity]), so
/// that a query meets 16 of them in one vector.
class KvCache {
 public:
  /// Room for `max_tokens`; memory is taken as tokens come.
  KvCache(const ModelSpec& spec, int64_t max_tokens);

  int64_t length() const { return length_; }

  /// A view of one layer with room for `more` tokens. Appending through it moves only its own
  /// length; advance() moves the cache's, once all layers hold the new tokens.
  kernels::CacheView layer(int64_t index, int64_t more);
  void advance(int64_t tokens) { length_ += tokens; }

  /// Becomes a copy of another sequence's cache (a prompt that several responses share).
  void copy_from(const KvCache& other);

 private:
  void reserve(int64_t tokens);
  int64_t layer_floats() const { return 2 * shape_.kv_heads * shape_.head_size * capacity_; }

  kernels::AttentionShape shape_;
  int64_t layers_, max_tokens_;
  int64_t capacity_ = 0, length_ = 0;
  std::vector<float> data_;  // a layer after the other: keys, then values
};

}  // namespace vernier
