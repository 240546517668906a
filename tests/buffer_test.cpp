// What the kernels rely on in their memory.
#include "core/base/buffer.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

namespace vernier {
namespace {

TEST_CASE("a buffer is zero, begins on a cache line and shares no byte with another") {
  for (int round = 0; round < 3; ++round) {  // what a round wrote is not found by the next
    std::vector<Buffer> buffers;
    for (const size_t bytes : {size_t{1}, size_t{63}, size_t{1} << 16, size_t{100'001},
                               size_t{3'000'000}, size_t{31'000'000}, size_t{40'000'000}}) {
      Buffer& buffer = buffers.emplace_back(bytes);
      REQUIRE(buffer.size() == bytes);
      CHECK(reinterpret_cast<uintptr_t>(buffer.as<char>()) % 64 == 0);
      CHECK(
          std::all_of(buffer.as<char>(), buffer.as<char>() + bytes, [](char c) { return c == 0; }));
      std::fill_n(buffer.as<char>(), bytes, static_cast<char>(buffers.size()));
    }
    for (size_t i = 0; i < buffers.size(); ++i) {
      const char* at = buffers[i].as<char>();
      CHECK(std::all_of(at, at + buffers[i].size(),
                        [&](char c) { return c == static_cast<char>(i + 1); }));
    }
  }
}

TEST_CASE("memory of a buffer that is gone is the system's again, while its neighbours live") {
  constexpr size_t kLarge = 20'000'000;
  std::vector<Buffer> kept;
  const int64_t before = resident_memory();
  for (int round = 0; round < 4; ++round) {
    Buffer large(kLarge);
    std::fill_n(large.as<char>(), kLarge, 'x');
    std::fill_n(kept.emplace_back(size_t{1} << 16).as<char>(), 1 << 16, 'x');
  }
  const int64_t grown = resident_memory() - before;
#ifdef __SANITIZE_THREAD__  // it keeps memory of its own for all that was touched
  CAPTURE(grown);
#else
  CHECK(grown < static_cast<int64_t>(kLarge));
#endif
}

TEST_CASE("a pool gives back what came back, and keeps what is held") {
  BufferPool pool;
  auto one = pool.take(100'000);
  const char* at = one->as<char>();
  auto two = pool.take(200'000);
  CHECK(pool.bytes() == 300'000);
  one.reset();
  CHECK(pool.take(90'000)->as<char>() == at);
  const auto larger = pool.take(150'000);  // in place of the first
  CHECK(larger->size() == 150'000);
  CHECK(pool.bytes() == 350'000);
  two.reset();
  pool.release();
  CHECK(pool.bytes() == 150'000);
}

}  // namespace
}  // namespace vernier
