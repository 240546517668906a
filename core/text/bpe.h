// Byte-pair encoding of pieces of text.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace vernier {

/// The character that stands for a byte in the vocabularies of byte-level models, as UTF-8:
/// printable Latin-1 stands for itself, the other bytes for U+0100 and up. (GPT-2's
/// `bytes_to_unicode`.)
std::string_view byte_symbol(uint8_t byte);

/// The bytes that a token of such a vocabulary stands for. A token with any other character, which
/// only added tokens have, stands for itself.
std::string bytes_of_token(std::string_view token);

/// Joins two neighbours into one token. Earlier merges of a vocabulary go first.
struct Merge {
  int32_t left, right, product;
};

/// Immutable; safe to share between threads.
class Bpe {
 public:
  /// Room that calls share, to save allocations. One a thread.
  class Scratch;

  /// `byte_ids` holds the token of each byte, -1 where the vocabulary has none.
  Bpe(const std::array<int32_t, 256>& byte_ids, const std::vector<Merge>& merges);

  /// Appends the ids of `piece` in O(n log n). A byte without a token is a UsageError.
  void encode(std::string_view piece, Scratch& scratch, std::vector<int32_t>& ids) const;

 private:
  struct Ranked {
    int32_t rank, product;
  };
  struct PairHash {
    size_t operator()(uint64_t pair) const { return (pair * 0x9E3779B97F4A7C15) >> 20; }
  };

  static uint64_t pair_key(int32_t left, int32_t right) {
    return (uint64_t{static_cast<uint32_t>(left)} << 32) | static_cast<uint32_t>(right);
  }
  void fill(std::string_view piece, Scratch& scratch) const;
  void push(Scratch& scratch, int32_t left) const;

  std::array<int32_t, 256> byte_ids_;
  std::unordered_map<uint64_t, Ranked, PairHash> merges_;
};

class Bpe::Scratch {
 private:
  friend class Bpe;
  struct Symbol {
    int32_t id;              // -1 once it is part of its left neighbour
    int32_t previous, next;  // places of neighbours, -1 at the ends
  };
  struct Candidate {
    int32_t rank, place;           // of the left symbol
    int32_t left, right, product;  // ids; when the symbols have others by now, it is void
  };
  std::vector<Symbol> symbols;
  std::vector<Candidate> heap;
};

}  // namespace vernier
