// Cuts text into the pieces that byte-pair encoding works on.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/text/cutter.h"
#include "core/text/tokenizer_spec.h"

namespace vernier {

/// Immutable; safe to share between threads.
class Pretokenizer {
 public:
  /// Room that calls share.
  struct Scratch {
    std::vector<std::string_view> pieces, finer;
    std::string text;
  };

  /// The steps of `spec`: each cuts what the one before has left. A wrong expression is a
  /// UsageError.
  explicit Pretokenizer(const TokenizerSpec& spec);

  /// The pieces of `text`, valid UTF-8. `at_head` says that it begins the whole text. They stay
  /// valid as long as the text does and the room is not used again.
  std::span<const std::string_view> split(std::string_view text, bool at_head,
                                          Scratch& scratch) const;

 private:
  std::vector<std::unique_ptr<Cutter>> cutters_;
  std::optional<Metaspace> metaspace_;
};

}  // namespace vernier
