#include "core/text/pieces.h"

#include <array>

#include "core/base/errors.h"
#include "core/text/decoder.h"

namespace vernier {

TokenPieces::TokenPieces(const Tokenizer& tokenizer)
    : tokenizer_(tokenizer), joined_(tokenizer.spec().model != TokenizerSpec::Model::text) {
  using Kind = DecoderStep::Kind;
  bool fused = false;
  for (const DecoderStep& step : tokenizer.spec().decoder) {
    const bool replaces = step.kind == Kind::replace || step.kind == Kind::metaspace;
    const bool strips = step.kind == Kind::strip;
    // After fuse or byte_fallback a replacement sees the texts of several tokens, before them
    // `strip` takes from every token, and at the end of the text it takes what was text before.
    if ((replaces && (fused || byte_fallback_)) ||
        (strips && (!fused || step.start > 1 || step.end > 0)))
      fail(tokenizer.spec().source,
           ": decoder: its steps look at several tokens at a time, so a text cannot be followed "
           "token by token");
    fused = fused || step.kind == Kind::fuse;
    byte_fallback_ = byte_fallback_ || step.kind == Kind::byte_fallback;
  }
}

const Piece& TokenPieces::of(int32_t id, bool first) const {
  const std::lock_guard hold(lock_);
  const int64_t key = 2 * int64_t{id} + (first ? 1 : 0);
  const auto found = known_.find(key);
  return found != known_.end() ? found->second : known_.emplace(key, make(id, first)).first->second;
}

Piece TokenPieces::make(int32_t id, bool first) const {
  const std::array<int32_t, 2> twice = {id, id};
  const std::string alone = tokenizer_.decode(std::span(twice).first(1));
  if (joined_) return {.text = alone};
  const std::vector<std::string>& tokens = tokenizer_.spec().tokens;
  const bool known = static_cast<size_t>(id) < tokens.size();
  if (!known || tokens[static_cast<size_t>(id)].empty()) return {.text = "", .nothing = true};
  if (byte_fallback_)
    if (const auto byte = byte_of_token(tokens[static_cast<size_t>(id)])) {
      const bool ascii = (static_cast<unsigned char>(*byte) & 0x80) == 0;
      return {.text = first && ascii ? alone : std::string(1, *byte), .byte = true};
    }
  return {.text = first ? alone : tokenizer_.decode(twice).substr(alone.size())};
}

}  // namespace vernier
