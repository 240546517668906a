#include "core/text/bpe.h"

#include <xxhash.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <limits>
#include <tuple>

#include "core/base/errors.h"
#include "core/text/patterns.h"
#include "core/text/unicode.h"

namespace vernier {
namespace {

bool stands_for_itself(uint32_t byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

struct ByteTable {
  std::array<std::string, 256> symbols;
  std::unordered_map<std::string_view, char> bytes;  // keys are in `symbols`

  ByteTable() {
    char32_t next = 0x100;
    for (uint32_t byte = 0; byte < 256; ++byte) {
      append_character(stands_for_itself(byte) ? byte : next++, symbols[byte]);
      bytes.emplace(symbols[byte], static_cast<char>(byte));
    }
  }
};

const ByteTable& table() {
  static const ByteTable instance;
  return instance;
}

// The bytes of a token that consists of byte symbols alone; false for any other.
bool to_bytes(std::string_view token, std::string& out) {
  for (size_t i = 0; i < token.size();) {
    // Symbols take one or two bytes of UTF-8.
    const size_t length = static_cast<unsigned char>(token[i]) < 0x80 ? 1 : 2;
    const auto found = table().bytes.find(token.substr(i, length));
    if (found == table().bytes.end()) return false;
    out += found->second;
    i += length;
  }
  return true;
}

}  // namespace

std::string_view byte_symbol(uint8_t byte) { return table().symbols[byte]; }

std::string bytes_of_token(std::string_view token) {
  std::string out;
  return to_bytes(token, out) ? out : std::string(token);
}

std::string fallback_token(uint8_t byte) {
  constexpr const char* kDigits = "0123456789ABCDEF";
  return {'<', '0', 'x', kDigits[byte >> 4], kDigits[byte & 15], '>'};
}

MergeTable::MergeTable(const std::vector<Merge>& merges) {
  const size_t size = std::bit_ceil(std::max<size_t>(merges.size() * 2, 2));
  slots_.resize(size);
  shift_ = 64 - std::countr_zero(size);
  int32_t rank = 0;
  for (const Merge& merge : merges) {
    const uint64_t pair = pair_key(merge.left, merge.right);
    size_t place = home(pair);
    while (slots_[place].pair != kEmpty) place = (place + 1) & (size - 1);
    slots_[place] = {pair, {rank++, merge.product}};
  }
}

MergeTable::Merged MergeTable::find(int32_t left, int32_t right) const {
  const uint64_t pair = pair_key(left, right);
  for (size_t place = home(pair);; place = (place + 1) & (slots_.size() - 1)) {
    const Slot& slot = slots_[place];
    if (slot.pair == pair || slot.pair == kEmpty) return slot.merged;
  }
}

namespace {

// What a thread remembers of the pieces that it has encoded. A place is a piece's hash; a new piece
// takes the place of an old one.
class PieceCache {
 public:
  struct Entry {  // one line of the processor's cache
    uint32_t owner = 0;
    uint8_t size = 0, num_ids = 0;
    std::array<char, 34> text;
    std::array<int32_t, 6> ids;

    bool holds(uint32_t serial, std::string_view piece) const {
      return owner == serial && size == piece.size() &&
             std::memcmp(text.data(), piece.data(), piece.size()) == 0;
    }
  };
  static_assert(sizeof(Entry) == 64);

  static bool fits(std::string_view piece) { return piece.size() <= Entry().text.size(); }

  // The place of a piece that fits.
  Entry& place(uint32_t serial, std::string_view piece) {
    return entries_[XXH3_64bits_withSeed(piece.data(), piece.size(), serial) & (kEntries - 1)];
  }

  static void keep(Entry& entry, uint32_t serial, std::string_view piece, const int32_t* ids,
                   size_t count) {
    if (count > entry.ids.size()) return;
    entry.owner = serial;
    entry.size = static_cast<uint8_t>(piece.size());
    entry.num_ids = static_cast<uint8_t>(count);
    std::copy(piece.begin(), piece.end(), entry.text.begin());
    std::copy(ids, ids + count, entry.ids.begin());
  }

 private:
  static constexpr size_t kEntries = size_t{1} << 15;  // 2 MiB
  std::vector<Entry> entries_ = std::vector<Entry>(kEntries);
};

PieceCache& piece_cache() {
  thread_local PieceCache cache;
  return cache;
}

// Whether no merge joins the end of a word to a mark at the head of the next one. Then words can be
// encoded one by one, which gives the same ids.
bool words_stand_alone(const TokenizerSpec& spec) {
  const auto text = [&](int32_t id) -> std::string_view {
    return spec.tokens[static_cast<size_t>(id)];
  };
  return std::none_of(spec.merges.begin(), spec.merges.end(), [&](const Merge& merge) {
    return text(merge.right).starts_with(kSpaceMark) && !text(merge.left).ends_with(kSpaceMark);
  });
}

uint32_t next_serial() {
  static std::atomic<uint32_t> last{0};
  return ++last;
}

}  // namespace

Bpe::Bpe(const TokenizerSpec& spec)
    : serial_(next_serial()),
      bytes_(spec.model == TokenizerSpec::Model::byte_level),
      ignore_merges_(spec.ignore_merges),
      fuse_unknown_(spec.fuse_unknown),
      unknown_(spec.unknown),
      merges_(spec.merges) {
  byte_ids_.fill(-1);
  index_text(spec);
  for (size_t byte = 0; byte < byte_ids_.size(); ++byte) {
    if (bytes_)
      byte_ids_[byte] = find(std::string(1, static_cast<char>(byte)));
    else if (spec.byte_fallback)
      byte_ids_[byte] = find(fallback_token(static_cast<uint8_t>(byte)));
  }
  const int32_t mark = bytes_ ? -1 : find(kSpaceMark);
  cuts_at_marks_ = mark >= 0 && mark != unknown_ && !ignore_merges_ && words_stand_alone(spec);
}

// Tokens by what they are in a piece.
void Bpe::index_text(const TokenizerSpec& spec) {
  std::vector<std::pair<size_t, int32_t>> starts;
  for (size_t id = 0; id < spec.tokens.size(); ++id) {
    const std::string& token = spec.tokens[id];
    if (!spec.in_model[id] || token.empty()) continue;
    const size_t start = texts_.size();
    if (!bytes_) {
      texts_ += token;
    } else if (!to_bytes(token, texts_)) {
      texts_.resize(start);
      continue;
    }
    starts.emplace_back(start, static_cast<int32_t>(id));
  }
  ids_.reserve(starts.size());
  const std::string_view all = texts_;
  for (size_t i = 0; i < starts.size(); ++i) {
    const size_t end = i + 1 < starts.size() ? starts[i + 1].first : all.size();
    ids_.emplace(all.substr(starts[i].first, end - starts[i].first), starts[i].second);
  }
}

int32_t Bpe::find(std::string_view token) const {
  const auto found = ids_.find(token);
  return found == ids_.end() ? -1 : found->second;
}

void Bpe::fill(std::string_view piece, Scratch& scratch) const {
  ensure(piece.size() < size_t{std::numeric_limits<int32_t>::max()}, "a piece of less than 2 GiB");
  scratch.ids.clear();
  if (!bytes_) return fill_text(piece, scratch);
  for (const char c : piece) {
    const auto byte = static_cast<uint8_t>(c);
    if (byte_ids_[byte] < 0)
      fail("the text has the byte ", int{byte}, ", for which this vocabulary has no token");
    scratch.ids.push_back(byte_ids_[byte]);
  }
}

// Adds the byte tokens of a character; false where one of them is missing.
bool Bpe::fall_back(std::string_view character, Scratch& scratch) const {
  for (const char byte : character)
    if (byte_ids_[static_cast<uint8_t>(byte)] < 0) return false;
  for (const char byte : character) scratch.ids.push_back(byte_ids_[static_cast<uint8_t>(byte)]);
  return true;
}

// An unknown token is added when the next known character comes, byte tokens are added at once:
// so these overtake it. (BPE::merge_word of tokenizers 0.23 does the same.)
void Bpe::fill_text(std::string_view piece, Scratch& scratch) const {
  bool pending = false;
  while (!piece.empty()) {
    const size_t length = character_length(piece);
    const std::string_view character = piece.substr(0, std::max<size_t>(length, 1));
    piece.remove_prefix(character.size());
    if (const int32_t id = length == 0 ? -1 : find(character); id >= 0) {
      if (pending) scratch.ids.push_back(unknown_);
      pending = false;
      scratch.ids.push_back(id);
      continue;
    }
    if (fall_back(character, scratch)) continue;
    if (length == 0)
      fail("the text has the byte ", int{static_cast<uint8_t>(character[0])},
           ", which is not UTF-8, and this vocabulary has no token for it");
    if (unknown_ < 0)
      fail("the text has the character '", character, "', for which this vocabulary has no token");
    if (pending && !fuse_unknown_) scratch.ids.push_back(unknown_);
    pending = true;
  }
  if (pending) scratch.ids.push_back(unknown_);
}

// The lowest rank first, and of those the leftmost, by looking at all: the fastest way for few.
void Bpe::merge_few(Scratch& scratch) const {
  auto& ids = scratch.ids;
  auto& pairs = scratch.pairs;
  const auto pair_at = [&](size_t i) {
    return i + 1 < ids.size() ? merges_.find(ids[i], ids[i + 1]) : MergeTable::Merged{-1, -1};
  };
  pairs.clear();
  for (size_t i = 0; i < ids.size(); ++i) pairs.push_back(pair_at(i));
  while (true) {
    size_t best = ids.size();
    uint32_t lowest = ~uint32_t{0};  // as unsigned, -1 is the highest rank
    for (size_t i = 0; i < pairs.size(); ++i) {
      const auto rank = static_cast<uint32_t>(pairs[i].rank);
      if (rank < lowest) {
        lowest = rank;
        best = i;
      }
    }
    if (best == ids.size()) return;
    const auto next = static_cast<std::ptrdiff_t>(best) + 1;
    ids[best] = pairs[best].product;
    ids.erase(ids.begin() + next);
    pairs.erase(pairs.begin() + next);
    pairs[best] = pair_at(best);
    if (best > 0) pairs[best - 1] = pair_at(best - 1);
  }
}

namespace {

// Puts the candidate of the lowest rank, and of those the leftmost, at the head of a heap.
constexpr auto kLater = [](const auto& a, const auto& b) {
  return std::tie(a.rank, a.place) > std::tie(b.rank, b.place);
};

}  // namespace

// Notes that the symbol at `left` may join its right neighbour, where there is such a merge.
void Bpe::push(Scratch& scratch, int32_t left) const {
  const auto& symbol = scratch.symbols[static_cast<size_t>(left)];
  if (symbol.next < 0) return;
  const int32_t right_id = scratch.symbols[static_cast<size_t>(symbol.next)].id;
  const MergeTable::Merged merged = merges_.find(symbol.id, right_id);
  if (merged.rank < 0) return;
  scratch.heap.push_back({merged.rank, left, symbol.id, right_id, merged.product});
  std::push_heap(scratch.heap.begin(), scratch.heap.end(), kLater);
}

// The same with a heap, in O(n log n).
void Bpe::merge_many(Scratch& scratch) const {
  auto& symbols = scratch.symbols;
  auto& heap = scratch.heap;
  const auto at = [&](int32_t place) -> auto& { return symbols[static_cast<size_t>(place)]; };
  const auto size = static_cast<int32_t>(scratch.ids.size());
  symbols.clear();
  heap.clear();
  for (int32_t i = 0; i < size; ++i)
    symbols.push_back({scratch.ids[static_cast<size_t>(i)], i - 1, i + 1 < size ? i + 1 : -1});
  for (int32_t i = 0; i < size; ++i) push(scratch, i);
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), kLater);
    const auto best = heap.back();
    heap.pop_back();
    auto& left = at(best.place);
    if (left.id != best.left || left.next < 0 || at(left.next).id != best.right) continue;
    at(left.next).id = -1;
    left.id = best.product;
    left.next = at(left.next).next;
    if (left.next >= 0) at(left.next).previous = best.place;
    push(scratch, best.place);
    if (left.previous >= 0) push(scratch, left.previous);
  }
  scratch.ids.clear();
  for (const auto& symbol : symbols)
    if (symbol.id >= 0) scratch.ids.push_back(symbol.id);
}

void Bpe::encode_word(std::string_view word, Scratch& scratch, std::vector<int32_t>& ids) const {
  constexpr size_t kFew = 40;  // symbols
  const bool fits = PieceCache::fits(word);
  PieceCache::Entry* entry = nullptr;
  if (fits) {
    entry = &piece_cache().place(serial_, word);
    if (entry->holds(serial_, word)) {
      ids.insert(ids.end(), entry->ids.begin(), entry->ids.begin() + entry->num_ids);
      return;
    }
  }
  const int32_t whole = ignore_merges_ ? find(word) : -1;
  if (whole >= 0) {
    scratch.ids.assign(1, whole);
  } else {
    fill(word, scratch);
    if (scratch.ids.size() <= kFew)
      merge_few(scratch);
    else
      merge_many(scratch);
  }
  ids.insert(ids.end(), scratch.ids.begin(), scratch.ids.end());
  if (fits) PieceCache::keep(*entry, serial_, word, scratch.ids.data(), scratch.ids.size());
}

void Bpe::encode(std::string_view piece, Scratch& scratch, std::vector<int32_t>& ids) const {
  if (!cuts_at_marks_) return encode_word(piece, scratch, ids);
  const std::string_view mark = kSpaceMark;
  size_t begin = 0;
  // A word begins with a run of marks, which may merge with each other.
  for (size_t at = piece.find(mark); at != std::string_view::npos; at = piece.find(mark, at)) {
    if (at > begin) encode_word(piece.substr(begin, at - begin), scratch, ids);
    begin = at;
    while (piece.substr(at).starts_with(mark)) at += mark.size();
  }
  if (begin < piece.size()) encode_word(piece.substr(begin), scratch, ids);
}

}  // namespace vernier
