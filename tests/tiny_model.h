// A model of two layers with random weights, small enough for any test.
#pragma once

#include "core/model/model.h"

namespace vernier::testing {

inline Model tiny_model(bool trained, uint64_t seed = 3, int64_t positions = 64) {
  NewModel config;
  config.characters = "0123456789abcdefgh+=#.?~";
  config.end_token = ".";
  config.spec.hidden_size = 32;
  config.spec.intermediate_size = 48;
  config.spec.num_hidden_layers = 2;
  config.spec.num_attention_heads = 4;
  config.spec.num_key_value_heads = 2;
  config.spec.head_dim = 8;
  config.spec.max_position_embeddings = positions;
  return new_model(config, seed, trained);
}

}  // namespace vernier::testing
