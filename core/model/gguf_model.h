// Models in GGUF files: metadata to ModelSpec and names of tensors, as llama.cpp has them.
#pragma once

#include "core/model/decoder.h"

namespace vernier {

class GgufFile;

/// Reads the metadata. What is not built is a UsageError that names the key.
ModelSpec spec_from_gguf_model(const GgufFile& file);

/// Fills the decoder's weights. Every tensor must be there with its shape, and none may be left
/// over.
void load_gguf(const GgufFile& file, Decoder& decoder);

}  // namespace vernier
