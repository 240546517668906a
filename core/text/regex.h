// Expressions of tokenizer files: Oniguruma's syntax and meaning, on PCRE2.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace vernier {

/// Immutable; safe to share between threads.
class Regex {
 public:
  struct Match {
    size_t begin, end;  // bytes; never empty
  };

  /// An expression that is wrong, may match the empty text, or means something else to PCRE2 is a
  /// UsageError that shows it.
  explicit Regex(const std::string& expression);

  /// Looks for `text` as it is, which is not empty.
  static Regex literal(std::string text);

  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;
  ~Regex();

  /// The first match in `text`, valid UTF-8, at or after `from`.
  std::optional<Match> find(std::string_view text, size_t from) const;

  std::string replace(std::string_view text, std::string_view content) const;

 private:
  struct Code;
  Regex();

  std::string expression_;
  std::unique_ptr<Code> code_;  // none: a literal
};

}  // namespace vernier
