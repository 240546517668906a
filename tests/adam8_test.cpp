// Moments in bytes: the codes, and a step against one in fp32 that is rounded by hand.
#include "core/kernels/adam8.h"

#include <doctest/doctest.h>

#include "tests/testing.h"

namespace vernier::kernels {
namespace {

using testing::normal;
using testing::worst;
using Floats = std::vector<float>;

// The code by looking at all of them.
uint8_t nearest_by_search(float value, bool is_signed) {
  int best = 0;
  for (int code = 1; code < 256; ++code) {
    const auto gap = [&](int c) {
      return std::abs(double{moment_code(static_cast<uint8_t>(c), is_signed)} - double{value});
    };
    if (gap(code) < gap(best)) best = code;
  }
  return static_cast<uint8_t>(best);
}

TEST_CASE("codes are those of dynamic tree quantisation") {
  // The first and last ones that bitsandbytes makes, and the counts of its decades.
  CHECK(moment_code(0, true) == 0.0f);
  CHECK(moment_code(0, false) == 0.0f);
  CHECK(moment_code(255, true) == 1.0f);
  CHECK(moment_code(255, false) == 1.0f);
  CHECK(moment_code(1, true) == doctest::Approx(-0.9929687).epsilon(1e-6));
  CHECK(moment_code(254, true) == doctest::Approx(0.9929687).epsilon(1e-6));
  CHECK(moment_code(1, false) == doctest::Approx(3.25e-7).epsilon(1e-6));
  CHECK(moment_code(254, false) == doctest::Approx(0.9964844).epsilon(1e-6));
  for (int code = 2; code < 256; ++code)
    for (const bool is_signed : {false, true})
      CHECK(moment_code(static_cast<uint8_t>(code), is_signed) >
            moment_code(static_cast<uint8_t>(code - 1), is_signed));
}

TEST_CASE("the nearest code is found") {
  Floats values = {0.0f, 1.0f, 1e-9f, 3e-7f, 0.1f, 0.5f, 0.9929687f, 0.99f};
  for (const float value : normal(4000, 1, 0, 0.3))
    values.push_back(std::clamp(value, -1.0f, 1.0f));
  for (const float value : normal(1000, 2)) values.push_back(std::abs(value) * 1e-5f);
  for (const float value : values) {
    CAPTURE(value);
    const auto gap = [](float a, uint8_t code, bool is_signed) {
      return std::abs(a - moment_code(code, is_signed));
    };
    CHECK(gap(value, nearest_code(value, true), true) <=
          gap(value, nearest_by_search(value, true), true) * 1.0001f);
    const float size = std::abs(value);
    CHECK(gap(size, nearest_code(size, false), false) <=
          gap(size, nearest_by_search(size, false), false) * 1.0001f);
  }
}

TEST_CASE("a step on bytes is a step in fp32 from what they mean, rounded by blocks") {
  for (const int64_t count : {1, 31, 257, 1000}) {
    CAPTURE(count);
    const int64_t blocks = (count + kMomentBlock - 1) / kMomentBlock;
    Floats weights = normal(count, 3), want = weights;
    std::vector<uint8_t> codes1(count), codes2(count);
    Floats scales1(blocks), scales2(blocks), m(count), v(count);
    for (int64_t step = 1; step <= 3; ++step) {
      const Floats gradient = normal(count, static_cast<uint64_t>(10 + step), 0, 0.01);
      const AdamStep how{.learning_rate = 0.1, .weight_decay = 0.01, .step = step};
      for (int64_t i = 0; i < count; ++i) {
        m[i] = moment_code(codes1[i], true) * scales1[i / kMomentBlock];
        v[i] = moment_code(codes2[i], false) * scales2[i / kMomentBlock];
      }
      ref::adamw(want.data(), gradient.data(), m.data(), v.data(), count, how);
      adamw_8bit(weights.data(), gradient.data(),
                 {codes1.data(), codes2.data(), scales1.data(), scales2.data()}, count, how);
      CHECK(worst(weights, want) < 1e-5);
      for (int64_t i = 0; i < count; ++i) {
        const float scale = scales1[i / kMomentBlock];
        CHECK(codes1[i] == nearest_code(scale > 0 ? m[i] / scale : 0, true));
      }
    }
  }
}

TEST_CASE("a gradient that is not a number shows in the weight") {
  Floats weights(300, 1.0f), gradient(300, 0.1f), scales1(2), scales2(2);
  std::vector<uint8_t> codes1(300), codes2(300);
  gradient[7] = std::numeric_limits<float>::quiet_NaN();
  adamw_8bit(weights.data(), gradient.data(),
             {codes1.data(), codes2.data(), scales1.data(), scales2.data()}, 300,
             {.learning_rate = 0.1});
  CHECK(std::isnan(weights[7]));
  CHECK(std::isfinite(weights[8]));
}

}  // namespace
}  // namespace vernier::kernels
