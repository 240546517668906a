#include "core/model/kv_cache.h"

#include <algorithm>
#include <cstring>

#include "core/base/errors.h"

namespace vernier {

KvCache::KvCache(const ModelSpec& spec, int64_t max_tokens)
    : shape_(spec.attention(0)),
      layers_(spec.num_hidden_layers),
      max_tokens_(kernels::round_up(max_tokens, kernels::kKeyBlock)) {}

void KvCache::reserve(int64_t tokens) {
  if (tokens <= capacity_) return;
  ensure(tokens <= max_tokens_, "a sequence within its reserved length");
  const int64_t wanted = std::max(kernels::round_up(tokens, kernels::kKeyBlock), 2 * capacity_);
  const int64_t old_capacity = capacity_, old_floats = layer_floats();
  const std::vector<float> old = std::move(data_);
  capacity_ = std::min(wanted, max_tokens_);
  data_.assign(static_cast<size_t>(layers_ * layer_floats()), 0.0f);
  const int64_t heads = shape_.kv_heads, size = shape_.head_size;
  const auto bytes = [](int64_t floats) { return sizeof(float) * static_cast<size_t>(floats); };
  for (int64_t layer = 0; layer < layers_ && length_ > 0; ++layer) {
    const float* from = old.data() + layer * old_floats;
    float* to = data_.data() + layer * layer_floats();
    for (int64_t row = 0; row < heads * size; ++row)
      std::memcpy(to + row * capacity_, from + row * old_capacity, bytes(length_));
    from += heads * size * old_capacity;
    to += heads * size * capacity_;
    for (int64_t kv = 0; kv < heads; ++kv)
      std::memcpy(to + kv * capacity_ * size, from + kv * old_capacity * size,
                  bytes(length_ * size));
  }
}

kernels::CacheView KvCache::layer(int64_t index, int64_t more) {
  reserve(length_ + more);
  float* keys = data_.data() + index * layer_floats();
  return {
      .keys = keys, .values = keys + layer_floats() / 2, .capacity = capacity_, .length = length_};
}

void KvCache::copy_from(const KvCache& other) {
  ensure(length_ == 0 && layers_ == other.layers_, "an empty cache of the same model");
  reserve(other.length_);
  const int64_t heads = shape_.kv_heads, size = shape_.head_size;
  for (int64_t layer = 0; layer < layers_; ++layer) {
    const float* from = other.data_.data() + layer * other.layer_floats();
    float* to = data_.data() + layer * layer_floats();
    for (int64_t row = 0; row < heads * size; ++row)
      std::copy_n(from + row * other.capacity_, other.length_, to + row * capacity_);
    from += other.layer_floats() / 2;
    to += layer_floats() / 2;
    for (int64_t kv = 0; kv < heads; ++kv)
      std::copy_n(from + kv * other.capacity_ * size, other.length_ * size,
                  to + kv * capacity_ * size);
  }
  length_ = other.length_;
}

}  // namespace vernier
