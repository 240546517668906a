// Byte-pair encoding of pieces of text.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/text/tokenizer_spec.h"

namespace vernier {

/// The character that stands for a byte in the vocabularies of byte-level models, as UTF-8:
/// printable Latin-1 stands for itself, the other bytes for U+0100 and up. (GPT-2's
/// `bytes_to_unicode`.)
std::string_view byte_symbol(uint8_t byte);

/// The bytes that a token of such a vocabulary stands for. A token with any other character, which
/// only added tokens have, stands for itself.
std::string bytes_of_token(std::string_view token);

/// The token "<0x0A>" that stands for a byte in vocabularies with byte fallback.
std::string fallback_token(uint8_t byte);

/// Which merge a pair of tokens has: a hash table with open addressing.
class MergeTable {
 public:
  struct Merged {
    int32_t rank, product;  // -1 for both where there is no such merge
  };

  explicit MergeTable(const std::vector<Merge>& merges);
  Merged find(int32_t left, int32_t right) const;

 private:
  struct Slot {
    uint64_t pair = kEmpty;
    Merged merged{-1, -1};
  };
  static constexpr uint64_t kEmpty = ~uint64_t{0};  // no pair: ids are not negative
  size_t home(uint64_t pair) const { return (pair * 0x9E3779B97F4A7C15) >> shift_; }

  std::vector<Slot> slots_;  // a power of two, half of them empty at least
  int shift_ = 0;
};

/// Immutable; safe to share between threads. Each thread remembers short pieces that it has
/// encoded, in 2 MiB that all tokenizers of the thread share.
class Bpe {
 public:
  /// Room that calls share, to save allocations. One a thread.
  class Scratch;

  /// Of the model `byte_level` or `text`.
  explicit Bpe(const TokenizerSpec& spec);

  /// Appends the ids of `piece` in O(n log n). What the vocabulary has no token for is a
  /// UsageError: a byte, or in the model `text` a character.
  void encode(std::string_view piece, Scratch& scratch, std::vector<int32_t>& ids) const;

 private:
  void index_text(const TokenizerSpec& spec);
  int32_t find(std::string_view token) const;
  void encode_word(std::string_view word, Scratch& scratch, std::vector<int32_t>& ids) const;
  void fill(std::string_view piece, Scratch& scratch) const;
  void fill_text(std::string_view piece, Scratch& scratch) const;
  bool fall_back(std::string_view character, Scratch& scratch) const;
  void merge_few(Scratch& scratch) const;
  void merge_many(Scratch& scratch) const;
  void push(Scratch& scratch, int32_t left) const;

  uint32_t serial_;  // of this object among all of the process
  bool bytes_;       // byte_level
  bool ignore_merges_, fuse_unknown_;
  int32_t unknown_;
  std::array<int32_t, 256> byte_ids_;  // tokens of bytes, or of byte fallback; -1 without one
  std::string texts_;                  // of tokens, one after the other
  std::unordered_map<std::string_view, int32_t> ids_;  // keys are in `texts_`
  MergeTable merges_;
  bool cuts_at_marks_ = false;  // no merge reaches across the head of a word
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
  std::vector<int32_t> ids;               // of the symbols, before merges and after
  std::vector<MergeTable::Merged> pairs;  // of each symbol with the next one
  std::vector<Symbol> symbols;
  std::vector<Candidate> heap;
};

}  // namespace vernier
