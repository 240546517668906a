// Products that end with a bias, a sum or SwiGLU, against the steps one after the other.
#include <doctest/doctest.h>

#include "core/kernels/kernels.h"
#include "tests/testing.h"

namespace vernier::kernels {
namespace {

using testing::normal;
using Floats = std::vector<float>;

TEST_CASE("what ends a product has the bits of the steps one after the other, in every format") {
  for (const WeightFormat format :
       {WeightFormat::fp32, WeightFormat::bf16, WeightFormat::int8, WeightFormat::bf16_pairs})
    for (const int64_t inner : {1, 31, 33})
      for (const int64_t width : {1, 31, 32, 33, 96, 257}) {
        CAPTURE(inner);
        CAPTURE(width);
        const int64_t columns = 2 * width;
        const Floats w = normal(columns * inner, 6), x = normal(257 * inner, 7);
        const Floats bias = normal(columns, 8), before = normal(257 * columns, 9);
        PackedMatrix packed;
        pack_transposed(w.data(), columns, inner, packed, format);
        for (const int64_t rows : {1, 31, 33, 257}) {
          Floats sums(rows * columns);
          gemm(x.data(), packed, sums.data(), rows);
          Floats biased = sums, added(before.begin(), before.begin() + rows * columns);
          ref::add_bias(biased.data(), bias.data(), rows, columns);
          Floats found = added;
          gemm(x.data(), packed, found.data(), rows, bias.data(), true);
          for (size_t i = 0; i < added.size(); ++i) added[i] += biased[i];
          CHECK(found == added);
          gemm(x.data(), packed, found.data(), rows, bias.data());
          CHECK(found == biased);
          Floats gated(rows * width), want(rows * width);
          swiglu(biased.data(), want.data(), rows, width);
          gemm_swiglu(x.data(), packed, gated.data(), rows, bias.data());
          CHECK(gated == want);
        }
      }
}

}  // namespace
}  // namespace vernier::kernels
