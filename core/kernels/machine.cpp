#include "core/kernels/machine.h"

#include <algorithm>
#include <atomic>
#include <string>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "core/base/buffer.h"
#include "core/base/clock.h"
#include "core/base/pool.h"

namespace vernier::kernels {
namespace {

// Fused multiply-adds that touch no memory: what a core could do at most. A vector is 4, 8 or 16
// floats; twelve chains hide the latency of one.
constexpr int kChains = 12;
template <class Vec>
[[gnu::always_inline]] inline float multiply_add(int64_t count) {
  Vec sums[kChains];
  for (int c = 0; c < kChains; ++c) sums[c] = Vec{} + 1e-3f * static_cast<float>(c);
  for (int64_t i = 0; i < count; ++i)
    for (int c = 0; c < kChains; ++c) sums[c] = sums[c] * 0.999f + 1e-3f;
  float total = 0;
  for (int c = 0; c < kChains; ++c) total += sums[c][0];
  return total;
}
typedef float Vec4 __attribute__((vector_size(16)));
float multiply_add_4(int64_t count) { return multiply_add<Vec4>(count); }
#if defined(__x86_64__)
typedef float Vec8 __attribute__((vector_size(32)));
typedef float Vec16 __attribute__((vector_size(64)));
[[gnu::target("avx2,fma")]] float multiply_add_8(int64_t count) {
  return multiply_add<Vec8>(count);
}
[[gnu::target("avx512f")]] float multiply_add_16(int64_t count) {
  return multiply_add<Vec16>(count);
}
// Pairs of bf16 numbers: twice as many a vector.
[[gnu::target("avx512f,avx512bf16")]] float multiply_pairs(int64_t count) {
  const __m512i ones = _mm512_set1_epi32(0x3F803F80);
  Vec16 sums[kChains];
  for (int c = 0; c < kChains; ++c) sums[c] = Vec16{} + static_cast<float>(c);
  for (int64_t i = 0; i < count; ++i)
    for (Vec16& sum : sums)
      sum = _mm512_dpbf16_ps(sum, reinterpret_cast<const __m512bh&>(ones),
                             reinterpret_cast<const __m512bh&>(ones));
  float total = 0;
  for (const Vec16& sum : sums) total += sum[0];
  return total;
}
// Four products of tiles, each of 16 rows with 16 columns of 32 numbers.
[[gnu::target("amx-tile,amx-bf16")]] float multiply_tiles(int64_t count) {
  struct alignas(64) {
    uint8_t palette = 1, start = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } shapes;
  __asm__ volatile("" : : "m"(shapes));  // the intrinsic says that it reads 8 bytes; it reads all
  _tile_loadconfig(&shapes);
  for (int64_t i = 0; i < count; ++i) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_release();
  return 0;
}
#endif

struct Peak {
  float (*run)(int64_t count);
  int64_t multiplied;  // numbers a count
  int64_t count = 1'000'000;
};

Peak widest(WeightFormat format) {
#if defined(__x86_64__)
  const std::string set = instruction_set();
  const bool pairs = format == WeightFormat::bf16_pairs;
  if (pairs && set == "avx512+amx") return {multiply_tiles, 4 * 16 * 16 * 32, 100'000};
  if (pairs) return {multiply_pairs, kChains * 32};
  if (set.starts_with("avx512")) return {multiply_add_16, kChains * 16};
  if (set == "avx2") return {multiply_add_8, kChains * 8};
#endif
  return {multiply_add_4, kChains * 4};
}

}  // namespace

// Each thread through a part of its own with what comes after asked for early, as the kernels do.
double read_gb_per_s() {
  constexpr int64_t kBytes = int64_t{1} << 28, kLine = 64, kAhead = 4096;
  Buffer memory(kBytes + kAhead);
  std::fill_n(memory.as<uint64_t>(), kBytes / 8, uint64_t{1});
  const int64_t threads = kernel_pool().threads();
  std::atomic<uint64_t> sink = 0;
  double best = 0;
  for (int pass = 0; pass < 7; ++pass) {
    const Clock clock;
    kernel_pool().run(threads, [&](int64_t part) {
      const char* end = memory.as<char>() + kBytes / threads * (part + 1);
      uint64_t sum = 0;
      for (const char* at = end - kBytes / threads; at < end; at += kLine) {
        __builtin_prefetch(at + kAhead);
        const auto* words = reinterpret_cast<const uint64_t*>(at);
        for (int64_t i = 0; i < kLine / 8; ++i) sum += words[i];
      }
      sink += sum;
    });
    best = std::max(best, static_cast<double>(kBytes) / clock.seconds() / 1e9);
  }
  return best;
}

double peak_gflops(WeightFormat format) {
  const Peak peak = widest(format);
  const int threads = kernel_pool().threads();
  std::atomic<float> sink = 0;
  double best = 0;
  for (int pass = 0; pass < 7; ++pass) {
    const Clock clock;
    kernel_pool().run(threads, [&](int64_t) { sink = peak.run(peak.count); });
    const auto operations = static_cast<double>(2 * peak.multiplied * peak.count * threads);
    best = std::max(best, operations / clock.seconds() / 1e9);
  }
  return best;
}

}  // namespace vernier::kernels
