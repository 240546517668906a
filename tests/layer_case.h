// A layer with weights, rows and a gradient, and what the reference makes of it: for the tests of
// every way to compute one.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "core/kernels/layer.h"
#include "tests/testing.h"

namespace vernier::testing {

using kernels::AttentionShape;
using kernels::LayerParts;
using kernels::LayerRows;
using kernels::LayerShape;
using kernels::QkNorm;

template <class T>
using LayerNumbers = LayerParts<std::vector<T>, std::vector<T>>;

// Calls body(member of a, member of b, ...) for each weight of a layer, with its name.
template <class Body, class... Parts>
void for_parts(const Body& body, Parts&... parts) {
  body("attention_norm", parts.attention_norm...);
  body("qkv_bias", parts.qkv_bias...);
  body("q_norm", parts.q_norm...);
  body("k_norm", parts.k_norm...);
  body("output_bias", parts.output_bias...);
  body("mlp_norm", parts.mlp_norm...);
  body("gate_up_bias", parts.gate_up_bias...);
  body("down_bias", parts.down_bias...);
  body("qkv", parts.qkv...);
  body("output", parts.output...);
  body("gate_up", parts.gate_up...);
  body("down", parts.down...);
}

// A layer with weights, rows of several sequences, and a gradient to go back with.
template <class T>
struct LayerCase {
  LayerShape shape;
  std::vector<int32_t> starts, prefix, positions;
  std::vector<float> cosine, sine;
  LayerNumbers<T> weights;
  std::vector<T> x, d;

  LayerCase(const LayerShape& layer, bool biases, std::vector<int32_t> begins,
            std::vector<int32_t> before)
      : shape(layer), starts(std::move(begins)), prefix(std::move(before)) {
    const AttentionShape& heads = shape.attention;
    const int64_t width = shape.width, row = heads.row();
    const bool all = shape.qk_norm == QkNorm::all;
    weights.attention_norm = normal<T>(width, 1, 1, 0.1);
    weights.mlp_norm = normal<T>(width, 2, 1, 0.1);
    if (shape.qk_norm != QkNorm::none) {
      weights.q_norm = normal<T>(heads.head_size * (all ? heads.heads : 1), 3, 1, 0.1);
      weights.k_norm = normal<T>(heads.head_size * (all ? heads.kv_heads : 1), 4, 1, 0.1);
    }
    if (biases) {
      weights.qkv_bias = normal<T>(row, 5, 0, 0.1);
      weights.output_bias = normal<T>(width, 6, 0, 0.1);
      weights.gate_up_bias = normal<T>(2 * shape.inner, 7, 0, 0.1);
      weights.down_bias = normal<T>(width, 8, 0, 0.1);
    }
    const auto matrix = [](int64_t out, int64_t in, uint64_t seed) {
      return normal<T>(out * in, seed, 0, 1 / std::sqrt(static_cast<double>(in)));
    };
    weights.qkv = matrix(row, width, 9);
    weights.output = matrix(width, heads.heads * heads.head_size, 10);
    weights.gate_up = matrix(2 * shape.inner, width, 11);
    weights.down = matrix(width, shape.inner, 12);
    const int64_t rows = starts.back();
    x = normal<T>(rows * width, 13);
    d = normal<T>(rows * width, 14);
    for (size_t s = 0; s + 1 < starts.size(); ++s) {
      const int32_t first = prefix[s] < 0 ? 0 : starts[prefix[s] + 1] - starts[prefix[s]];
      for (int32_t t = starts[s]; t < starts[s + 1]; ++t)
        positions.push_back(first + t - starts[s]);
    }
    for (int64_t p = 0; p < rows; ++p)
      for (int64_t i = 0; i < heads.rotary_size / 2; ++i) {
        const double angle = static_cast<double>(p) / std::pow(100.0, static_cast<double>(i));
        cosine.push_back(static_cast<float>(std::cos(angle)));
        sine.push_back(static_cast<float>(std::sin(angle)));
      }
  }

  LayerRows rows() const {
    return {.rows = starts.back(),
            .segments = {starts.data(), std::ssize(prefix), prefix.data()},
            .positions = positions.data(),
            .cosine = cosine.data(),
            .sine = sine.data()};
  }

  template <class Vector, class Numbers>
  static LayerParts<Vector, Vector> pointers(Numbers& numbers) {
    LayerParts<Vector, Vector> out;
    for_parts(
        [](const char*, Vector& to, auto& from) { to = from.empty() ? nullptr : from.data(); }, out,
        numbers);
    return out;
  }
};

template <class T>
struct LayerResult {
  std::vector<T> y, dx;
  LayerNumbers<T> gradients;
};

template <class T>
LayerResult<T> by_reference(const LayerCase<T>& c) {
  LayerResult<T> out{.y = c.x, .dx = c.d, .gradients = c.weights};
  for_parts([](const char*, std::vector<T>& one) { std::fill(one.begin(), one.end(), T{1}); },
            out.gradients);
  const auto weights = LayerCase<T>::template pointers<const T*>(c.weights);
  kernels::ref::LayerState<T> saved;
  kernels::ref::layer_forward(c.shape, weights, c.rows(), out.y.data(), saved);
  kernels::ref::layer_backward(c.shape, weights, c.rows(), saved, out.dx.data(),
                               LayerCase<T>::template pointers<T*>(out.gradients));
  return out;
}

inline LayerShape shape_of(int64_t width, int64_t inner, const AttentionShape& heads, QkNorm norm,
                           bool after) {
  // The norm of one number is its sign but for eps: with a small one its gradient is rounding.
  return {.width = width,
          .inner = inner,
          .attention = heads,
          .qk_norm = norm,
          .norm_after = after,
          .eps = width == 1 ? 1.0 : 1e-5};
}

inline const std::vector<LayerShape>& layer_shapes() {
  static const std::vector<LayerShape> all = {
      shape_of(1, 1, {1, 1, 2, 2}, QkNorm::none, false),
      shape_of(33, 31, {4, 2, 8, 8}, QkNorm::none, false),
      shape_of(31, 257, {3, 3, 6, 4, 9}, QkNorm::head, false),
      shape_of(64, 96, {6, 1, 16, 16}, QkNorm::all, true),
      shape_of(48, 64, {2, 1, 24, 0}, QkNorm::none, true),
      // Gate and up in two parts of 128 columns, and in five of 32.
      shape_of(33, 256, {2, 1, 8, 8}, QkNorm::none, false),
      shape_of(40, 160, {2, 2, 8, 8}, QkNorm::none, true)};
  return all;
}

inline const std::vector<int32_t> kStarts = {0, 1, 34, 65, 257, 322}, kPrefix = {-1, 0, -1, -1, 2};

}  // namespace vernier::testing
