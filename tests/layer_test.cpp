// A layer in training against the chain of references, and what it promises.
#include "core/kernels/layer.h"

#include <doctest/doctest.h>

#include "core/base/pool.h"
#include "tests/finite_difference.h"
#include "tests/layer_case.h"

namespace vernier::kernels {
namespace {

using testing::by_reference;
using testing::for_parts;
using testing::kPrefix;
using testing::kStarts;
using testing::layer_shapes;
using testing::LayerCase;
using testing::LayerResult;
using testing::shape_of;
using testing::worst;

LayerResult<float> by_sweeps(const LayerCase<float>& c, Precision precision) {
  LayerResult<float> out{.y = c.x, .dx = c.d, .gradients = c.weights};
  for_parts([](const char*, auto& one) { std::fill(one.begin(), one.end(), 1.0f); }, out.gradients);
  const auto vectors = LayerCase<float>::pointers<const float*>(c.weights);
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
                 LayerCase<float>::pointers<float*>(out.gradients), scratch);
  return out;
}

// What the GPU does not have: sinks, ALiBi, scores by length.
std::vector<LayerShape> cpu_shapes() {
  std::vector<LayerShape> all = layer_shapes();
  all.push_back(shape_of(33, 31, {4, 2, 8, 8, 9, 4}, QkNorm::none, false));
  all.push_back(shape_of(31, 33, {3, 3, 6, 4, 31, 20, false, true}, QkNorm::head, true));
  all.push_back(shape_of(33, 31, {6, 2, 8, 0, 0, 0, true, true}, QkNorm::none, false));
  return all;
}

TEST_CASE("a layer equals its reference, forward and backward") {
  for (const LayerShape& shape : cpu_shapes())
    for (const bool biases : {false, true}) {
      CAPTURE(shape.width);
      CAPTURE(biases);
      const LayerCase<float> c(shape, biases, kStarts, kPrefix);
      const LayerResult<float> want = by_reference(c), found = by_sweeps(c, Precision::fp32);
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
  for (const LayerShape& shape : layer_shapes()) {
    CAPTURE(shape.width);
    const LayerCase<float> c(shape, true, kStarts, kPrefix);
    const LayerResult<float> want = by_reference(c), found = by_sweeps(c, Precision::bf16);
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
  const LayerCase<float> c(layer_shapes()[3], true, kStarts, kPrefix);
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    set_kernel_threads(1);
    const LayerResult<float> one = by_sweeps(c, precision);
    set_kernel_threads(3);
    const LayerResult<float> three = by_sweeps(c, precision);
    set_kernel_threads(1);
    CHECK(one.y == three.y);
    CHECK(one.dx == three.dx);
    for_parts([](const char*, auto& a, auto& b) { CHECK(a == b); }, one.gradients, three.gradients);
  }
}

TEST_CASE("the reference of a layer has the gradients that finite differences give") {
  for (const LayerShape& shape :
       {layer_shapes()[0], shape_of(5, 3, {2, 1, 4, 4, 3}, QkNorm::head, false),
        shape_of(4, 6, {2, 2, 2, 2}, QkNorm::all, true),
        shape_of(5, 3, {2, 1, 4, 4, 2, 1}, QkNorm::none, false),
        shape_of(4, 3, {3, 1, 2, 0, 0, 0, true, true}, QkNorm::none, false)}) {
    CAPTURE(shape.width);
    LayerCase<double> c(shape, true, {0, 2, 5, 6}, {-1, 0, -1});
    const LayerResult<double> found = by_reference(c);
    const auto value = [&] {
      const std::vector<double> y = by_reference(c).y;
      double sum = 0;
      for (size_t i = 0; i < y.size(); ++i) sum += y[i] * c.d[i];
      return sum;
    };
    const auto check = [&](std::vector<double>& numbers, const std::vector<double>& gradient,
                           double offset) {
      testing::check_gradient(numbers, gradient, value, offset, 1e-6);
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
