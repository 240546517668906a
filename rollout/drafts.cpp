#include "rollout/drafts.h"

#include <xxhash.h>

#include <algorithm>

namespace vernier {

GroupDrafts::GroupDrafts(std::span<const int32_t> prompt, int64_t responses, int64_t ngram)
    : ngram_(static_cast<size_t>(ngram)),
      texts_(static_cast<size_t>(responses) + 1),
      seen_(texts_.size()) {
  for (const int32_t id : prompt) append(0, id);
  const auto tail = prompt.last(std::min(ngram_, prompt.size()));
  for (size_t i = 1; i < texts_.size(); ++i) {
    texts_[i].assign(tail.begin(), tail.end());
    seen_[i] = seen_[0];
  }
}

void GroupDrafts::add(int64_t response, int32_t id) { append(response + 1, id); }

void GroupDrafts::append(int64_t text, int32_t id) {
  std::vector<int32_t>& ids = texts_[static_cast<size_t>(text)];
  ids.push_back(id);
  if (ids.size() < ngram_) return;
  const uint64_t hash = XXH3_64bits(&ids[ids.size() - ngram_], ngram_ * sizeof(int32_t));
  Place& last = last_[hash];
  seen_[static_cast<size_t>(text)] = last;
  last = {.text = text, .next = ids.size()};
}

std::vector<int32_t> GroupDrafts::guess(int64_t response, int64_t count) const {
  const Place& place = seen_[static_cast<size_t>(response) + 1];
  if (place.text < 0) return {};
  const std::vector<int32_t>& ids = texts_[static_cast<size_t>(place.text)];
  const size_t end = std::min(ids.size(), place.next + static_cast<size_t>(count));
  return {ids.begin() + static_cast<int64_t>(place.next), ids.begin() + static_cast<int64_t>(end)};
}

}  // namespace vernier
