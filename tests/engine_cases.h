// What the tests of the engine draw, and how they compare it.
#pragma once

#include <doctest/doctest.h>

#include <map>
#include <utility>
#include <vector>

#include "core/model/kv_cache.h"
#include "rollout/engine.h"

namespace vernier::testing {

using Key = std::pair<int64_t, int64_t>;  // prompt, sample
using Responses = std::map<Key, Response>;

/// A cache of so many pages.
inline void set_pages(RolloutConfig& config, const Model& model, int64_t pages) {
  config.kv_cache_gb = (static_cast<double>(pages) + 0.5) *
                       static_cast<double>(KvCache::page_bytes(model.decoder->spec())) / 1e9;
}

inline Responses draw(Engine& engine, std::vector<Prompt> prompts, const RolloutConfig& config,
                      EngineStats* stats = nullptr) {
  Responses out;
  const EngineStats found = engine.generate(
      std::move(prompts), config, {.seed = 5, .step = 2}, 7, nullptr, [&](Group&& group) {
        for (Response& response : group.responses)
          out[{group.prompt.index, response.sample}] = std::move(response);
      });
  if (stats != nullptr) *stats = found;
  return out;
}

inline void check_same(const Responses& found, const Responses& want) {
  REQUIRE(found.size() == want.size());
  for (const auto& [key, response] : want) {
    const Response& other = found.at(key);
    CHECK(other.ids == response.ids);
    CHECK(other.logprobs == response.logprobs);
    CHECK(other.plain_logprobs == response.plain_logprobs);
    CHECK(other.text == response.text);
    CHECK(other.finish_reason == response.finish_reason);
    CHECK(other.flags == response.flags);
  }
}

}  // namespace vernier::testing
