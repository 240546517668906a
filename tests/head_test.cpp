// The head in training against its reference.
#include "core/kernels/head.h"

#include <doctest/doctest.h>

#include "tests/testing.h"

namespace vernier::kernels {
namespace {

using testing::normal;
using testing::worst;
using Floats = std::vector<float>;

struct Case {
  int64_t rows, width, vocabulary;
  double temperature;
  Floats hidden = normal(rows * width, 1), weight = normal(vocabulary * width, 2, 0, 0.3);
  Floats d_logprob = normal(rows, 3), d_entropy = normal(rows, 4);
  std::vector<int32_t> targets = spread(rows, vocabulary);

  static std::vector<int32_t> spread(int64_t rows, int64_t vocabulary) {
    std::vector<int32_t> out;
    for (int64_t t = 0; t < rows; ++t) out.push_back(static_cast<int32_t>(t * 7919 % vocabulary));
    return out;
  }
};

struct Result {
  Floats log_sum, logprob, entropy, square_mass, d_hidden, d_weight;
};

Result empty(const Case& c) {
  const auto rows = static_cast<size_t>(c.rows);
  return {Floats(rows),
          Floats(rows),
          Floats(rows),
          Floats(rows),
          Floats(c.hidden.size()),
          Floats(c.weight.size(), 1.0f)};
}

Result by_reference(const Case& c) {
  Result out = empty(c);
  ref::head_forward(c.hidden.data(), c.weight.data(), c.targets.data(), c.temperature,
                    out.log_sum.data(), out.logprob.data(), out.entropy.data(),
                    out.square_mass.data(), c.rows, c.width, c.vocabulary);
  ref::head_backward(c.hidden.data(), c.weight.data(), c.targets.data(), c.temperature,
                     out.log_sum.data(), out.entropy.data(), c.d_logprob.data(), c.d_entropy.data(),
                     out.d_hidden.data(), out.d_weight.data(), c.rows, c.width, c.vocabulary);
  return out;
}

Result in_chunks(const Case& c, Precision precision, bool packed) {
  Result out = empty(c);
  const HeadRows rows{.hidden = c.hidden.data(),
                      .targets = c.targets.data(),
                      .rows = c.rows,
                      .width = c.width,
                      .vocabulary = c.vocabulary,
                      .temperature = c.temperature,
                      .precision = precision};
  PackedMatrix pack;
  if (packed) pack_transposed(c.weight.data(), c.vocabulary, c.width, pack, rows.format());
  HeadScratch scratch;
  head_forward(rows, c.weight.data(), packed ? &pack : nullptr, out.log_sum.data(),
               out.logprob.data(), out.entropy.data(), out.square_mass.data(), scratch);
  head_backward(rows, c.weight.data(), out.log_sum.data(), out.entropy.data(), c.d_logprob.data(),
                c.d_entropy.data(), out.d_hidden.data(), out.d_weight.data(), scratch);
  return out;
}

const std::vector<Case>& cases() {
  static const std::vector<Case> all = {{1, 1, 1, 1.0},
                                        {31, 33, 31, 0.6},
                                        {33, 31, 257, 1.7},
                                        {257, 40, 9000, 1.0},
                                        {1100, 8, 33, 1.0}};
  return all;
}

TEST_CASE("the head equals its reference, forward and backward") {
  for (const Case& c : cases()) {
    CAPTURE(c.vocabulary);
    const Result want = by_reference(c), found = in_chunks(c, Precision::fp32, false);
    CHECK(worst(found.logprob, want.logprob, 1) < 1e-5);
    CHECK(worst(found.entropy, want.entropy, 1) < 1e-4);
    CHECK(worst(found.square_mass, want.square_mass, 1) < 1e-5);
    CHECK(worst(found.d_hidden, want.d_hidden, 1) < 2e-5);
    CHECK(worst(found.d_weight, want.d_weight, 1) < 2e-5);
    const Result packed = in_chunks(c, Precision::fp32, true);
    CHECK(packed.logprob == found.logprob);
    CHECK(packed.d_weight == found.d_weight);
  }
}

TEST_CASE("the head in bf16 is as far from fp32 as eight bits say") {
  for (const Case& c : cases()) {
    CAPTURE(c.vocabulary);
    const Result want = by_reference(c), found = in_chunks(c, Precision::bf16, false);
    CHECK(worst(found.logprob, want.logprob, 1) < 0.01);
    CHECK(worst(found.entropy, want.entropy, 1) < 0.02);
    CHECK(worst(found.square_mass, want.square_mass, 1) < 0.01);
    CHECK(worst(found.d_hidden, want.d_hidden, 1) < 0.02);
    CHECK(worst(found.d_weight, want.d_weight, 1) < 0.02);
    CHECK(in_chunks(c, Precision::bf16, true).logprob == found.logprob);
  }
}

// A vocabulary of Qwen's size, and a tenth of 8,192 tokens. What a head adds to its inputs and
// gradients grows with the tokens by `hidden` alone.
TEST_CASE("the head of a large vocabulary takes little memory of its own") {
  HeadRows rows{.hidden = nullptr,
                .targets = nullptr,
                .rows = 820,
                .width = 16,
                .vocabulary = 152064,
                .temperature = 1,
                .precision = Precision::fp32};
  const auto count = static_cast<size_t>(rows.rows);
  const Floats hidden(count * 16, 0.1f), weight(152064 * 16, 0.1f), one(count, 1.0f);
  const std::vector<int32_t> targets(count, 151000);
  Floats log_sum(count), logprob(count), entropy(count), d_hidden(hidden.size());
  Floats d_weight(weight.size());
  rows.hidden = hidden.data();
  rows.targets = targets.data();
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    rows.precision = precision;
    HeadScratch scratch;
    head_forward(rows, weight.data(), nullptr, log_sum.data(), logprob.data(), entropy.data(),
                 nullptr, scratch);
    CHECK(scratch.bytes() == head_scratch_bytes(rows, false));
    head_backward(rows, weight.data(), log_sum.data(), entropy.data(), one.data(), one.data(),
                  d_hidden.data(), d_weight.data(), scratch);
    // The last part of the vocabulary is a smaller one.
    CHECK(scratch.bytes() <= head_scratch_bytes(rows, true));
    CHECK(scratch.bytes() > head_scratch_bytes(rows, true) - 8192 * 16 * 4);
    HeadRows real = rows;
    real.rows = 8192;
    real.width = 896;
    CHECK(head_scratch_bytes(real, true) + head_product_bytes(real) < 300'000'000);
  }
}

TEST_CASE("a NaN in a hidden state shows in what comes of its row alone") {
  Case c{3, 5, 40, 1.0};
  c.hidden[7] = std::numeric_limits<float>::quiet_NaN();
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    const Result found = in_chunks(c, precision, false);
    CHECK(std::isnan(found.logprob[1]));
    CHECK(std::isnan(found.entropy[1]));
    CHECK(std::isfinite(found.logprob[2]));
    CHECK(std::isnan(found.d_weight[0]));
  }
}

}  // namespace
}  // namespace vernier::kernels
