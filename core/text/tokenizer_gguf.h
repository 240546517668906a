// What the reader and the writer of tokenizers in GGUF have in common.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/text/tokenizer_spec.h"

namespace vernier {

/// Types of tokens, as `tokenizer.ggml.token_type` has them.
enum GgufTokenType : int64_t {
  kNormalToken = 1,
  kUnknownToken = 2,
  kControlToken = 3,
  kUserDefinedToken = 4,
  kUnusedToken = 5,
  kByteToken = 6
};

/// What a name of `tokenizer.ggml.pre` stands for: fields of TokenizerSpec.
struct GgufPre {
  std::string name;
  std::vector<NormalizerStep> normalizer = {};
  std::vector<PretokenizerStep> steps = {};
  bool gpt2_regex = false, ignore_merges = false;
};

/// Of rows that stand for the same, the first is the one to write.
const std::vector<GgufPre>& gguf_pres();

}  // namespace vernier
