// Sequences of an update, packed without padding into micro-batches.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/model/decoder.h"
#include "core/types.h"

namespace vernier {

/// Prompt and response of one sequence on its way through the model.
struct Sequence {
  const std::vector<int32_t>* prompt = nullptr;
  const int32_t* response = nullptr;
  int64_t length = 0;                    // response tokens
  std::span<const int32_t> forced = {};  // places of those that the loss leaves out, in order

  int64_t tokens() const { return static_cast<int64_t>(prompt->size()) + length; }

  /// Calls `body` with the place of every token that the loss holds.
  template <class Body>
  void for_drawn(const Body& body) const {
    auto next = forced.begin();
    for (int64_t t = 0; t < length; ++t) {
      if (next != forced.end() && *next == t)
        ++next;
      else
        body(t);
    }
  }
};

/// The first num_tokens tokens of a response.
Sequence sequence_of(const Response& response, const std::vector<int32_t>* prompt);

/// Places of the sequences of each micro-batch, at most `max_tokens` tokens in each; a sequence
/// that is longer has one to itself. Sequences of one prompt (the same object) stay together as far
/// as they fit, and their prompt counts once: groups with the longest sequences come first, in each
/// the longest first.
std::vector<std::vector<size_t>> split_by_tokens(const std::vector<Sequence>& sequences,
                                                 int64_t max_tokens);

/// Some sequences as a pass of the model takes them. A prompt that several of them share is there
/// once; that changes no bit of the forward pass.
struct PackedBatch {
  PackedTokens tokens;
  std::vector<int64_t> rows;     // before each drawn token, one sequence after the other [T]
  std::vector<int32_t> targets;  // the drawn tokens [T]
};
PackedBatch pack(const std::vector<Sequence>& sequences, const std::vector<size_t>& which);

/// Log-probability and entropy of the drawn tokens [T], and the sum of the squared probabilities of
/// the vocabulary where `square_mass`. They lie on the CPU, wherever the decoder computes.
ops::TokenLogprobs packed_logprobs(Decoder& decoder, const PackedBatch& batch, double temperature,
                                   bool square_mass = false);

}  // namespace vernier
