// Which pages of the key-value cache hold what. Bookkeeping alone: no tensors, no memory.
#pragma once

#include <cstdint>
#include <list>
#include <span>
#include <unordered_map>
#include <vector>

namespace vernier {

/// Pages of `page_tokens` tokens each, with reference counts. A full page whose content is known by
/// the tokens that lead up to it outlives its last user, until its room is needed: a later prompt
/// that begins the same way takes it over.
class PagePool {
 public:
  PagePool(int64_t pages, int64_t page_tokens);

  int64_t pages() const { return static_cast<int64_t>(pages_.size()); }
  int64_t page_tokens() const { return page_tokens_; }
  /// Pages for so many tokens.
  int64_t pages_for(int64_t tokens) const { return (tokens + page_tokens_ - 1) / page_tokens_; }

  /// Pages that take() can give: free ones, and those that are only remembered.
  int64_t available() const { return static_cast<int64_t>(free_.size() + kept_.size()); }
  int64_t in_use() const { return pages() - available(); }

  /// A page with one reference. Where none is free, the prefix that was used longest ago is given
  /// up. BugError where none is available.
  int32_t take();
  /// One reference more, of a page in use.
  void share(int32_t page);
  /// One reference less.
  void release(int32_t page);
  int32_t references(int32_t page) const { return at(page).references; }

  /// Remembers `page` as the last full page of `ids`, whose pages before it are remembered already
  /// (else nothing is done: it could not be found). ids.size() is a multiple of page_tokens. A
  /// prefix that is known by another page stays known by that one.
  void remember(std::span<const int32_t> ids, int32_t page);

  /// The remembered pages that `ids` begins with, in order, each with a reference more.
  std::vector<int32_t> match(std::span<const int32_t> ids);

  /// Forgets all prefixes: the weights that made them have changed.
  void forget();

 private:
  using Kept = std::list<int32_t>;  // least recently used first
  struct Page {
    int32_t references = 0;
    int64_t prefix = 0;           // number of the prefix that it completes; 0: none is known
    int64_t before = 0;           // the prefix that it goes on from
    std::vector<int32_t> tokens;  // its own, where the prefix is known
    Kept::iterator place;         // in kept_, where it is there
  };
  struct Key {
    int64_t before;
    uint64_t hash;
    bool operator==(const Key&) const = default;
  };
  struct KeyHash {
    size_t operator()(const Key& key) const;
  };

  Page& at(int32_t page) { return pages_[static_cast<size_t>(page)]; }
  const Page& at(int32_t page) const { return pages_[static_cast<size_t>(page)]; }
  /// The page after prefix `before` that holds these tokens; -1 where none is remembered.
  int32_t find(int64_t before, std::span<const int32_t> tokens) const;
  void forget(int32_t page);

  int64_t page_tokens_;
  int64_t last_prefix_ = 0;
  std::vector<Page> pages_;
  std::vector<int32_t> free_;
  Kept kept_;
  std::unordered_map<Key, int32_t, KeyHash> known_;
};

}  // namespace vernier
