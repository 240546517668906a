#include "core/kernels/head.h"

#include <algorithm>

#include "core/kernels/cpu/build.h"

namespace vernier::kernels {
namespace {

constexpr int64_t kLogits = int64_t{8} << 20;  // held at a time, or those of 128 rows: 32 MiB
// Backward: words of the vocabulary that are taken at a time, and rows that meet them.
constexpr int64_t kWords = 8192, kRows = 1024;
static_assert(kWords * kRows <= kLogits);

// Rows of the forward pass at a time: enough that it pays to pack the weight for them.
int64_t forward_rows(const HeadRows& in) {
  return std::min(in.rows, std::clamp<int64_t>(kLogits / in.vocabulary / 16 * 16, 128, 4096));
}

}  // namespace

int64_t HeadScratch::bytes() const {
  return logits.bytes() + d_logits.bytes() + hidden.bytes() +
         static_cast<int64_t>(plain.data.size());
}

int64_t head_scratch_bytes(const HeadRows& in, bool backward) {
  const int64_t forward = forward_rows(in) * in.vocabulary * 4;
  if (!backward) return forward;
  const int64_t words = std::min(in.vocabulary, kWords), part = std::min(in.rows, kRows) * words;
  const PackedMatrix plain{
      .format = in.format(), .inner = words, .columns = in.width, .data = {}, .scales = {}};
  const int64_t rounded = in.precision == Precision::bf16 ? 2 * (part + in.rows * in.width) : 0;
  return std::max(forward, part * 4) + plain.bytes() + rounded;
}

int64_t head_product_bytes(const HeadRows& in) {
  const int64_t rows = std::min(in.rows, kRows);
  if (in.precision == Precision::fp32) return 0;
  return gemm_pairs_bytes(rows, std::min(in.vocabulary, kWords)) + gemm_tn_bytes(rows, in.width);
}

void head_forward(const HeadRows& in, const float* weight, const PackedMatrix* packed,
                  float* log_sum, float* logprob, float* entropy, float* square_mass,
                  HeadScratch& scratch) {
  const int64_t chunk = forward_rows(in);
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
