#include "rewards/repeats.h"

#include <algorithm>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>

#include "rewards/verify/scan.h"

namespace vernier {
namespace {

// The bytes of tokens [at, at + n): keys of exact n-grams.
std::string_view gram(std::span<const int32_t> tokens, size_t at, size_t n) {
  return {reinterpret_cast<const char*>(tokens.data() + at), n * sizeof(int32_t)};
}

bool all_equal(std::span<const int32_t> tokens) {
  return std::ranges::all_of(tokens, [&](int32_t id) { return id == tokens.front(); });
}

}  // namespace

std::vector<int32_t> numbered_words(std::string_view text) {
  std::unordered_map<std::string, int32_t> numbers;
  std::vector<int32_t> out;
  for (size_t at = 0; at < text.size();) {
    if (is_space(text[at])) {
      ++at;
      continue;
    }
    std::string word;
    for (; at < text.size() && !is_space(text[at]); ++at)
      word += text[at] >= 'A' && text[at] <= 'Z' ? static_cast<char>(text[at] + 32) : text[at];
    out.push_back(numbers.emplace(word, static_cast<int32_t>(numbers.size())).first->second);
  }
  return out;
}

double distinct_share(std::span<const int32_t> tokens, size_t n) {
  if (n == 0 || tokens.size() < n) return 1;
  const size_t total = tokens.size() - n + 1;
  std::unordered_map<std::string_view, char> seen;
  for (size_t at = 0; at < total; ++at) seen.emplace(gram(tokens, at, n), 0);
  return static_cast<double>(seen.size()) / static_cast<double>(total);
}

bool laser_repeats(std::span<const int32_t> tokens) {
  const size_t size = tokens.size(), n = size < 30 ? 2 : size < 100 ? 3 : 4;
  if (size <= 2 * n) return false;
  struct Seen {
    size_t last = 0;
    int64_t count = 0;
    bool close = false;  // two neighbouring occurrences were
  };
  std::unordered_map<std::string_view, Seen> seen;
  const int64_t enough = size < 200 ? 2 : 3;
  for (size_t at = size - n + 1; at-- > 0;) {  // from the end, as the code scans
    if (n > 2 && all_equal(tokens.subspan(at, n))) continue;
    Seen& one = seen[gram(tokens, at, n)];
    one.close |= one.count > 0 && 3 * (one.last - at) < size;
    one.last = at;
    if (++one.count >= enough && one.close) return true;
  }
  return distinct_share(tokens, 2 * n) < 1;
}

}  // namespace vernier
