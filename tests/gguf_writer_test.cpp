// GGUF files that are written here, read again.
#include "core/weights/gguf_writer.h"

#include <doctest/doctest.h>

#include <cmath>

#include "tests/testing.h"

namespace vernier {
namespace {

using testing::normal;

std::vector<float> read_back(const GgufFile& file, const char* name) {
  const TensorInfo* tensor = file.find(name);
  REQUIRE(tensor != nullptr);
  std::vector<float> values(static_cast<size_t>(tensor->numel()));
  file.read(*tensor, values.data());
  return values;
}

TEST_CASE("a GGUF file reads as it was written") {
  const testing::TemporaryFolder folder;
  const fs::path path = folder.path() / "m.gguf";
  const GgufMetadata metadata = {
      {"general.architecture", std::string("llama")},
      {"llama.block_count", int64_t{3}},
      {"negative", int64_t{-5}},
      {"large", int64_t{1} << 40},
      {"eps", 0.25},
      {"flag", true},
      {"empty", std::string()},
      {"texts", GgufFile::Array(std::vector<std::string>{"a", "", "\u00e9 b"})},
      {"integers", GgufFile::Array(std::vector<int64_t>{-1, 0, 7})},
      {"reals", GgufFile::Array(std::vector<double>{0.5, -2})}};
  const auto odd = normal(3 * 31, 1), whole = normal(2 * 64, 2), one = normal(1, 3);
  GgufWriter writer(path, metadata,
                    {{"odd", {3, 31}, DType::f32},
                     {"half", {3, 31}, DType::f16},
                     {"brain", {31, 3}, DType::bf16},
                     {"blocks", {2, 64}, DType::q8_0},
                     {"one", {1}, DType::f32}});
  for (const auto* values : {&odd, &odd, &odd, &whole, &one}) writer.write(values->data());
  CHECK(!fs::exists(path));
  writer.commit();
  const GgufFile file(path);
  for (const auto& [key, value] : metadata) {
    CAPTURE(key);
    CHECK(file.metadata().at(key) == value);
  }
  CHECK(file.metadata().size() == metadata.size());
  CHECK(read_back(file, "odd") == odd);
  CHECK(read_back(file, "one") == one);
  CHECK(file.find("odd")->shape == std::vector<int64_t>{3, 31});
  CHECK(file.find("blocks")->dtype == DType::q8_0);
  const auto half = read_back(file, "half"), brain = read_back(file, "brain");
  for (size_t i = 0; i < odd.size(); ++i) {
    CHECK(half[i] == from_f16(to_f16(odd[i])));
    CHECK(brain[i] == from_bf16(to_bf16(odd[i])));
  }
}

TEST_CASE("Q8_0 keeps what it can hold, and rounds the rest by half a step") {
  const testing::TemporaryFolder folder;
  const auto through = [&](const std::vector<float>& values) {
    const fs::path path = folder.path() / "q.gguf";
    GgufWriter writer(path, {}, {{"q", {static_cast<int64_t>(values.size())}, DType::q8_0}});
    writer.write(values.data());
    writer.commit();
    return read_back(GgufFile(path), "q");
  };
  std::vector<float> exact;
  for (int i = 0; i < 32; ++i) exact.push_back(static_cast<float>(i * 8 - 121) * 0.5f);
  CHECK(through(exact) == exact);  // largest 127 / 2: the scale is 1 / 2
  CHECK(through(std::vector<float>(64, 0.0f)) == std::vector<float>(64, 0.0f));
  const auto values = normal(257 * 32, 5);
  const auto found = through(values);
  for (size_t block = 0; block < 257; ++block) {
    float largest = 0;
    for (size_t i = 0; i < 32; ++i) largest = std::max(largest, std::abs(values[block * 32 + i]));
    for (size_t i = 0; i < 32; ++i)  // half a step, and the scale's own rounding to fp16
      CHECK(std::abs(found[block * 32 + i] - values[block * 32 + i]) <= largest / 127 * 0.57f);
  }
}

TEST_CASE("what GGUF cannot hold is named, and nothing is left behind") {
  const testing::TemporaryFolder folder;
  const fs::path path = folder.path() / "m.gguf";
  const std::string problem = testing::usage_error([&] {
    GgufWriter(path, {}, {{"narrow", {4, 31}, DType::q8_0}});
  });
  CHECK(problem.find("tensor 'narrow' has rows of 31 values") != std::string::npos);
  {
    GgufWriter writer(path, {}, {{"a", {1}, DType::f32}});
    CHECK_THROWS_AS(writer.commit(), BugError);
  }
  CHECK(fs::is_empty(folder.path()));
}

}  // namespace
}  // namespace vernier
