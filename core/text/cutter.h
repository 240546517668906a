// One way to cut a text into pieces.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "core/text/tokenizer_spec.h"

namespace vernier {

/// Immutable; safe to share between threads.
class Cutter {
 public:
  virtual ~Cutter() = default;

  /// Appends the pieces of `text`, valid UTF-8 and not empty, in their order.
  virtual void cut(std::string_view text, std::vector<std::string_view>& pieces) const = 0;
};

/// By the general way: PCRE2, or a search for a text.
std::unique_ptr<Cutter> make_cutter(const PretokenizerStep& step);

/// By hand, much faster: for digits and for the expressions of GPT-2, Llama 3 and Qwen 2. None for
/// other steps. Pieces are those of make_cutter(), which the tests hold it to.
std::unique_ptr<Cutter> make_scanner(const PretokenizerStep& step);

}  // namespace vernier
