#include "core/kernels/adam8.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <vector>

#include "core/kernels/cpu/build.h"

namespace vernier::kernels {
namespace {

constexpr int kCodes = 256, kDecades = 7;

// The 256 values, in order: decade i of the seven has 2^i values (of each sign), or twice as many
// where none is negative, which are the middles of equal parts of [0.1, 1] times its power of ten;
// then 0 and 1.
std::vector<float> sorted_values(bool is_signed) {
  std::vector<float> values = {0.0f, 1.0f};
  for (int i = 0; i < kDecades; ++i) {
    const int parts = is_signed ? 1 << i : 2 << i;
    const double power = std::pow(10.0, i - (kDecades - 1));
    for (int k = 0; k < parts; ++k) {
      const double middle = 0.1 + 0.9 * (k + 0.5) / parts;
      values.push_back(static_cast<float>(power * middle));
      if (is_signed) values.push_back(static_cast<float>(-power * middle));
    }
  }
  std::sort(values.begin(), values.end());
  return values;
}

// Code 0 is 0, so that memory of zeros means zeros; the other values follow in order.
class Codes {
 public:
  explicit Codes(bool is_signed) : is_signed_(is_signed) {
    std::vector<float> sorted = sorted_values(is_signed);
    const auto zero = std::find(sorted.begin(), sorted.end(), 0.0f);
    std::rotate(sorted.begin(), zero, zero + 1);
    std::copy(sorted.begin(), sorted.end(), values_.begin());
    // Magnitudes in order, with their codes.
    std::vector<std::pair<float, uint8_t>> rising;
    for (int code = 0; code < kCodes; ++code)
      if (values_[code] >= 0) rising.emplace_back(values_[code], static_cast<uint8_t>(code));
    std::sort(rising.begin(), rising.end());
    count_ = static_cast<int>(rising.size());
    for (int i = 0; i < count_; ++i) {
      code_[i] = rising[i].second;
      const float next = i + 1 < count_ ? rising[i + 1].first : 2 * rising[i].first;
      middle_[i] = 0.5f * (rising[i].first + next);
      if (!is_signed) continue;
      const auto negative = std::find(values_.begin(), values_.end(), -rising[i].first);
      // The largest has no negative: the one below it stands in.
      negative_[i] = negative != values_.end() ? static_cast<uint8_t>(negative - values_.begin())
                                               : negative_[i - 1];
    }
    negative_[0] = code_[0];
    for (int bucket = 0; bucket < kBuckets; ++bucket) {
      const auto edge = std::bit_cast<float>(static_cast<uint32_t>(bucket) << 16);
      int place = bucket == 0 ? 0 : first_[bucket - 1];
      while (place + 1 < count_ && middle_[place] < edge) ++place;
      first_[bucket] = static_cast<uint8_t>(place);
    }
  }

  float value(uint8_t code) const { return values_[code]; }

  // A bucket of floats whose upper halves agree has one middle at
  // most, but for those near 0, where all of it is far below the smallest code.
  uint8_t nearest(float value) const {
    const float size = std::abs(value) <= 1.0f ? std::abs(value) : 1.0f;
    int place = first_[std::bit_cast<uint32_t>(size) >> 16];
    while (place + 1 < count_ && size > middle_[place]) ++place;
    return is_signed_ && value < 0 ? negative_[place] : code_[place];
  }

 private:
  static constexpr int kBuckets = 0x3F81;  // upper halves of the floats in [0, 1]
  bool is_signed_;
  int count_ = 0;
  std::array<float, kCodes> values_{}, middle_{};
  std::array<uint8_t, kCodes> code_{}, negative_{};
  std::array<uint8_t, kBuckets> first_{};
};

const Codes& codes_of(bool is_signed) {
  static const Codes with_sign(true), without(false);
  return is_signed ? with_sign : without;
}

// Numbers of a block from codes, and back.
void read_block(const uint8_t* codes, float scale, const Codes& table, float* out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = table.value(codes[i]) * scale;
}
float write_block(const float* numbers, const Codes& table, uint8_t* codes, int64_t count) {
  float scale = 0;
  for (int64_t i = 0; i < count; ++i) scale = std::max(scale, std::abs(numbers[i]));
  const float inverse = scale > 0 ? 1.0f / scale : 0.0f;
  for (int64_t i = 0; i < count; ++i) codes[i] = table.nearest(numbers[i] * inverse);
  return scale;
}

}  // namespace

float moment_code(uint8_t code, bool is_signed) { return codes_of(is_signed).value(code); }

uint8_t nearest_code(float value, bool is_signed) { return codes_of(is_signed).nearest(value); }

void adamw_8bit(float* weights, const float* gradient, const ByteMoments& moments, int64_t count,
                const AdamStep& step) {
  const Codes &first = codes_of(true), &second = codes_of(false);
  constexpr int64_t kEach = 64;  // blocks of a task
  by_blocks(tasks_for(count, kMomentBlock), kEach, [&](int64_t begin, int64_t end) {
    alignas(64) float m[kMomentBlock], v[kMomentBlock];
    for (int64_t b = begin; b < end; ++b) {
      const int64_t at = b * kMomentBlock, left = std::min(kMomentBlock, count - at);
      read_block(moments.codes1 + at, moments.scales1[b], first, m, left);
      read_block(moments.codes2 + at, moments.scales2[b], second, v, left);
      adamw_rows(weights + at, gradient + at, m, v, left, step);
      moments.scales1[b] = write_block(m, first, moments.codes1 + at, left);
      moments.scales2[b] = write_block(v, second, moments.codes2 + at, left);
    }
  });
}

}  // namespace vernier::kernels
