#include "core/model/kv_cache.h"

#include <algorithm>

#include "core/base/errors.h"

namespace vernier {

namespace {
int64_t floats_of_page(const ModelSpec& spec) {
  return spec.num_hidden_layers * kernels::PagedLayer::floats(spec.attention(0));
}
}  // namespace

KvCache::KvCache(const ModelSpec& spec, int64_t pages)
    : shape_(spec.attention(0)),
      layers_(spec.num_hidden_layers),
      pages_(pages),
      page_floats_(floats_of_page(spec)),
      data_(static_cast<size_t>(pages * page_bytes(spec))) {}

int64_t KvCache::page_bytes(const ModelSpec& spec) {
  return floats_of_page(spec) * static_cast<int64_t>(sizeof(float));
}

int64_t KvCache::pages_within(double gb, const ModelSpec& spec) {
  const double bytes = gb > 0 ? gb * 1e9 : static_cast<double>(available_memory()) / 2;
  const auto pages = static_cast<int64_t>(bytes) / page_bytes(spec);
  if (pages == 0)
    fail("kv_cache_gb = ", gb, ": ", human_bytes(bytes), " hold no page of ", kernels::kKeyBlock,
         " tokens, which takes ", human_bytes(static_cast<double>(page_bytes(spec))));
  return pages;
}

kernels::PagedLayer KvCache::layer(int64_t index) {
  return {.base = data_.as<float>() + index * kernels::PagedLayer::floats(shape_),
          .stride = page_floats_};
}

void KvCache::copy(int32_t from, int32_t to, int64_t tokens) {
  const int64_t size = shape_.head_size, head = kernels::kKeyBlock * size;
  const int64_t values = shape_.kv_heads * head;
  for (int64_t index = 0; index < layers_; ++index) {
    const kernels::PagedLayer one = layer(index);
    const float* source = one.base + from * one.stride;
    float* target = one.base + to * one.stride;
    for (int64_t kv = 0; kv < shape_.kv_heads; ++kv, source += head, target += head) {
      std::copy_n(source, kernels::round_up(tokens, kernels::kKeyTile) * size, target);
      std::copy_n(source + values, tokens * size, target + values);
    }
  }
}

}  // namespace vernier
