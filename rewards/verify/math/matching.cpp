#include "rewards/verify/math/matching.h"

#include <cstdint>
#include <vector>

namespace vernier::math {
namespace {

class Matching {
 public:
  Matching(size_t size, const std::function<bool(size_t, size_t)>& equal)
      : size_(size), equal_(equal), known_(size * size, kUnknown), partner_(size, kFree) {}

  bool run() {
    for (size_t i = 0; i < size_; ++i) {
      // Most are in the same order.
      if (partner_[i] == kFree && is_equal(i, i)) {
        partner_[i] = i;
        continue;
      }
      seen_.assign(size_, false);
      if (!place(i)) return false;
    }
    return true;
  }

 private:
  static constexpr uint8_t kUnknown = 2;
  static constexpr size_t kFree = ~size_t{0};

  bool is_equal(size_t i, size_t j) {
    uint8_t& known = known_[i * size_ + j];
    if (known == kUnknown) known = equal_(i, j) ? 1 : 0;
    return known == 1;
  }

  bool place(size_t i) {
    for (size_t j = 0; j < size_; ++j) {
      if (seen_[j] || !is_equal(i, j)) continue;
      seen_[j] = true;
      if (partner_[j] == kFree || place(partner_[j])) {
        partner_[j] = i;
        return true;
      }
    }
    return false;
  }

  size_t size_;
  const std::function<bool(size_t, size_t)>& equal_;
  std::vector<uint8_t> known_;
  std::vector<size_t> partner_;  // of the other's elements
  std::vector<bool> seen_;
};

}  // namespace

bool can_match(size_t size, size_t other_size, const std::function<bool(size_t, size_t)>& equal) {
  return size == other_size && Matching(size, equal).run();
}

}  // namespace vernier::math
