// The text of an answer while its tokens come.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/text/pieces.h"
#include "rollout/ending.h"

namespace vernier {

/// Gives out what can no longer change: whole characters, and nothing that may be the beginning of
/// a stop text. Joined, what it gives is the text of all tokens up to the first stop text, with
/// U+FFFD for bytes that are no UTF-8.
class TextStream {
 public:
  /// `pieces` must outlive it.
  TextStream(const TokenPieces& pieces, std::vector<std::string> stops);

  /// Takes in a token. One that is not `shown` ended the answer and is no part of its text.
  void add(int32_t id, bool shown = true);
  /// No token comes any more: nothing is held back for one.
  void end();

  /// Text that has not been given out, and is certain.
  std::string take();

  /// Characters that the text had before the newest token, stop texts and all. A character that
  /// several tokens make counts with the last of them.
  int64_t offset() const { return offset_; }
  /// The bytes that the newest token stands for.
  const std::string& bytes() const { return bytes_; }
  /// What `id` would have stood for in place of the newest token.
  const std::string& bytes_of(int32_t id) const { return pieces_.of(id, newest_is_first_).text; }

 private:
  void append(const std::string& bytes);
  void end_run();

  const TokenPieces& pieces_;
  StopTexts stops_;
  StopTexts::State matched_;
  std::string held_;  // bytes that have not been given out
  std::string run_;   // byte tokens at the end: whether they are text is known when they end
  std::string part_;  // bytes of a character that is not complete, for offset_
  std::string bytes_;
  bool begun_ = false, newest_is_first_ = true, ended_ = false;
  int64_t run_tokens_ = 0, characters_ = 0, offset_ = 0;
};

}  // namespace vernier
