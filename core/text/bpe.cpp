#include "core/text/bpe.h"

#include <algorithm>
#include <limits>
#include <tuple>

#include "core/base/errors.h"

namespace vernier {
namespace {

void append_utf8(uint32_t code, std::string& out) {  // below U+0800 is enough here
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else {
    out += static_cast<char>(0xC0 | (code >> 6));
    out += static_cast<char>(0x80 | (code & 0x3F));
  }
}

bool stands_for_itself(uint32_t byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

struct ByteTable {
  std::array<std::string, 256> symbols;
  std::unordered_map<std::string_view, char> bytes;  // keys are in `symbols`

  ByteTable() {
    uint32_t next = 0x100;
    for (uint32_t byte = 0; byte < 256; ++byte) {
      append_utf8(stands_for_itself(byte) ? byte : next++, symbols[byte]);
      bytes.emplace(symbols[byte], static_cast<char>(byte));
    }
  }
};

const ByteTable& table() {
  static const ByteTable instance;
  return instance;
}

}  // namespace

std::string_view byte_symbol(uint8_t byte) { return table().symbols[byte]; }

std::string bytes_of_token(std::string_view token) {
  std::string out;
  for (size_t i = 0; i < token.size();) {
    // Symbols take one or two bytes of UTF-8.
    const size_t length = static_cast<unsigned char>(token[i]) < 0x80 ? 1 : 2;
    const auto found = table().bytes.find(token.substr(i, length));
    if (found == table().bytes.end()) return std::string(token);
    out += found->second;
    i += length;
  }
  return out;
}

Bpe::Bpe(const std::array<int32_t, 256>& byte_ids, const std::vector<Merge>& merges)
    : byte_ids_(byte_ids) {
  merges_.reserve(merges.size());
  int32_t rank = 0;
  for (const Merge& merge : merges)
    merges_.emplace(pair_key(merge.left, merge.right), Ranked{rank++, merge.product});
}

// One symbol a byte.
void Bpe::fill(std::string_view piece, Scratch& scratch) const {
  ensure(piece.size() < size_t{std::numeric_limits<int32_t>::max()}, "a piece of less than 2 GiB");
  const auto size = static_cast<int32_t>(piece.size());
  scratch.symbols.clear();
  for (int32_t i = 0; i < size; ++i) {
    const auto byte = static_cast<uint8_t>(piece[static_cast<size_t>(i)]);
    if (byte_ids_[byte] < 0)
      fail("the text has the byte ", int{byte}, ", for which this vocabulary has no token");
    scratch.symbols.push_back({byte_ids_[byte], i - 1, i + 1 < size ? i + 1 : -1});
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
  const auto found = merges_.find(pair_key(symbol.id, right_id));
  if (found == merges_.end()) return;
  scratch.heap.push_back({found->second.rank, left, symbol.id, right_id, found->second.product});
  std::push_heap(scratch.heap.begin(), scratch.heap.end(), kLater);
}

void Bpe::encode(std::string_view piece, Scratch& scratch, std::vector<int32_t>& ids) const {
  fill(piece, scratch);
  auto& symbols = scratch.symbols;
  auto& heap = scratch.heap;
  const auto at = [&](int32_t place) -> auto& { return symbols[static_cast<size_t>(place)]; };
  heap.clear();
  for (size_t i = 0; i < symbols.size(); ++i) push(scratch, static_cast<int32_t>(i));
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
  for (const auto& symbol : symbols)
    if (symbol.id >= 0) ids.push_back(symbol.id);
}

}  // namespace vernier
