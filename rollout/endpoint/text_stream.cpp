#include "rollout/endpoint/text_stream.h"

#include <algorithm>
#include <utility>

#include "core/base/text.h"

namespace vernier {

TextStream::TextStream(const TokenPieces& pieces, std::vector<std::string> stops)
    : pieces_(pieces), stops_(std::move(stops)) {}

void TextStream::add(int32_t id, bool shown) {
  offset_ = characters_;
  newest_is_first_ = !begun_;
  const Piece& piece = pieces_.of(id, !begun_);
  bytes_ = piece.text;
  if (piece.nothing || !shown) return;
  begun_ = true;
  part_ += piece.text;
  const size_t whole = whole_utf8_prefix(part_);
  const std::string counted = to_valid_utf8(std::string_view(part_).substr(0, whole));
  characters_ += std::count_if(counted.begin(), counted.end(), [](char byte) {
    return (static_cast<unsigned char>(byte) & 0xC0) != 0x80;
  });
  part_.erase(0, whole);
  if (piece.byte) {
    run_ += piece.text;
    ++run_tokens_;
    return;
  }
  end_run();
  append(piece.text);
}

void TextStream::end() {
  end_run();
  ended_ = true;
}

std::string TextStream::take() {
  size_t certain = held_.size();
  if (matched_.found < 0 && !ended_) {
    int32_t open = 0;
    for (const int32_t bytes : matched_.matched) open = std::max(open, bytes);
    certain = whole_utf8_prefix(
        std::string_view(held_).substr(0, held_.size() - static_cast<size_t>(open)));
  }
  std::string out = to_valid_utf8(std::string_view(held_).substr(0, certain));
  held_.erase(0, certain);
  return out;
}

void TextStream::append(const std::string& bytes) {
  if (matched_.found >= 0) return;
  held_ += bytes;
  stops_.add(matched_, bytes);
  if (matched_.found < 0) return;
  // No byte of it has been given out, so its first occurrence in what is held is its first of all.
  held_.resize(held_.find(stops_.text(matched_.found)));
}

void TextStream::end_run() {
  std::string text = std::exchange(run_, "");
  const int64_t tokens = std::exchange(run_tokens_, 0);
  if (!is_utf8(text)) {
    text.clear();
    for (int64_t i = 0; i < tokens; ++i) text += "\uFFFD";
  }
  append(text);
}

}  // namespace vernier
