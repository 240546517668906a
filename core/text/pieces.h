// What single tokens add to a text, for who reads along while it grows.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <unordered_map>

#include "core/text/tokenizer.h"

namespace vernier {

/// The text of a list of tokens is that of its pieces, one after the other, but for runs of byte
/// tokens: the bytes of a run are text where all of it is UTF-8, else U+FFFD, one for each.
struct Piece {
  std::string text;
  bool byte = false;     // a byte token, as tokenizers on characters have them
  bool nothing = false;  // the vocabulary leaves this id out: it neither adds nor divides
};

class TokenPieces {
 public:
  /// Throws UsageError where the text of a token depends on more than whether it is the first.
  explicit TokenPieces(const Tokenizer& tokenizer);

  /// `first`: no token of the text comes before it. From any thread.
  const Piece& of(int32_t id, bool first) const;

 private:
  Piece make(int32_t id, bool first) const;

  const Tokenizer& tokenizer_;
  bool joined_, byte_fallback_ = false;
  mutable std::mutex lock_;
  mutable std::unordered_map<int64_t, Piece> known_;  // those that were asked for
};

}  // namespace vernier
