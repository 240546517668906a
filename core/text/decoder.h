// From tokens back to text, for vocabularies of characters.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/text/tokenizer_spec.h"

namespace vernier {

/// Runs the steps over the tokens, as the decoders of `tokenizers` do, and joins what remains.
/// Bytes of byte tokens that make no UTF-8 together become U+FFFD, one each.
std::string decode_tokens(const std::vector<DecoderStep>& steps, std::vector<std::string> tokens);

/// The byte of a byte token, "<0x0A>".
std::optional<char> byte_of_token(const std::string& token);

}  // namespace vernier
