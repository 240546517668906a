// Finds tokens that are written out in a text, such as <|im_end|>.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/text/tokenizer_spec.h"

namespace vernier {

/// A trie over the bytes of tokens. A search takes O(text × longest token).
class TokenMatcher {
 public:
  struct Match {
    size_t begin, end;
    int32_t index;
  };

  /// `content` is not empty. False where it was there already.
  bool add(std::string_view content, int32_t index);

  bool empty() const { return indices_.size() == 1; }

  /// The leftmost match at or after `from`, and of those the longest.
  std::optional<Match> next(std::string_view text, size_t from) const;

 private:
  static uint64_t edge(int32_t node, char byte) {
    return (uint64_t{static_cast<uint32_t>(node)} << 8) | static_cast<unsigned char>(byte);
  }
  std::optional<Match> at(std::string_view text, size_t from) const;

  std::vector<int32_t> indices_ = {-1};  // of the token that ends at a node, -1 where none does
  std::unordered_map<uint64_t, int32_t> edges_;
  std::array<bool, 256> first_{};  // bytes that begin a token
};

/// Cuts a text at its added tokens, with their flags, as AddedVocabulary::find_matches of
/// tokenizers 0.23 does.
class AddedTokens {
 public:
  /// Looks for `token` as `content`; false where another one is looked for as the same.
  bool add(std::string_view content, const AddedToken& token);

  /// Calls `token(id)` for each added token of `text` and `between(text, place)` for what lies
  /// between them.
  template <class Token, class Between>
  void cut(std::string_view text, const Token& token, const Between& between) const;

 private:
  struct Found {
    size_t begin, end;
    bool accepted;
  };
  // `spaces_end`: how far spaces are known to go, so that none is looked at twice.
  Found widened(std::string_view text, const TokenMatcher::Match& match, size_t done,
                size_t& spaces_end) const;

  TokenMatcher matcher_;
  std::vector<AddedToken> tokens_;
};

template <class Token, class Between>
void AddedTokens::cut(std::string_view text, const Token& token, const Between& between) const {
  size_t done = 0, from = 0, spaces_end = 0;
  while (!matcher_.empty()) {
    const auto match = matcher_.next(text, from);
    if (!match) break;
    from = match->end;
    const Found found = widened(text, *match, done, spaces_end);
    if (!found.accepted) continue;
    if (found.begin > done) between(text.substr(done, found.begin - done), done);
    token(tokens_[static_cast<size_t>(match->index)].id);
    // May lie before the old one, where that token took spaces along in which this one was found.
    done = found.end;
  }
  if (done < text.size()) between(text.substr(done), done);
}

}  // namespace vernier
