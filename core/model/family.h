// The families of models: what their files say, and what it means for the one decoder.
#pragma once

#include <string>
#include <vector>

#include "core/model/spec.h"

namespace vernier {

// Files of a folder beside config.json and the tokenizer's.
inline constexpr const char* kWeights = "model.safetensors";
inline constexpr const char* kWeightsIndex = "model.safetensors.index.json";
inline constexpr const char* kGenerationConfig = "generation_config.json";

/// One family. Adding one takes a row in family.cpp; a part that no other family has (another norm,
/// another activation) takes a field of ModelSpec and its use in decoder.cpp too.
struct Family {
  std::string model_type;    // of config.json: "qwen2"
  std::string architecture;  // "Qwen2ForCausalLM"
  std::string gguf;          // general.architecture of GGUF files; several families may share one
  bool gguf_pairs;  // GGUF keeps the rotated pairs of queries and keys interleaved (llama.cpp's
                    // LLAMA_ROPE_TYPE_NORM), not in halves
  bool gguf_window = false;    // of those that share `gguf`, the one of files with a window
  bool gguf_mlp_bias = false;  // llama.cpp adds biases in the MLP

  /// What all its models have, so that no key says it.
  kernels::QkNorm qk_norm = kernels::QkNorm::none;
  bool norm_after = false;

  /// What `transformers` takes where config.json leaves a key out (save_pretrained leaves out what
  /// equals the default of its class).
  struct Defaults {
    int64_t max_position_embeddings = 2048;
    double rms_norm_eps = 1e-6;
    double rope_theta = 10000;
    bool tie_word_embeddings = false;
    int64_t head_dim = 0;                // 0: hidden_size / num_attention_heads
    int64_t no_rope_layer_interval = 0;  // layers without RoPE: every so many; 0: none
  } defaults;

  /// Reads the keys that only some families have into `spec`, whose sizes are there.
  void (*read)(const JsonField& config, ModelSpec& spec);
  /// Writes the same keys.
  void (*write)(const ModelSpec& spec, Json& config);
};

const std::vector<Family>& families();

/// By model_type. An unknown one is a UsageError ("`where`: ...") that lists the known.
const Family& family_of(const std::string& model_type, const std::string& where);

/// Sets the fields that `family` fixes, and its layers as they are where nothing else is said.
/// `spec` has its sizes.
void set_family(const Family& family, ModelSpec& spec);

/// Reads config.json. A family, activation or RoPE kind that is not built is a UsageError that
/// names it, and so is a value that changes what the model computes and is not built.
ModelSpec spec_from_config(const fs::path& path);
ModelSpec spec_from_config_text(const std::string& text, const std::string& where);

/// config.json as `transformers` reads it: the file the model came from where there was one, else
/// one made from the specification and the ids (-1: none). `dtype` is that of the weights beside
/// it.
std::string config_json(const ModelSpec& spec, const std::string& dtype, int32_t bos_id,
                        const std::vector<int32_t>& eos_ids, int32_t pad_id);

}  // namespace vernier
