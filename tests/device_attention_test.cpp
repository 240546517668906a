// Rotation, the way to the cache and attention over it, on the CPU and on a GPU, against
// ref::attention of whole sequences.
#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>

#include "core/kernels/device.h"
#include "tests/device_arrays.h"
#include "tests/testing.h"

namespace vernier {
namespace {

using kernels::AttentionShape;
using kernels::kKeyBlock;
using testing::as_floats;
using testing::as_type;
using testing::exact_in;
using testing::have_gpu;
using testing::normal;
using testing::OnDevice;
using testing::worst;

using Floats = std::vector<float>;
using Ints = std::vector<int32_t>;

constexpr int64_t kPositions = 512;

// Sequences of which all tokens are in the cache, and of which the last `counts` ask.
struct Case {
  AttentionShape shape;
  Ints lengths = {}, counts = {};
  Floats qkv = {};                // [sum of lengths, row], before rotation
  Floats cosine = {}, sine = {};  // [kPositions, R/2]
  Ints pages = {};                // [sequences, width], in no order
  int64_t width = 0, num_pages = 0;

  int64_t sequences() const { return std::ssize(lengths); }
  int64_t rows() const { return std::accumulate(lengths.begin(), lengths.end(), int64_t{0}); }
  int64_t asking() const { return std::accumulate(counts.begin(), counts.end(), int64_t{0}); }
  /// Calls body(sequence, place in it) for all rows, or for those that ask.
  template <class Body>
  void for_tokens(bool all, const Body& body) const {
    for (int64_t s = 0; s < sequences(); ++s) {
      const auto at = static_cast<size_t>(s);
      for (int32_t t = all ? 0 : lengths[at] - counts[at]; t < lengths[at]; ++t)
        body(static_cast<int32_t>(s), t);
    }
  }
  Ints positions() const {
    Ints out;
    for_tokens(true, [&](int32_t, int32_t t) { out.push_back(t); });
    return out;
  }
  /// Rows of [sum of lengths, columns] that ask.
  template <class T>
  std::vector<T> asking_rows(const std::vector<T>& all) const {
    const int64_t columns = std::ssize(all) / rows();
    std::vector<T> out;
    int64_t row = 0;
    for_tokens(true, [&](int32_t s, int32_t t) {
      const auto at = static_cast<size_t>(s);
      const auto from = all.begin() + row++ * columns;
      if (t >= lengths[at] - counts[at]) out.insert(out.end(), from, from + columns);
    });
    return out;
  }
};

template <class T>
Case make_case(const AttentionShape& shape, const Ints& lengths, const Ints& counts) {
  Case made{.shape = shape, .lengths = lengths, .counts = counts};
  made.qkv = exact_in<T>(normal(made.rows() * shape.row(), 1));
  const int64_t half = shape.rotary_size / 2;
  for (int64_t p = 0; p < kPositions; ++p)
    for (int64_t i = 0; i < half; ++i) {
      const double angle = static_cast<double>(p) / std::pow(100.0, static_cast<double>(i) / 32);
      made.cosine.push_back(static_cast<float>(std::cos(angle)));
      made.sine.push_back(static_cast<float>(std::sin(angle)));
    }
  made.width = kPositions / kKeyBlock;
  made.num_pages = made.sequences() * made.width;
  const Permutation shuffled(3, 0, made.num_pages);
  for (int64_t i = 0; i < made.num_pages; ++i)
    made.pages.push_back(static_cast<int32_t>(shuffled(i)));
  return made;
}

// Rotated in fp32 and rounded to T, as the kernels do.
template <class T>
Floats rotated(const Case& c) {
  Floats qkv = c.qkv;
  kernels::ref::rope(qkv.data(), c.positions().data(), c.cosine.data(), c.sine.data(), c.shape,
                     c.rows(), false);
  return exact_in<T>(qkv);
}

template <class T>
Floats wanted(const Case& c) {
  const Floats qkv = rotated<T>(c);
  Ints starts = {0};
  for (const int32_t length : c.lengths) starts.push_back(starts.back() + length);
  Floats out(static_cast<size_t>(c.rows() * c.shape.heads * c.shape.head_size)),
      log_sum(static_cast<size_t>(c.rows() * c.shape.heads));
  kernels::ref::attention(qkv.data(), {starts.data(), c.sequences()}, out.data(), log_sum.data(),
                          c.shape);
  return c.asking_rows(out);
}

struct OnCpu {
  using Number = float;

  static Floats attention(const Case& c) {
    Floats qkv = c.qkv;
    kernels::rope(qkv.data(), c.positions().data(), c.cosine.data(), c.sine.data(), c.shape,
                  c.rows(), false);
    const int64_t stride = kernels::PagedLayer::floats(c.shape);
    Floats memory(static_cast<size_t>(stride * c.num_pages));
    const kernels::PagedLayer cache{.base = memory.data(), .stride = stride};
    std::vector<kernels::PagedSpan> all, asking;
    int64_t row = 0, asking_row = 0;
    for (int64_t s = 0; s < c.sequences(); ++s) {
      const int64_t length = c.lengths[static_cast<size_t>(s)];
      const int64_t count = c.counts[static_cast<size_t>(s)];
      const int32_t* pages = c.pages.data() + s * c.width;
      all.push_back({.pages = pages, .first = 0, .count = length, .row = row});
      asking.push_back(
          {.pages = pages, .first = length - count, .count = count, .row = asking_row});
      row += length;
      asking_row += count;
    }
    kernels::paged_append(qkv.data(), cache, all.data(), c.sequences(), c.shape);
    const Floats queries = c.asking_rows(qkv);
    Floats out(static_cast<size_t>(c.asking() * c.shape.heads * c.shape.head_size));
    kernels::paged_attention(queries.data(), cache, asking.data(), c.sequences(), out.data(),
                             c.shape);
    return out;
  }
};

// The cache of a case on the GPU, filled by rope_append.
template <class T>
struct GpuCache {
  explicit GpuCache(const Case& c)
      : stride(kernels::device::Pages<T>::numbers(c.shape)),
        // What was not written is NaN, and must not be seen.
        memory(as_type<T>(Floats(static_cast<size_t>(stride * c.num_pages), std::nanf("")))),
        pages(c.pages),
        qkv(as_type<T>(c.qkv)) {
    cache = {.base = memory.data(), .stride = stride};
    table = {.pages = pages.data(), .width = c.width};
    Ints sequences;
    c.for_tokens(true, [&](int32_t s, int32_t) { sequences.push_back(s); });
    OnDevice<int32_t> positions(c.positions()), of(sequences);
    OnDevice<float> cosine(c.cosine), sine(c.sine);
    kernels::device::rope_append(qkv.data(), positions.data(), of.data(), cosine.data(),
                                 sine.data(), cache, table, c.shape, c.rows(), nullptr);
  }

  int64_t stride;
  OnDevice<T> memory;
  OnDevice<int32_t> pages;
  OnDevice<T> qkv;
  kernels::device::Pages<T> cache;
  kernels::device::PageTable table;
};

template <class T>
struct ChunksOnGpu {
  using Number = T;

  static Floats attention(const Case& c) {
    GpuCache<T> gpu(c);
    std::vector<kernels::device::ChunkSpan> spans = {{}};  // one without tokens
    int32_t row = 0;
    for (int32_t s = 0; s < c.sequences(); ++s) {
      const auto at = static_cast<size_t>(s);
      spans.push_back({.sequence = s,
                       .first = c.lengths[at] - c.counts[at],
                       .count = c.counts[at],
                       .row = row});
      row += c.counts[at];
    }
    OnDevice<kernels::device::ChunkSpan> gspans(spans);
    OnDevice<T> queries(c.asking_rows(gpu.qkv.host()));
    OnDevice<T> out(c.asking() * c.shape.heads * c.shape.head_size);
    kernels::device::chunk_attention(queries.data(), gspans.data(), std::ssize(spans), gpu.cache,
                                     gpu.table, out.data(), c.shape, c.asking(), nullptr);
    return as_floats(out.host());
  }
};

// Slots of which every `idle`-th has no token.
template <class T>
Floats decoded(const Case& c, int64_t idle = 0) {
  GpuCache<T> gpu(c);
  Ints positions;
  for (int64_t s = 0; s < c.sequences(); ++s)
    positions.push_back(idle > 0 && s % idle == 0 ? -1 : c.lengths[static_cast<size_t>(s)] - 1);
  const int64_t capacity = kernels::device::decode_pieces(c.sequences(), kPositions);
  OnDevice<int32_t> gpositions(positions), starts(c.sequences() + 1), slots(capacity);
  OnDevice<float> scratch(kernels::device::decode_scratch(c.shape, capacity));
  const kernels::device::DecodePlan plan{
      .starts = starts.data(), .slots = slots.data(), .capacity = capacity};
  OnDevice<T> queries(c.asking_rows(gpu.qkv.host()));
  OnDevice<T> out(c.asking() * c.shape.heads * c.shape.head_size);
  kernels::device::plan_decode(gpositions.data(), plan, c.sequences(), nullptr);
  kernels::device::decode_attention(queries.data(), gpositions.data(), gpu.cache, gpu.table, plan,
                                    scratch.data(), out.data(), c.shape, c.sequences(), nullptr);
  return as_floats(out.host());
}

template <class T>
struct DecodeOnGpu {
  using Number = T;
  static Floats attention(const Case& c) { return decoded<T>(c); }
};

// bf16 rounds the weights as well as the result; they are at most 1.
template <class T>
constexpr double kBound = std::is_same_v<T, float> ? 2e-6 : 1e-2;

std::vector<AttentionShape> shapes() {
  std::vector<AttentionShape> out;
  for (const int64_t size : {64, 80, 96, 128})
    for (const int64_t window : {0, 40})
      out.push_back(
          {.heads = 7, .kv_heads = 1, .head_size = size, .rotary_size = size, .window = window});
  // Heads that fill a tile and more, heads of their own, and a rotation of some dimensions.
  out.push_back({.heads = 20, .kv_heads = 1, .head_size = 64, .rotary_size = 64});
  out.push_back({.heads = 3, .kv_heads = 3, .head_size = 64, .rotary_size = 16});
  out.push_back({.heads = 4, .kv_heads = 2, .head_size = 80, .rotary_size = 0, .window = 1});
  return out;
}

template <class Kernels>
void check_attention(const Ints& lengths, const Ints& counts) {
  using T = Kernels::Number;
  for (const AttentionShape& shape : shapes()) {
    CAPTURE(shape.head_size);
    CAPTURE(shape.window);
    CAPTURE(shape.heads);
    const Case c = make_case<T>(shape, lengths, counts);
    CHECK(worst(Kernels::attention(c), wanted<T>(c), 1) < kBound<T>);
  }
}

const Ints kLengths = {1, 31, 33, 64, 130, 257};
const Ints kOnes = {1, 1, 1, 1, 1, 1};
const Ints kChunks = {1, 31, 2, 33, 1, 40};

TEST_CASE("paged attention matches its reference on the CPU") {
  check_attention<OnCpu>(kLengths, kOnes);
  check_attention<OnCpu>(kLengths, kChunks);
}

TEST_CASE_TEMPLATE("paged attention matches its reference on a GPU" * doctest::skip(!have_gpu()), T,
                   float, testing::Bf16) {
  check_attention<DecodeOnGpu<T>>(kLengths, kOnes);
  check_attention<ChunksOnGpu<T>>(kLengths, kOnes);
  check_attention<ChunksOnGpu<T>>(kLengths, kChunks);
  check_attention<ChunksOnGpu<T>>({257, 1}, {257, 1});
}

TEST_CASE_TEMPLATE(
    "attention of a token is the same bits, decoded or in a chunk, whatever is "
    "beside it" *
        doctest::skip(!have_gpu()),
    T, float, testing::Bf16) {
  for (const AttentionShape& shape : shapes()) {
    CAPTURE(shape.head_size);
    CAPTURE(shape.window);
    const int64_t columns = shape.heads * shape.head_size;
    const Case one = make_case<T>(shape, {257}, {1}), chunk = make_case<T>(shape, {257}, {40});
    const Floats alone = decoded<T>(one), in_chunk = ChunksOnGpu<T>::attention(chunk);
    CHECK(alone == Floats(in_chunk.end() - columns, in_chunk.end()));
    // The first sequence of a case has the same numbers in any case.
    const Case many = make_case<T>(shape, {257, 33, 200}, {1, 1, 1});
    const Floats beside = decoded<T>(many);
    CHECK(alone == Floats(beside.begin(), beside.begin() + columns));
    const Floats with_idle = decoded<T>(many, 2);  // slots 0 and 2 are idle
    CHECK(Floats(columns, 0.0f) == Floats(with_idle.begin(), with_idle.begin() + columns));
    CHECK(std::equal(with_idle.begin() + columns, with_idle.begin() + 2 * columns,
                     beside.begin() + columns));
  }
}

TEST_CASE_TEMPLATE("keys and values lie where device.h says, and a page is copied whole" *
                       doctest::skip(!have_gpu()),
                   T, float, testing::Bf16) {
  using Pages = kernels::device::Pages<T>;
  const AttentionShape shape{.heads = 4, .kv_heads = 2, .head_size = 80, .rotary_size = 80};
  const Case c = make_case<T>(shape, {33, 70}, {1, 1});
  GpuCache<T> gpu(c);
  kernels::device::copy_page(gpu.cache, c.pages[0], c.pages[1], nullptr);  // 1 has no token
  const Floats memory = as_floats(gpu.memory.host()), qkv = rotated<T>(c);
  Floats keys, values, want_keys, want_values;
  int64_t row = 0;
  c.for_tokens(true, [&](int32_t s, int32_t t) {
    const float* from = qkv.data() + row++ * shape.row() + shape.heads * shape.head_size;
    const int64_t page =
        s == 0 ? c.pages[1] : c.pages[static_cast<size_t>(c.width + t / kKeyBlock)];
    const float* at = memory.data() + page * gpu.stride;
    for (int64_t kv = 0; kv < shape.kv_heads; ++kv)
      for (int64_t e = 0; e < shape.head_size; ++e) {
        keys.push_back(at[Pages::key_at(shape, kv, t % kKeyBlock, e)]);
        values.push_back(at[Pages::value_at(shape, kv, t % kKeyBlock, e)]);
        want_keys.push_back(from[kv * shape.head_size + e]);
        want_values.push_back(from[(shape.kv_heads + kv) * shape.head_size + e]);
      }
  });
  CHECK(worst(keys, want_keys, 1) < testing::tolerance<T>());
  CHECK(values == want_values);
}

TEST_CASE("a head size that was not built is refused" * doctest::skip(!have_gpu())) {
  const Case c = make_case<float>({.heads = 1, .kv_heads = 1, .head_size = 48}, {1}, {1});
  CHECK_THROWS_AS(decoded<float>(c), DeviceError);
}

}  // namespace
}  // namespace vernier
