// A layer in training against the chain of references, and what it promises.
#include "core/kernels/layer.h"

#include <doctest/doctest.h>

#include "core/base/pool.h"
#include "tests/testing.h"

namespace vernier::kernels {
namespace {

using testing::normal;
using testing::worst;

template <class T>
using Matrix = LayerParts<std::vector<T>, std::vector<T>>;

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
struct Case {
  LayerShape shape;
  std::vector<int32_t> starts, prefix, positions;
  std::vector<float> cosine, sine;
  Matrix<T> weights;
  std::vector<T> x, d;

  Case(const LayerShape& layer, bool biases, std::vector<int32_t> begins,
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
struct Result {
  std::vector<T> y, dx;
  Matrix<T> gradients;
};

template <class T>
Result<T> by_reference(const Case<T>& c) {
  Result<T> out{.y = c.x, .dx = c.d, .gradients = c.weights};
  for_parts([](const char*, std::vector<T>& one) { std::fill(one.begin(), one.end(), T{1}); },
            out.gradients);
  const auto weights = Case<T>::template pointers<const T*>(c.weights);
  ref::LayerState<T> saved;
  ref::layer_forward(c.shape, weights, c.rows(), out.y.data(), saved);
  ref::layer_backward(c.shape, weights, c.rows(), saved, out.dx.data(),
                      Case<T>::template pointers<T*>(out.gradients));
  return out;
}

Result<float> by_sweeps(const Case<float>& c, Precision precision) {
  Result<float> out{.y = c.x, .dx = c.d, .gradients = c.weights};
  for_parts([](const char*, auto& one) { std::fill(one.begin(), one.end(), 1.0f); }, out.gradients);
  const auto vectors = Case<float>::pointers<const float*>(c.weights);
  const WeightFormat format = format_of(precision);
  LayerParts<float, PackedMatrix> transposed, plain;
  LayerWeights forward, backward;
  const auto pack = [&](const std::vector<float>& w, int64_t columns, PackedMatrix& t,
                        PackedMatrix& p) {
    pack_transposed(w.data(), std::ssize(w) / columns, columns, t, format);
    pack_plain(w.data(), std::ssize(w) / columns, columns, p, format);
  };
  const int64_t attended = c.shape.attention.heads * c.shape.attention.head_size;
  pack(c.weights.qkv, c.shape.width, transposed.qkv, plain.qkv);
  pack(c.weights.output, attended, transposed.output, plain.output);
  pack(c.weights.gate_up, c.shape.width, transposed.gate_up, plain.gate_up);
  pack(c.weights.down, c.shape.inner, transposed.down, plain.down);
  for (const bool back : {false, true}) {
    LayerWeights& to = back ? backward : forward;
    auto& packs = back ? plain : transposed;
    to = {vectors.attention_norm, vectors.qkv_bias,    vectors.q_norm,
          vectors.k_norm,         vectors.output_bias, vectors.mlp_norm,
          vectors.gate_up_bias,   vectors.down_bias,   &packs.qkv,
          &packs.output,          &packs.gate_up,      &packs.down};
  }
  const LayerRows rows = c.rows();
  Buffer memory(static_cast<size_t>(saved_bytes(c.shape, rows.rows, precision)));
  const LayerSaved saved = share_saved(c.shape, rows.rows, precision, memory.as<std::byte>());
  LayerScratch scratch;
  layer_forward(c.shape, forward, rows, precision, c.x.data(), out.y.data(), &saved, scratch);
  std::vector<float> without(c.x.size());
  layer_forward(c.shape, forward, rows, precision, c.x.data(), without.data(), nullptr, scratch);
  CHECK(without == out.y);
  layer_backward(c.shape, backward, rows, precision, c.x.data(), saved, out.dx.data(),
                 Case<float>::pointers<float*>(out.gradients), scratch);
  return out;
}

LayerShape shape_of(int64_t width, int64_t inner, const AttentionShape& heads, QkNorm norm,
                    bool after) {
  // The norm of one number is its sign but for eps: with a small one its gradient is rounding.
  return {.width = width,
          .inner = inner,
          .attention = heads,
          .qk_norm = norm,
          .norm_after = after,
          .eps = width == 1 ? 1.0 : 1e-5};
}

const std::vector<LayerShape>& shapes() {
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

const std::vector<int32_t> kStarts = {0, 1, 34, 65, 257, 322}, kPrefix = {-1, 0, -1, -1, 2};

TEST_CASE("a layer equals its reference, forward and backward") {
  for (const LayerShape& shape : shapes())
    for (const bool biases : {false, true}) {
      CAPTURE(shape.width);
      CAPTURE(biases);
      const Case<float> c(shape, biases, kStarts, kPrefix);
      const Result<float> want = by_reference(c), found = by_sweeps(c, Precision::fp32);
      CHECK(worst(found.y, want.y) < 1e-5);
      CHECK(worst(found.dx, want.dx) < 2e-5);
      for_parts(
          [](const char* name, const std::vector<float>& one, const std::vector<float>& other) {
            CAPTURE(name);
            CHECK(worst(one, other, 1) < 2e-5);
          },
          found.gradients, want.gradients);
    }
}

TEST_CASE("a layer in bf16 is as far from fp32 as eight bits say") {
  for (const LayerShape& shape : shapes()) {
    CAPTURE(shape.width);
    const Case<float> c(shape, true, kStarts, kPrefix);
    const Result<float> want = by_reference(c), found = by_sweeps(c, Precision::bf16);
    CHECK(worst(found.y, want.y) < 0.02);
    CHECK(worst(found.dx, want.dx) < 0.03);
    for_parts(
        [&](const char* name, const std::vector<float>& one, const std::vector<float>& other) {
          CAPTURE(name);
          CHECK(worst(one, other, 1) <
                (shape.width == 1 ? 0.2 : 0.03));  // one number: no averaging
        },
        found.gradients, want.gradients);
  }
}

TEST_CASE("a layer has the same bits with one thread and with three") {
  const Case<float> c(shapes()[3], true, kStarts, kPrefix);
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    set_kernel_threads(1);
    const Result<float> one = by_sweeps(c, precision);
    set_kernel_threads(3);
    const Result<float> three = by_sweeps(c, precision);
    set_kernel_threads(1);
    CHECK(one.y == three.y);
    CHECK(one.dx == three.dx);
    for_parts([](const char*, auto& a, auto& b) { CHECK(a == b); }, one.gradients, three.gradients);
  }
}

TEST_CASE("the reference of a layer has the gradients that finite differences give") {
  for (const LayerShape& shape : {shapes()[0], shape_of(5, 3, {2, 1, 4, 4, 3}, QkNorm::head, false),
                                  shape_of(4, 6, {2, 2, 2, 2}, QkNorm::all, true)}) {
    CAPTURE(shape.width);
    Case<double> c(shape, true, {0, 2, 5, 6}, {-1, 0, -1});
    const Result<double> found = by_reference(c);
    const auto value = [&] {
      const std::vector<double> y = by_reference(c).y;
      double sum = 0;
      for (size_t i = 0; i < y.size(); ++i) sum += y[i] * c.d[i];
      return sum;
    };
    const auto check = [&](std::vector<double>& numbers, const std::vector<double>& gradient,
                           double offset) {
      for (size_t i = 0; i < numbers.size(); ++i) {
        const double kept = numbers[i], h = 1e-5;
        numbers[i] = kept + h;
        const double above = value();
        numbers[i] = kept - h;
        const double below = value();
        numbers[i] = kept;
        CHECK((above - below) / (2 * h) == doctest::Approx(gradient[i] - offset).epsilon(1e-6));
      }
    };
    check(c.x, found.dx, 0);
    for_parts(
        [&](const char* name, std::vector<double>& numbers, const std::vector<double>& gradient) {
          CAPTURE(name);
          check(numbers, gradient, 1);
        },
        c.weights, found.gradients);
  }
}

}  // namespace
}  // namespace vernier::kernels
