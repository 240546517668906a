#include "core/kernels/head.h"

#include <algorithm>

#include "core/kernels/cpu/build.h"

namespace vernier::kernels {
namespace {

constexpr int64_t kLogits = int64_t{8} << 20;  // held at a time: 32 MiB

}  // namespace

void head_forward(const HeadRows& in, const float* weight, const PackedMatrix* packed,
                  float* log_sum, float* logprob, float* entropy, float* square_mass,
                  HeadScratch& scratch) {
  const int64_t most = std::clamp<int64_t>(kLogits / in.vocabulary / 16 * 16, 16, 4096);
  const int64_t chunk = std::min(in.rows, most);
  float* logits = scratch.logits.take(chunk * in.vocabulary);
  for (int64_t t = 0; t < in.rows; t += chunk) {
    const int64_t count = std::min(chunk, in.rows - t);
    const float* hidden = in.hidden + t * in.width;
    if (packed != nullptr)
      gemm(hidden, *packed, logits, count);
    else
      gemm_unpacked(hidden, weight, in.format(), logits, count, in.width, in.vocabulary);
    log_softmax(logits, in.targets + t, static_cast<float>(1.0 / in.temperature), log_sum + t,
                logprob + t, entropy + t, count, in.vocabulary,
                square_mass == nullptr ? nullptr : square_mass + t);
  }
}

void head_backward(const HeadRows& in, const float* weight, const float* log_sum,
                   const float* entropy, const float* d_logprob, const float* d_entropy,
                   float* d_hidden, float* d_weight, HeadScratch& scratch) {
  constexpr int64_t kWords = 8192, kRows = 1024;
  static_assert(kWords * kRows <= kLogits);
  const bool rounded = in.precision == Precision::bf16;
  const auto scale = static_cast<float>(1.0 / in.temperature);
  std::fill_n(d_hidden, in.rows * in.width, 0.0f);
  uint16_t* halves = nullptr;
  if (rounded) {
    halves = scratch.hidden.take(in.rows * in.width);
    by_rows(in.rows, in.width, [&](int64_t first, int64_t last) {
      table().round_bf16(in.hidden + first * in.width, halves + first * in.width,
                         (last - first) * in.width);
    });
  }
  float* logits = scratch.logits.take(std::min(in.rows, kRows) * std::min(in.vocabulary, kWords));
  for (int64_t word = 0; word < in.vocabulary; word += kWords) {
    const int64_t words = std::min(kWords, in.vocabulary - word);
    const float* part = weight + word * in.width;
    pack_plain(part, words, in.width, scratch.plain, in.format());
    for (int64_t t = 0; t < in.rows; t += kRows) {
      const int64_t count = std::min(kRows, in.rows - t);
      const float* hidden = in.hidden + t * in.width;
      gemm_unpacked(hidden, part, in.format(), logits, count, in.width, words);
      by_rows(count, words, [&](int64_t first, int64_t last) {
        for (int64_t i = first; i < last; ++i) {
          const int64_t target = in.targets[t + i] - word;
          table().log_softmax_backward(
              logits + i * words, target >= 0 && target < words ? target : -1, scale,
              log_sum[t + i], entropy[t + i], d_logprob[t + i], d_entropy[t + i], words);
        }
      });
      gemm(logits, scratch.plain, d_hidden + t * in.width, count, nullptr, true);
      if (d_weight == nullptr) continue;
      float* to = d_weight + word * in.width;
      if (!rounded) {
        gemm_tn(logits, hidden, to, count, words, in.width);
        continue;
      }
      uint16_t* d = scratch.d_logits.take(count * words);
      by_rows(count, words, [&](int64_t first, int64_t last) {
        table().round_bf16(logits + first * words, d + first * words, (last - first) * words);
      });
      gemm_tn(d, words, halves + t * in.width, in.width, to, count, words, in.width);
    }
  }
}

}  // namespace vernier::kernels
