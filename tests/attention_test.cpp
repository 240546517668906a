// Attention against its reference, over packed segments and over pages of a cache.
#include <doctest/doctest.h>

#include <cmath>

#include "core/base/pool.h"
#include "core/kernels/kernels.h"
#include "tests/testing.h"

namespace vernier::kernels {
namespace {

using testing::normal;
using testing::worst;
using Floats = std::vector<float>;

// Tables of rope() for `count` positions.
struct Tables {
  Floats cosine, sine;
  int64_t pairs;

  Tables(const AttentionShape& shape, int64_t count) : pairs(shape.rotary_size / 2) {
    for (int64_t p = 0; p < count; ++p)
      for (int64_t i = 0; i < pairs; ++i) {
        const double angle = static_cast<double>(p) / std::pow(100.0, static_cast<double>(i));
        cosine.push_back(static_cast<float>(std::cos(angle)));
        sine.push_back(static_cast<float>(std::sin(angle)));
      }
  }
  Rotations rotations() const { return {.cosine = cosine.data(), .sine = sine.data()}; }
};

// With sinks, ALiBi and scores by length.
const std::vector<AttentionShape> kOtherShapes = {
    {6, 2, 8, 8, 31, 3},
    {2, 1, 6, 4, 1, 1},
    {7, 1, 48, 48, 5, 20},
    {3, 3, 30, 0, 16, 33},
    {6, 2, 8, 8, 0, 0, true},
    {3, 3, 30, 30, 31, 0, true},
    {4, 4, 8, 8, 0, 0, false, true},
    {6, 2, 8, 8, 33, 16, false, true},
};

TEST_CASE("attention equals its reference, forward and backward, on packed segments") {
  const std::vector<int32_t> starts = {0, 1, 32, 65, 130, 131, 148, 181};
  const std::vector<int32_t> prefix = {-1, 0, -1, 2, 2, -1, 5};
  std::vector<AttentionShape> shapes = {{1, 1, 2},        {6, 2, 8},         {3, 3, 30},
                                        {4, 1, 64},       {7, 1, 48, 48, 1}, {6, 2, 8, 8, 31},
                                        {2, 2, 6, 6, 64}, {2, 1, 6, 6, 65}};
  shapes.insert(shapes.end(), kOtherShapes.begin(), kOtherShapes.end());
  for (const bool shared : {false, true})
    for (const AttentionShape& shape : shapes) {
      CAPTURE(shape.window);
      CAPTURE(shape.sinks);
      CAPTURE(shared);
      const Tables tables(shape, 100);
      const Rotations rotations = tables.rotations();
      const Segments segments{starts.data(), 7, shared ? prefix.data() : nullptr};
      const int64_t rows = starts.back(), out_size = rows * shape.heads * shape.head_size;
      const Floats qkv = normal(rows * shape.row(), 10), d_out = normal(out_size, 11);
      Floats out(out_size), want(out_size), log_sum(rows * shape.heads);
      Floats log_want(rows * shape.heads);
      attention(qkv.data(), segments, out.data(), log_sum.data(), shape, rotations);
      ref::attention(qkv.data(), segments, want.data(), log_want.data(), shape, rotations);
      CHECK(worst(out, want) < 1e-5);
      CHECK(worst(log_sum, log_want) < 1e-5);
      Floats d(qkv.size()), d_want(qkv.size());
      attention_backward(d_out.data(), qkv.data(), out.data(), log_sum.data(), segments, d.data(),
                         shape, rotations);
      ref::attention_backward(d_out.data(), qkv.data(), want.data(), log_want.data(), segments,
                              d_want.data(), shape, rotations);
      CHECK(worst(d, d_want) < 1e-5);
    }
}

TEST_CASE("a prefix that two sequences share gives each the bits it has behind a copy of its own") {
  const AttentionShape shape{6, 2, 8, 8, 40};
  const std::vector<int32_t> starts = {0, 33, 34, 91}, prefix = {-1, 0, 0};
  const Floats qkv = normal(91 * shape.row(), 14);
  Floats out(91 * 48), log_sum(91 * 6);
  attention(qkv.data(), {starts.data(), 3, prefix.data()}, out.data(), log_sum.data(), shape);
  Floats whole(qkv.begin(), qkv.begin() + 33 * shape.row());
  whole.insert(whole.end(), qkv.begin() + 34 * shape.row(), qkv.end());
  const std::vector<int32_t> one = {0, 90};
  Floats want(90 * 48), log_want(90 * 6);
  attention(whole.data(), {one.data(), 1}, want.data(), log_want.data(), shape);
  CHECK(std::equal(out.begin(), out.begin() + 33 * 48, want.begin()));
  CHECK(std::equal(out.begin() + 34 * 48, out.end(), want.begin() + 33 * 48));
}

TEST_CASE("attention over pages equals the full pass bit for bit, with a window too") {
  std::vector<AttentionShape> shapes;
  for (const int64_t window : {0, 1, 33, 64, 69}) shapes.push_back({6, 2, 8, 8, window});
  for (const AttentionShape& shape : kOtherShapes)
    if (shape.heads * shape.head_size == 48) shapes.push_back(shape);
  REQUIRE(shapes.size() == 8);
  for (const AttentionShape& shape : shapes) {
    CAPTURE(shape.sinks);
    const Tables tables(shape, 70);
    const int64_t rows = 70;
    const std::vector<int32_t> starts = {0, 70};
    const Floats qkv = normal(rows * shape.row(), 12);
    Floats out(rows * 48), log_sum(rows * 6);
    attention(qkv.data(), {starts.data(), 1}, out.data(), log_sum.data(), shape,
              tables.rotations());
    const int64_t stride = 2 * PagedLayer::floats(shape);  // of two layers; this is the second
    Floats memory(5 * stride, std::numeric_limits<float>::quiet_NaN());
    const PagedLayer cache{memory.data() + PagedLayer::floats(shape), stride};
    const std::vector<int32_t> pages = {3, 1};
    for (int64_t first = 0; first < rows;) {  // in chunks of 1, 2, 3, ... tokens
      const int64_t count = std::min(rows - first, first / 4 + 1);
      const PagedSpan span{pages.data(), first, count, 0};
      paged_append(qkv.data() + first * shape.row(), cache, &span, 1, shape);
      Floats found(count * 48);
      paged_attention(qkv.data() + first * shape.row(), cache, &span, 1, found.data(), shape,
                      tables.rotations());
      CHECK(std::equal(found.begin(), found.end(), out.begin() + first * 48));
      first += count;
    }
  }
}

TEST_CASE("sequences of a pass attend to their own pages, the same with one thread and with two") {
  const AttentionShape shape{4, 4, 33, 32, 0};
  const std::vector<int32_t> starts = {0, 1, 34, 291};
  const Floats qkv = normal(291 * shape.row(), 13);
  Floats want(291 * shape.heads * 33), log_sum(291 * shape.heads);
  attention(qkv.data(), {starts.data(), 3}, want.data(), log_sum.data(), shape);
  const int64_t stride = PagedLayer::floats(shape);
  Floats memory(7 * stride, std::numeric_limits<float>::quiet_NaN());
  const PagedLayer cache{memory.data(), stride};
  const std::vector<int32_t> one = {6}, two = {0}, three = {4, 1, 2, 5, 3};
  const std::vector<PagedSpan> spans = {
      {one.data(), 0, 1, 0}, {two.data(), 0, 33, 1}, {three.data(), 0, 257, 34}};
  for (const int threads : {1, 2}) {
    set_kernel_threads(threads);
    Floats found(want.size());
    paged_append(qkv.data(), cache, spans.data(), 3, shape);
    paged_attention(qkv.data(), cache, spans.data(), 3, found.data(), shape);
    CHECK(found == want);
  }
  set_kernel_threads(1);
}

TEST_CASE("a score depends on a sink behind the window as if it were a window away") {
  // One head, window 3, one sink. What the last token of 10 makes of the sink is what a token right
  // behind the window would, whose query is the same before it is rotated.
  const AttentionShape shape{1, 1, 4, 4, 3, 1};
  const Tables tables(shape, 10);
  const auto last_of = [&](int64_t rows) {
    Floats qkv = normal(rows * shape.row(), 15);
    for (int64_t t = 0; t < rows; ++t)  // all tokens are alike, but for the sink's value
      std::copy_n(qkv.begin() + 12 * (t == 0 ? 0 : 1), 12, qkv.begin() + t * 12);
    std::copy_n(qkv.begin() + 12, 8, qkv.begin());
    std::vector<int32_t> positions;
    for (int32_t t = 0; t < rows; ++t) positions.push_back(t);
    ref::rope(qkv.data(), positions.data(), tables.cosine.data(), tables.sine.data(), shape, rows,
              false);
    const std::vector<int32_t> starts = {0, static_cast<int32_t>(rows)};
    Floats out(rows * 4), log_sum(rows);
    attention(qkv.data(), {starts.data(), 1}, out.data(), log_sum.data(), shape,
              tables.rotations());
    return Floats(out.end() - 4, out.end());
  };
  CHECK(worst(last_of(10), last_of(4)) < 1e-5);
  CHECK(worst(last_of(10), last_of(3)) > 1e-3);  // the sink is nearer there
}

TEST_CASE("the slopes of ALiBi are those of transformers") {
  CHECK(alibi_slopes(4) == Floats{0.25f, 0.0625f, 0.015625f, 0.00390625f});
  const Floats six = alibi_slopes(6);  // four of four heads, then every second of eight
  CHECK(worst(six, Floats{0.25f, 0.0625f, 0.015625f, 0.00390625f, 0.5f, 0.125f}) < 1e-7);
  CHECK(alibi_slopes(1) == Floats{0.00390625f});
}

TEST_CASE("a window of the whole sequence changes nothing, a smaller one what is past it") {
  const std::vector<int32_t> starts = {0, 70};
  const AttentionShape open{2, 1, 8};
  const Floats qkv = normal(70 * open.row(), 12);
  const auto with = [&](int64_t window) {
    Floats out(70 * 16), log_sum(70 * 2);
    attention(qkv.data(), {starts.data(), 1}, out.data(), log_sum.data(), {2, 1, 8, 8, window});
    return out;
  };
  CHECK(with(70) == with(0));
  const Floats all = with(0), some = with(69);
  CHECK(std::equal(all.begin(), all.begin() + 69 * 16, some.begin()));
  CHECK(worst(all, some) > 1e-4);
}

}  // namespace
}  // namespace vernier::kernels
