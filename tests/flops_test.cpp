// What a step's share of the peak is counted from.
#include "core/model/flops.h"

#include <doctest/doctest.h>

namespace vernier {
namespace {

// Qwen2.5-0.5B.
ModelSpec qwen() {
  ModelSpec spec;
  spec.vocab_size = 151936;
  spec.hidden_size = 896;
  spec.intermediate_size = 4864;
  spec.num_hidden_layers = 24;
  spec.num_attention_heads = 14;
  spec.num_key_value_heads = 2;
  spec.head_dim = 64;
  return spec;
}

TEST_CASE("operations of a training pass are LLMQ's for one whole sequence") {
  PackedTokens tokens;
  tokens.add(std::vector<int32_t>(1024, 0));
  TrainingWork work;
  work.add(tokens, 1024);
  // 6 (non-embedding + head weights) + 6 layers d_att length, a token; causal halves are of 1025.
  const double layers = 24.0 * (896 * (14 + 2 + 2) * 64 + 14 * 64 * 896 + 3 * 896 * 4864);
  const double token = 6 * (layers + 151936.0 * 896) + 6 * 24 * 896 * 1025.0;
  CHECK(training_flop(qwen(), work) == doctest::Approx(1024 * token).epsilon(1e-12));
}

TEST_CASE("adapters take four operations a weight, and four a number of their own") {
  PackedTokens tokens;
  tokens.add(std::vector<int32_t>(1024, 0));
  TrainingWork work;
  work.add(tokens, 1000);
  const double layers = 24.0 * (896 * (14 + 2 + 2) * 64 + 14 * 64 * 896 + 3 * 896 * 4864);
  const double attention = 12 * 24 * 896 * (1024 * 1025 / 2.0), adapters = 8798208;
  CHECK(training_flop(qwen(), work, 8798208) ==
        doctest::Approx(4 * layers * 1024 + 4 * 151936.0 * 896 * 1000 + attention +
                        4 * adapters * 1024)
            .epsilon(1e-12));
}

TEST_CASE("a shared prompt counts once, and its tokens are seen by every response") {
  PackedTokens tokens;
  tokens.add(std::vector<int32_t>(10, 0));
  tokens.add(std::vector<int32_t>(3, 0), 0);
  tokens.add(std::vector<int32_t>(3, 0), 0);
  TrainingWork work;
  work.add(tokens, 8);
  CHECK(work.tokens == 16);
  CHECK(work.head_tokens == 8);
  CHECK(work.seen == 55 + 2 * (11 + 12 + 13));
}

TEST_CASE("peaks are dense ones, by the names that CUDA gives") {
  CHECK(dense_peak_gflops("NVIDIA H100 80GB HBM3") == 989e3);
  CHECK(dense_peak_gflops("NVIDIA H200") == 989e3);
  CHECK(dense_peak_gflops("NVIDIA H100 PCIe") == 756e3);
  CHECK(dense_peak_gflops("NVIDIA A100-SXM4-80GB") == 312e3);
  CHECK(dense_peak_gflops("Some other card") == 0);
}

}  // namespace
}  // namespace vernier
