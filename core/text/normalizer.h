// What is done to a text before it is cut: Unicode's normal forms and replacements.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/text/tokenizer_spec.h"

namespace vernier {

/// Immutable; safe to share between threads.
class Normalizer {
 public:
  /// A wrong expression is a UsageError.
  explicit Normalizer(const std::vector<NormalizerStep>& steps);
  ~Normalizer();
  Normalizer(Normalizer&&) noexcept;
  Normalizer& operator=(Normalizer&&) noexcept;

  /// Whether it leaves every text as it is.
  bool empty() const { return steps_.empty(); }

  /// Applies the steps in turn to valid UTF-8. Normal forms are those of `tokenizers`, whose tables
  /// are older than the library's: see inert_ranges().
  std::string apply(std::string_view text) const;

 private:
  class Step;
  std::vector<Step> steps_;
};

}  // namespace vernier
