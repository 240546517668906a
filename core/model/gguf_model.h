// Models in GGUF files: metadata and names of tensors as llama.cpp has them.
#pragma once

#include <optional>
#include <string>

#include "core/model/spec.h"
#include "core/weights/gguf_writer.h"

namespace vernier {

/// RoPE frequencies by factors, one a rotated pair: what llama.cpp makes of kind llama3.
inline constexpr const char* kRopeFactors = "rope_freqs.weight";

/// Reads the metadata. What is not built is a UsageError that names the key.
ModelSpec spec_from_gguf_model(const GgufFile& file);

/// The model as llama.cpp reads it, and config.json and generation_config.json as they came. What
/// llama.cpp does not do (windows, heads that rotate in part, RoPE kind dynamic) is a UsageError
/// ("`where`: ...") that names it: another program would read another model.
GgufMetadata gguf_metadata(const ModelSpec& spec, const std::string& where);

/// The values of kRopeFactors, [R/2]; empty where the kind needs none.
std::vector<float> gguf_rope_factors(const ModelSpec& spec);

/// The name that a tensor of a Hugging Face checkpoint has in GGUF files.
std::string gguf_name(const std::string& name, const ModelSpec& spec);

/// Rows of queries or keys. Some architectures store the rotated pairs of a head interleaved: row
/// 2i + j of a head for what is row j * R/2 + i of a Hugging Face checkpoint.
struct PairedRows {
  int64_t heads, head_size, rotary_size, width;
};

/// The pairs of a tensor that GGUF stores so, by its Hugging Face name; none for all others.
std::optional<PairedRows> gguf_pairs(const std::string& name, const ModelSpec& spec);

/// From GGUF's order to halves, and back.
void split_pairs(float* rows, const PairedRows& pairs);
void join_pairs(float* rows, const PairedRows& pairs);

}  // namespace vernier
