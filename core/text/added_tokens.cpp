#include "core/text/added_tokens.h"

#include "core/base/errors.h"

namespace vernier {

void TokenMatcher::add(std::string_view content, int32_t id) {
  ensure(!content.empty(), "an added token of at least one byte");
  first_[static_cast<unsigned char>(content[0])] = true;
  int32_t node = 0;
  for (const char byte : content) {
    const auto fresh = static_cast<int32_t>(ids_.size());
    const auto [place, added] = edges_.emplace(edge(node, byte), fresh);
    if (added) ids_.push_back(-1);
    node = place->second;
  }
  ids_[static_cast<size_t>(node)] = id;
}

std::optional<TokenMatcher::Match> TokenMatcher::at(std::string_view text, size_t from) const {
  std::optional<Match> longest;
  int32_t node = 0;
  for (size_t i = from; i < text.size(); ++i) {
    const auto found = edges_.find(edge(node, text[i]));
    if (found == edges_.end()) break;
    node = found->second;
    if (const int32_t id = ids_[static_cast<size_t>(node)]; id >= 0) longest = {from, i + 1, id};
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

}  // namespace vernier
