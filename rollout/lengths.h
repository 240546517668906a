// How long a response will be, guessed from those before it.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/types.h"

namespace vernier {

/// Moving means of response lengths: of a prompt that was answered before, else of prompts about as
/// long, else of all. A guess changes the order of work and nothing else. Memory does not grow with
/// the number of prompts: one that is met later may take another's place.
class LengthPredictor {
 public:
  LengthPredictor() : prompts_(kPrompts) {}

  /// A response to the prompt at `index` of its source, `prompt_tokens` long, took `length` tokens.
  void add(int64_t index, int64_t prompt_tokens, int64_t length);

  /// Tokens; 0 where nothing is known at all.
  int64_t expected(int64_t index, int64_t prompt_tokens) const;

 private:
  static constexpr size_t kPrompts = 1 << 14, kSizes = 32;
  struct Mean {
    double value = 0;
    bool known = false;
    void add(double length);
  };
  struct Slot {
    int64_t index = -1;
    Mean mean;
  };

  static size_t size_class(int64_t prompt_tokens);

  std::vector<Slot> prompts_;
  std::array<Mean, kSizes> sizes_;  // by powers of two of the prompt's length
  Mean all_;
};

}  // namespace vernier
