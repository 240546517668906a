// Sizes and constants of a decoder, and where they come from.
#pragma once

#include <cstdint>
#include <string>

#include "core/base/config.h"
#include "core/base/files.h"
#include "core/kernels/kernels.h"

namespace vernier {

class GgufFile;

/// A decoder of the Llama family: RMSNorm before each block, grouped-query attention with RoPE,
/// SwiGLU, no biases. Names are those of config.json.
struct ModelSpec {
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_hidden_layers = 0;
  int64_t num_attention_heads = 0;
  int64_t num_key_value_heads = 0;
  int64_t head_dim = 0;
  int64_t max_position_embeddings = 0;
  double rope_theta = 10000;
  double rms_norm_eps = 1e-5;
  bool tie_word_embeddings = false;

  kernels::AttentionShape attention() const {
    return {num_attention_heads, num_key_value_heads, head_dim};
  }

  /// Raises UsageError ("`where`: ...") where the sizes do not fit each other.
  void check(const std::string& where) const;

  /// Reads config.json. An architecture, activation or RoPE kind that is not built is a UsageError
  /// that names it.
  static ModelSpec from_config_json(const fs::path& path);
  static ModelSpec from_gguf(const GgufFile& file);

  /// config.json as `transformers` reads it.
  std::string config_json(int32_t bos_id, int32_t eos_id, int32_t pad_id) const;
};

/// [model.new]: a small model with random weights and one token a character.
struct NewModel {
  ModelSpec spec;
  std::string characters;
  std::string end_token;
  double embedding_std = 0.5;   // of the token embedding
  double residual_scale = 0.5;  // output projections: this / sqrt(2 layers), times 1/sqrt(fan in)

  void bind(Binder& binder);
};

}  // namespace vernier
