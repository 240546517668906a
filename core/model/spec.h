// Sizes and constants of a decoder, and where they come from.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/base/config.h"
#include "core/base/files.h"
#include "core/kernels/kernels.h"
#include "core/model/rope_spec.h"

namespace vernier {

class GgufFile;

/// What may differ from layer to layer.
struct LayerSpec {
  bool rope = true;    // false: no position enters (SmolLM3)
  int64_t window = 0;  // tokens that a token sees, itself the last; 0: all before it
};

/// Λ-shaped attention (LM-Infinite, arXiv:2308.16137): a token sees the first `sinks` tokens and
/// the last `window`, itself among them, and a sink that is farther away than the window as if it
/// were `window` away. No distance is longer than that, so sequences may be longer than any that
/// the model was trained on.
struct Reach {
  int64_t sinks = 0, window = 0;  // 0: what the model says

  void bind(Binder& binder);
};

/// How the model knows where a token stands.
enum class Positions {
  rope,
  none,      // by the causal mask alone
  alibi,     // scores fall with the distance, by a slope for each head
  absolute,  // sines and cosines are added to the embeddings ("Attention is all you need", 3.5)
};

/// In the order of Positions.
const std::vector<std::string>& position_names();
Positions positions_of(const std::string& name);

/// A decoder as the families of family.h have it: RMSNorm, grouped-query attention with RoPE,
/// SwiGLU. Names are those of config.json.
struct ModelSpec {
  std::string model_type = "llama";
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_hidden_layers = 0;
  int64_t num_attention_heads = 0;
  int64_t num_key_value_heads = 0;
  int64_t head_dim = 0;
  int64_t max_position_embeddings = 0;
  double rms_norm_eps = 1e-5;
  bool tie_word_embeddings = false;

  RopeSpec rope;
  int64_t rotary_size = 0;        // dimensions of a head that rotate; 0: all
  std::vector<LayerSpec> layers;  // empty: all are alike
  kernels::QkNorm qk_norm = kernels::QkNorm::none;
  bool qkv_bias = false, output_bias = false, mlp_bias = false;
  bool norm_after = false;  // of what a block adds (OLMo 2), not of what it reads
  Positions positions = Positions::rope;
  bool attn_logn = false;  // scores times ln n, n the tokens that are seen (arXiv:2202.12172)
  Reach reach;

  int64_t max_length = 0;  // longest sequence in tokens that is asked for; 0: longest()

  std::string config_json;               // the file this was read from, "" where there was none
  std::string generation_config_json;    // the file beside it, likewise
  std::vector<std::string> unused_keys;  // of config.json

  LayerSpec layer(int64_t index) const {
    return layers.empty() ? LayerSpec() : layers[static_cast<size_t>(index)];
  }
  kernels::AttentionShape attention(int64_t index) const;
  int64_t rotary() const { return rotary_size > 0 ? rotary_size : head_dim; }

  /// The window of the layers that have one (they share it); 0: no layer has.
  int64_t window() const;

  /// Longest sequence that the decoder takes.
  int64_t longest() const;

  /// Sets max_length (0: leave it open). More than the RoPE kind was made for is a UsageError
  /// ("`where`: ...").
  void limit_length(int64_t length, const std::string& where);

  /// What no GPU kernel here computes: "" or its name.
  std::string cpu_only() const;

  /// Raises UsageError ("`where`: ...") where the sizes do not fit each other.
  void check(const std::string& where) const;
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
