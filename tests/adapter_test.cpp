// Adapters of a matrix against their references.
#include "core/kernels/adapter.h"

#include <doctest/doctest.h>

#include <cstring>

#include "core/base/pool.h"
#include "core/weights/weights.h"
#include "tests/finite_difference.h"
#include "tests/testing.h"

namespace vernier::kernels {
namespace {

using testing::normal;
using testing::worst;

template <class T>
std::vector<T> product(const std::vector<T>& a, bool transpose_a, const std::vector<T>& b,
                       bool transpose_b, int64_t rows, int64_t inner, int64_t columns) {
  std::vector<T> out(static_cast<size_t>(rows * columns));
  ref::matmul(a.data(), transpose_a, b.data(), transpose_b, out.data(), rows, inner, columns,
              false);
  return out;
}

struct Rows {
  int64_t first, count;
};

// A matrix with adapters for some of its rows, and tokens that went through it.
template <class T>
struct Case {
  int64_t rows, columns, rank, tokens;
  std::vector<Rows> parts;
  std::vector<T> w, a, b, x, dy;  // B part by part

  Case(int64_t out, int64_t in, int64_t r, int64_t t, std::vector<Rows> which)
      : rows(out), columns(in), rank(r), tokens(t), parts(std::move(which)) {
    int64_t adapted = 0;
    for (const Rows& part : parts) adapted += part.count;
    w = normal<T>(rows * columns, 1);
    a = normal<T>(std::ssize(parts) * rank * columns, 2);
    b = normal<T>(adapted * rank, 3);
    x = normal<T>(tokens * columns, 4);
    dy = normal<T>(tokens * rows, 5);
  }

  // Gradients are added to those given, which are as a and b.
  MatrixAdapter<T> adapter(std::vector<T>* d_a, std::vector<T>* d_b) const {
    MatrixAdapter<T> out{.rows = rows,
                         .columns = columns,
                         .rank = rank,
                         .scale = 0.75,
                         .a = a.data(),
                         .d_a = d_a != nullptr ? d_a->data() : nullptr,
                         .parts = {}};
    int64_t at = 0;
    for (const Rows& part : parts) {
      out.parts.push_back({.first_row = part.first,
                           .rows = part.count,
                           .b = b.data() + at,
                           .d_b = d_b != nullptr ? d_b->data() + at : nullptr});
      at += part.count * rank;
    }
    return out;
  }
};

template <class T>
std::vector<Case<T>> cases() {
  std::vector<Case<T>> out;
  for (const int64_t tokens : {1, 31, 33, 257})
    for (const int64_t rank : {1, 3, 8}) {
      out.emplace_back(31, 33, rank, tokens, std::vector<Rows>{{0, 31}});
      // Queries, keys without an adapter, values.
      out.emplace_back(65, 40, rank, tokens, std::vector<Rows>{{0, 33}, {50, 15}});
    }
  out.emplace_back(1, 1, 1, 1, std::vector<Rows>{{0, 1}});
  out.emplace_back(257, 64, 16, 90, std::vector<Rows>{{0, 128}, {128, 129}});
  return out;
}

template <class T>
struct Gradients {
  std::vector<T> a, b;
};

// Begins with ones: gradients of micro-batches add up.
template <class T>
Gradients<T> by_reference(const Case<T>& c) {
  Gradients<T> out{std::vector<T>(c.a.size(), T{1}), std::vector<T>(c.b.size(), T{1})};
  const std::vector<T> d_weight = product(c.dy, true, c.x, false, c.rows, c.tokens, c.columns);
  ref::adapter_gradient(c.adapter(&out.a, &out.b), d_weight.data());
  return out;
}

Gradients<float> by_products(const Case<float>& c) {
  Gradients<float> out{std::vector<float>(c.a.size(), 1.0f), std::vector<float>(c.b.size(), 1.0f)};
  AdapterScratch scratch;
  adapter_gradient(c.adapter(&out.a, &out.b), c.dy.data(), c.x.data(), c.tokens, scratch);
  return out;
}

// Rows of bf16 numbers in whole words.
std::vector<uint16_t> rounded(const std::vector<float>& values, int64_t rows, int64_t width) {
  const int64_t row = 2 * pair_words(width);
  std::vector<uint16_t> out(static_cast<size_t>(rows * row));
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < width; ++j)
      out[static_cast<size_t>(i * row + j)] = to_bf16(values[static_cast<size_t>(i * width + j)]);
  return out;
}

Gradients<float> by_halves(const Case<float>& c) {
  Gradients<float> out{std::vector<float>(c.a.size(), 1.0f), std::vector<float>(c.b.size(), 1.0f)};
  AdapterScratch scratch;
  const auto dy = rounded(c.dy, c.tokens, c.rows), x = rounded(c.x, c.tokens, c.columns);
  Buffer left(dy.size() * 2), right(x.size() * 2);  // tiles want cache lines
  std::copy(dy.begin(), dy.end(), left.as<uint16_t>());
  std::copy(x.begin(), x.end(), right.as<uint16_t>());
  adapter_gradient(c.adapter(&out.a, &out.b), left.as<uint16_t>(), right.as<uint16_t>(), c.tokens,
                   scratch);
  return out;
}

std::vector<float> merged(const Case<float>& c) {
  std::vector<float> w = c.w;
  AdapterScratch scratch;
  merge_adapter(c.adapter(nullptr, nullptr), w.data(), scratch);
  return w;
}

TEST_CASE("merged weights are W0 + scale B A, and rows without an adapter stay") {
  for (const Case<float>& c : cases<float>()) {
    CAPTURE(c.rank);
    std::vector<float> want = c.w;
    ref::merge_adapter(c.adapter(nullptr, nullptr), want.data());
    const std::vector<float> found = merged(c);
    CHECK(worst(found, want) < 1e-6);
    CHECK(worst(found, c.w) > 1e-3);
    if (c.parts.size() == 2 && c.parts[1].first == 50)
      CHECK(std::memcmp(&found[33 * 40], &c.w[33 * 40], 17 * 40 * sizeof(float)) == 0);
  }
}

TEST_CASE("gradients of adapters are those by way of the whole matrix") {
  for (const Case<float>& c : cases<float>()) {
    CAPTURE(c.rank);
    CAPTURE(c.tokens);
    CAPTURE(c.rows);
    const Gradients<float> want = by_reference(c), found = by_products(c), halves = by_halves(c);
    CHECK(worst(found.a, want.a) < 5e-6);
    CHECK(worst(found.b, want.b) < 5e-6);
    CHECK(worst(halves.a, want.a) < 0.03);
    CHECK(worst(halves.b, want.b) < 0.03);
  }
}

TEST_CASE("adapters have the same bits with one thread and with three") {
  const Case<float> c = cases<float>().back();
  const auto all = [&] {
    const Gradients<float> one = by_products(c), two = by_halves(c);
    return std::vector{one.a, one.b, two.a, two.b, merged(c)};
  };
  set_kernel_threads(1);
  const auto one = all();
  set_kernel_threads(3);
  const auto three = all();
  set_kernel_threads(1);
  CHECK(one == three);
}

TEST_CASE("the reference of an adapter has the gradients that finite differences give") {
  Case<double> c(5, 4, 2, 3, {{0, 2}, {3, 2}});
  const Gradients<double> found = by_reference(c);
  const auto value = [&] {
    std::vector<double> w = c.w;
    ref::merge_adapter(c.adapter(nullptr, nullptr), w.data());
    const std::vector<double> y = product(c.x, false, w, true, c.tokens, c.columns, c.rows);
    double sum = 0;
    for (size_t i = 0; i < y.size(); ++i) sum += y[i] * c.dy[i];
    return sum;
  };
  const auto check = [&](std::vector<double>& numbers, const std::vector<double>& gradient) {
    testing::check_gradient(numbers, gradient, value, 1, 1e-7);
  };
  check(c.a, found.a);
  check(c.b, found.b);
}

TEST_CASE("fixed numbers come back bit for bit, in half the memory where bf16 is all of them") {
  std::vector<float> numbers = normal<float>(100003, 9);
  const auto again = [&] {
    const FixedNumbers fixed(numbers.data(), std::ssize(numbers));
    std::vector<float> out(numbers.size());
    fixed.copy_to(out.data());
    CHECK(std::memcmp(out.data(), numbers.data(), numbers.size() * sizeof(float)) == 0);
    return fixed.bytes();
  };
  CHECK(again() == 4 * 100003);
  for (float& number : numbers) number = from_bf16(to_bf16(number));
  numbers[5] = -0.0f;
  CHECK(again() == 2 * 100003);
  numbers.back() += 1e-4f;
  CHECK(again() == 4 * 100003);
}

}  // namespace
}  // namespace vernier::kernels
