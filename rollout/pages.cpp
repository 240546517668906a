#include "rollout/pages.h"

#include <xxhash.h>

#include <algorithm>

#include "core/base/errors.h"

namespace vernier {
namespace {
uint64_t hash_of(std::span<const int32_t> tokens) {
  return XXH3_64bits(tokens.data(), tokens.size_bytes());
}
}  // namespace

size_t PagePool::KeyHash::operator()(const Key& key) const {
  return static_cast<size_t>(key.hash ^ static_cast<uint64_t>(key.before) * 0x9E3779B97F4A7C15U);
}

PagePool::PagePool(int64_t pages, int64_t page_tokens) : page_tokens_(page_tokens) {
  ensure(pages > 0 && page_tokens > 0, "pages with room in them");
  pages_.resize(static_cast<size_t>(pages));
  for (int64_t page = pages; page-- > 0;) free_.push_back(static_cast<int32_t>(page));
}

int32_t PagePool::take() {
  if (free_.empty()) {
    ensure(!kept_.empty(), "a page to take");
    const int32_t oldest = kept_.front();
    kept_.pop_front();
    forget(oldest);
    free_.push_back(oldest);
  }
  const int32_t page = free_.back();
  free_.pop_back();
  at(page).references = 1;
  return page;
}

void PagePool::share(int32_t page) {
  ensure(at(page).references > 0, "a page in use");
  ++at(page).references;
}

void PagePool::release(int32_t page) {
  Page& one = at(page);
  ensure(one.references > 0, "a page in use");
  if (--one.references > 0) return;
  if (one.prefix == 0)
    free_.push_back(page);
  else
    one.place = kept_.insert(kept_.end(), page);
}

int32_t PagePool::find(int64_t before, std::span<const int32_t> tokens) const {
  const auto found = known_.find({before, hash_of(tokens)});
  if (found == known_.end()) return -1;
  // Two texts may share a hash; the tokens decide.
  return std::ranges::equal(at(found->second).tokens, tokens) ? found->second : -1;
}

void PagePool::remember(std::span<const int32_t> ids, int32_t page) {
  const auto size = static_cast<size_t>(page_tokens_);
  ensure(!ids.empty() && ids.size() % size == 0, "whole pages");
  int64_t before = 0;
  for (; ids.size() > size; ids = ids.subspan(size)) {
    const int32_t known = find(before, ids.first(size));
    if (known < 0) return;
    before = at(known).prefix;
  }
  Page& one = at(page);
  if (one.prefix != 0 || !known_.emplace(Key{before, hash_of(ids)}, page).second) return;
  one.prefix = ++last_prefix_;
  one.before = before;
  one.tokens.assign(ids.begin(), ids.end());
}

std::vector<int32_t> PagePool::match(std::span<const int32_t> ids) {
  const auto size = static_cast<size_t>(page_tokens_);
  std::vector<int32_t> out;
  int64_t before = 0;
  for (; ids.size() >= size; ids = ids.subspan(size)) {
    const int32_t page = find(before, ids.first(size));
    if (page < 0) break;
    Page& one = at(page);
    if (one.references++ == 0) kept_.erase(one.place);
    before = one.prefix;
    out.push_back(page);
  }
  return out;
}

void PagePool::forget(int32_t page) {
  Page& one = at(page);
  if (one.prefix == 0) return;
  known_.erase({one.before, hash_of(one.tokens)});
  one.prefix = one.before = 0;
  one.tokens.clear();
}

void PagePool::forget() {
  for (int32_t page = 0; page < static_cast<int32_t>(pages_.size()); ++page) forget(page);
  free_.insert(free_.end(), kept_.begin(), kept_.end());
  kept_.clear();
}

}  // namespace vernier
