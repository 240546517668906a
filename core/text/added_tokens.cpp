#include "core/text/added_tokens.h"

#include <algorithm>

#include "core/base/errors.h"
#include "core/text/unicode.h"

namespace vernier {

bool TokenMatcher::add(std::string_view content, int32_t index) {
  ensure(!content.empty(), "an added token of at least one byte");
  first_[static_cast<unsigned char>(content[0])] = true;
  int32_t node = 0;
  for (const char byte : content) {
    const auto fresh = static_cast<int32_t>(indices_.size());
    const auto [place, added] = edges_.emplace(edge(node, byte), fresh);
    if (added) indices_.push_back(-1);
    node = place->second;
  }
  int32_t& place = indices_[static_cast<size_t>(node)];
  if (place >= 0) return false;
  place = index;
  return true;
}

std::optional<TokenMatcher::Match> TokenMatcher::at(std::string_view text, size_t from) const {
  std::optional<Match> longest;
  int32_t node = 0;
  for (size_t i = from; i < text.size(); ++i) {
    const auto found = edges_.find(edge(node, text[i]));
    if (found == edges_.end()) break;
    node = found->second;
    if (const int32_t index = indices_[static_cast<size_t>(node)]; index >= 0)
      longest = {from, i + 1, index};
  }
  return longest;
}

std::optional<TokenMatcher::Match> TokenMatcher::next(std::string_view text, size_t from) const {
  for (size_t i = from; i < text.size(); ++i) {
    if (!first_[static_cast<unsigned char>(text[i])]) continue;
    if (const auto match = at(text, i)) return match;
  }
  return std::nullopt;
}

bool AddedTokens::add(std::string_view content, const AddedToken& token) {
  if (!matcher_.add(content, static_cast<int32_t>(tokens_.size()))) return false;
  tokens_.push_back(token);
  return true;
}

AddedTokens::Found AddedTokens::widened(std::string_view text, const TokenMatcher::Match& match,
                                        size_t done, size_t& spaces_end) const {
  const AddedToken& token = tokens_[static_cast<size_t>(match.index)];
  Found found{match.begin, match.end, true};
  if (token.single_word &&
      (ends_with_word(text.substr(0, match.begin)) || starts_with_word(text.substr(match.end))))
    return {match.begin, match.end, false};
  if (token.lstrip && match.begin > done)
    found.begin -= trailing_spaces(text.substr(done, match.begin - done));
  else if (token.lstrip)
    found.begin = done;
  if (token.rstrip) {
    if (match.end >= spaces_end) spaces_end = match.end + leading_spaces(text.substr(match.end));
    found.end = spaces_end;
  }
  return found;
}

}  // namespace vernier
