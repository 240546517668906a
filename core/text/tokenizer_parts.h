// The parts of a tokenizer.json besides its model, for tokenizer_json.cpp.
#pragma once

#include "core/text/tokenizer_spec.h"
#include "core/weights/json_field.h"

namespace vernier {

/// Each reads what the file has at its key and refuses by name what is not done here. `root` is the
/// whole file.
void read_normalizer(const JsonField& root, TokenizerSpec& spec);
void read_decoder(const JsonField& root, TokenizerSpec& spec);  // once the model is known

/// Sets the model too: bytes where the last step is ByteLevel.
void read_pre_tokenizer(const JsonField& root, TokenizerSpec& spec);

/// Only special tokens around a text are a post-processor's work on ids.
void read_post_processor(const JsonField& post, TokenizerSpec& spec);

}  // namespace vernier
