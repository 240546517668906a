// Attention against its reference, over packed segments and over pages of a cache.
#include <doctest/doctest.h>

#include "core/base/pool.h"
#include "core/kernels/kernels.h"
#include "tests/testing.h"

namespace vernier::kernels {
namespace {

using testing::normal;
using testing::worst;
using Floats = std::vector<float>;

TEST_CASE("attention equals its reference, forward and backward, on packed segments") {
  const std::vector<int32_t> starts = {0, 1, 32, 65, 130, 131, 148, 181};
  const std::vector<int32_t> prefix = {-1, 0, -1, 2, 2, -1, 5};
  for (const bool shared : {false, true})
    for (const AttentionShape& shape :
         {AttentionShape{1, 1, 2}, AttentionShape{6, 2, 8}, AttentionShape{3, 3, 30},
          AttentionShape{4, 1, 64}, AttentionShape{7, 1, 48, 48, 1}, AttentionShape{6, 2, 8, 8, 31},
          AttentionShape{2, 2, 6, 6, 64}, AttentionShape{2, 1, 6, 6, 65}}) {
      CAPTURE(shape.window);
      CAPTURE(shared);
      const Segments segments{starts.data(), 7, shared ? prefix.data() : nullptr};
      const int64_t rows = starts.back(), out_size = rows * shape.heads * shape.head_size;
      const Floats qkv = normal(rows * shape.row(), 10), d_out = normal(out_size, 11);
      Floats out(out_size), want(out_size), log_sum(rows * shape.heads);
      Floats log_want(rows * shape.heads);
      attention(qkv.data(), segments, out.data(), log_sum.data(), shape);
      ref::attention(qkv.data(), segments, want.data(), log_want.data(), shape);
      CHECK(worst(out, want) < 1e-5);
      CHECK(worst(log_sum, log_want) < 1e-5);
      Floats d(qkv.size()), d_want(qkv.size());
      attention_backward(d_out.data(), qkv.data(), out.data(), log_sum.data(), segments, d.data(),
                         shape);
      ref::attention_backward(d_out.data(), qkv.data(), want.data(), log_want.data(), segments,
                              d_want.data(), shape);
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
  for (const int64_t window : {0, 1, 33, 64, 69}) {
    const AttentionShape shape{6, 2, 8, 8, window};
    const int64_t rows = 70;
    const std::vector<int32_t> starts = {0, 70};
    const Floats qkv = normal(rows * shape.row(), 12);
    Floats out(rows * 48), log_sum(rows * 6);
    attention(qkv.data(), {starts.data(), 1}, out.data(), log_sum.data(), shape);
    const int64_t stride = 2 * PagedLayer::floats(shape);  // of two layers; this is the second
    Floats memory(5 * stride, std::numeric_limits<float>::quiet_NaN());
    const PagedLayer cache{memory.data() + PagedLayer::floats(shape), stride};
    const std::vector<int32_t> pages = {3, 1};
    for (int64_t first = 0; first < rows;) {  // in chunks of 1, 2, 3, ... tokens
      const int64_t count = std::min(rows - first, first / 4 + 1);
      const PagedSpan span{pages.data(), first, count, 0};
      paged_append(qkv.data() + first * shape.row(), cache, &span, 1, shape);
      Floats found(count * 48);
      paged_attention(qkv.data() + first * shape.row(), cache, &span, 1, found.data(), shape);
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
