// Finds tokens that are written out in a text, such as <|im_end|>.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace vernier {

/// A trie over the bytes of tokens. A search takes O(text × longest token).
class TokenMatcher {
 public:
  struct Match {
    size_t begin, end;
    int32_t id;
  };

  /// `content` is not empty; the last of equal ones counts.
  void add(std::string_view content, int32_t id);

  bool empty() const { return ids_.size() == 1; }

  /// The leftmost match at or after `from`, and of those the longest.
  std::optional<Match> next(std::string_view text, size_t from) const;

 private:
  static uint64_t edge(int32_t node, char byte) {
    return (uint64_t{static_cast<uint32_t>(node)} << 8) | static_cast<unsigned char>(byte);
  }
  std::optional<Match> at(std::string_view text, size_t from) const;

  std::vector<int32_t> ids_ = {-1};  // of the token that ends at a node, -1 where none does
  std::unordered_map<uint64_t, int32_t> edges_;
  std::array<bool, 256> first_{};  // bytes that begin a token
};

}  // namespace vernier
