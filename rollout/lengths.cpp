#include "rollout/lengths.h"

#include <algorithm>
#include <bit>

namespace vernier {

void LengthPredictor::Mean::add(double length) {
  constexpr double kNew = 0.125;  // one of a group of eight
  value = known ? value + kNew * (length - value) : length;
  known = true;
}

size_t LengthPredictor::size_class(int64_t prompt_tokens) {
  return std::min<size_t>(kSizes - 1, std::bit_width(static_cast<uint64_t>(prompt_tokens)));
}

void LengthPredictor::add(int64_t index, int64_t prompt_tokens, int64_t length) {
  const auto tokens = static_cast<double>(length);
  Slot& slot = prompts_[static_cast<uint64_t>(index) % kPrompts];
  if (slot.index != index) slot = {.index = index, .mean = {}};
  slot.mean.add(tokens);
  sizes_[size_class(prompt_tokens)].add(tokens);
  all_.add(tokens);
}

int64_t LengthPredictor::expected(int64_t index, int64_t prompt_tokens) const {
  const Slot& slot = prompts_[static_cast<uint64_t>(index) % kPrompts];
  const Mean& size = sizes_[size_class(prompt_tokens)];
  const Mean& mean = slot.index == index ? slot.mean : size.known ? size : all_;
  return static_cast<int64_t>(mean.value);
}

}  // namespace vernier
