// Cuts text into the pieces that byte-pair encoding works on, by regular expressions.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace vernier {

/// GPT-2's own expression, which the pre-tokenizer ByteLevel uses.
extern const char* const kGpt2Regex;

/// Every number character on its own, and runs of them: the pre-tokenizer Digits.
extern const char* const kDigitRegex;
extern const char* const kDigitsRegex;

/// Immutable; safe to share between threads.
class Pretokenizer {
 public:
  /// Expressions in Oniguruma's syntax, as tokenizer.json has them. Each cuts what the one before
  /// has left: its matches are pieces, and what lies between them. One that is wrong, or that means
  /// something else to PCRE2, is a UsageError.
  explicit Pretokenizer(const std::vector<std::string>& regexes);
  ~Pretokenizer();
  Pretokenizer(Pretokenizer&&) noexcept;
  Pretokenizer& operator=(Pretokenizer&&) noexcept;

  /// The pieces of `text`, valid UTF-8; together they are the text.
  std::vector<std::string_view> split(std::string_view text) const;

 private:
  class Pattern;
  std::vector<Pattern> patterns_;
};

}  // namespace vernier
