// Counter-based random numbers: a draw depends on its key alone, never on what was drawn before.
//
// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC'11). The key is
// (seed, step, prompt, sample), the counter is the position, so a sample is the same at any batch
// size, world size, order of arrival and after any restart.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>

namespace vernier {

/// What a random stream is for. Streams of different purposes never share numbers.
enum class Stream : uint32_t {
  sampling = 1,
  task = 2,
  shuffle = 3,
  init = 4,
  sft = 5,
  bootstrap = 6,
  selection = 7,
  adapter = 8,
  plan = 9,  // what a sampling plan draws beside tokens
  permutation = 10,
  mixture = 11,  // which source a prompt is of
  places = 12    // where RoPE takes a demonstration to be
};

/// One Philox4x32-10 block.
inline std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter,
                                      std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * counter[0];
    const uint64_t b = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(a)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

/// Numbers of one stream, addressed by position. A value, two words of state; copies are
/// independent.
class Rng {
 public:
  Rng(uint64_t seed, Stream stream, uint64_t a = 0, uint64_t b = 0, uint64_t c = 0)
      : key_(mix(mix(mix(mix(seed, static_cast<uint64_t>(stream)), a), b), c)) {}

  /// What the numbers are drawn under besides their position, for a draw elsewhere (on a GPU).
  uint64_t key() const { return key_; }

  /// 64 random bits at `position`.
  uint64_t bits(uint64_t position) const {
    const auto block =
        philox({static_cast<uint32_t>(position), static_cast<uint32_t>(position >> 32), 0, 0},
               {static_cast<uint32_t>(key_), static_cast<uint32_t>(key_ >> 32)});
    return (uint64_t{block[1]} << 32) | block[0];
  }

  /// Uniform in [0, 1) with 53 bits, at `position`.
  double uniform(uint64_t position) const {
    return static_cast<double>(bits(position) >> 11) * 0x1.0p-53;
  }

  /// The next 64 bits, uniform number, integer below `n` (n > 0), or standard normal of this copy.
  uint64_t next_bits() { return bits(position_++); }
  double next_uniform() { return uniform(position_++); }
  int64_t next_below(int64_t n) {
    __extension__ using Wide = unsigned __int128;
    return static_cast<int64_t>((Wide{next_bits()} * static_cast<uint64_t>(n)) >> 64);
  }
  double next_normal() {
    constexpr double kTwoPi = 6.283185307179586;
    const double radius = std::sqrt(-2.0 * std::log1p(-next_uniform()));
    return radius * std::cos(kTwoPi * next_uniform());
  }

 private:
  // One step of SplitMix64 over the state and the new word.
  static uint64_t mix(uint64_t state, uint64_t word) {
    uint64_t z = state + 0x9E3779B97F4A7C15 + word * 0xD1342543DE82EF95;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
  }

  uint64_t key_;
  uint64_t position_ = 0;
};

/// A permutation of [0, n) that needs no memory: place i of epoch `epoch` holds permute(i).
/// A balanced Feistel network over the next power of four, walked until it falls inside.
class Permutation {
 public:
  Permutation(uint64_t seed, uint64_t epoch, int64_t n) : seed_(seed), epoch_(epoch), n_(n) {
    while ((uint64_t{1} << (2 * half_bits_)) < static_cast<uint64_t>(n)) ++half_bits_;
  }

  int64_t operator()(int64_t index) const {
    auto value = static_cast<uint64_t>(index);
    do value = network(value);
    while (value >= static_cast<uint64_t>(n_));
    return static_cast<int64_t>(value);
  }

 private:
  uint64_t network(uint64_t value) const {
    const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
    uint64_t left = value >> half_bits_, right = value & mask;
    for (uint64_t round = 0; round < 4; ++round) {
      const uint64_t mixed = left ^ (Rng(seed_, Stream::shuffle, epoch_, round).bits(right) & mask);
      left = right;
      right = mixed;
    }
    return (left << half_bits_) | right;
  }

  uint64_t seed_, epoch_;
  int64_t n_;
  uint32_t half_bits_ = 1;
};

}  // namespace vernier
