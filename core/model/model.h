// A model as a user names it: weights and tokenizer, from a folder or a GGUF file.
#pragma once

#include <memory>
#include <string>

#include "core/model/decoder.h"
#include "core/text/tokenizer.h"

namespace vernier {

struct Model {
  std::unique_ptr<Decoder> decoder;
  std::shared_ptr<const Tokenizer> tokenizer;  // shared with the engine and the rewards
};

/// Opens a Hugging Face folder (config.json, safetensors in one file or sharded with an index,
/// tokenizer.json) or a GGUF file. Every tensor must be there with the shape that the configuration
/// asks for, and none may be left over; what does not fit is a UsageError that names it.
Model load_model(const std::string& path, bool trained);

/// A model with random weights.
Model new_model(const NewModel& config, uint64_t seed, bool trained);

/// Writes config.json, model.safetensors (fp32), tokenizer and generation files: a folder that
/// `transformers` opens as it is. Files are durable; the folder exists already.
void save_model(Decoder& decoder, const Tokenizer& tokenizer, const fs::path& folder);

}  // namespace vernier
