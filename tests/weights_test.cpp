// Weight files: what is read back, and what is refused. Files are made byte by byte.
#include "core/weights/weights.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <source_location>

#include "core/base/errors.h"
#include "core/base/json.h"
#include "core/weights/dequantize.h"
#include "core/weights/gguf_writer.h"
#include "tests/testing.h"

namespace vernier {
namespace {

const fs::path kCases =
    fs::path(std::source_location::current().file_name()).parent_path() / "cases";

using testing::TemporaryFolder;
using testing::usage_error;

// Little-endian bytes.
class Bytes {
 public:
  template <class Number>
  Bytes& put(Number value) {
    data_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  Bytes& u32(uint32_t value) { return put(value); }
  Bytes& u64(uint64_t value) { return put(value); }
  Bytes& text(std::string_view value) { return u64(value.size()).raw(value); }
  Bytes& raw(std::string_view value) {
    data_ += value;
    return *this;
  }
  Bytes& zeros(size_t count) {
    data_.append(count, '\0');
    return *this;
  }
  Bytes& align(size_t to) { return zeros((to - data_.size() % to) % to); }

  const std::string& data() const { return data_; }

 private:
  std::string data_;
};

Bytes gguf(uint64_t num_tensors, uint64_t num_keys, uint32_t version = 3) {
  return Bytes().raw("GGUF").u32(version).u64(num_tensors).u64(num_keys);
}

// A file of one key.
Bytes with_key(std::string_view key, uint32_t type) { return gguf(0, 1).text(key).u32(type); }

void put_tensor(Bytes& out, std::string_view name, const std::vector<uint64_t>& dimensions,
                uint32_t type, uint64_t offset) {
  out.text(name).u32(static_cast<uint32_t>(dimensions.size()));
  for (const uint64_t size : dimensions) out.u64(size);
  out.u32(type).u64(offset);
}

// A file of one tensor and `data` bytes of zeros behind its head.
Bytes with_tensor(const std::vector<uint64_t>& dimensions, uint32_t type, uint64_t offset = 0,
                  size_t data = 64, std::string_view name = "t") {
  Bytes out = gguf(1, 0);
  put_tensor(out, name, dimensions, type, offset);
  return out.align(32).zeros(data);
}

// Two keys of a kind, two tensors.
std::string sample_gguf(uint32_t version = 3) {
  Bytes out = gguf(2, 7, version);
  out.text("general.name").u32(8).text("small");
  out.text("a.count").u32(4).u32(7);
  out.text("a.ratio").u32(6).put(0.5f);
  out.text("a.flag").u32(7).put(uint8_t{1});
  out.text("a.names").u32(9).u32(8).u64(2).text("x").text("");
  out.text("a.ids").u32(9).u32(3).u64(3).put(int16_t{-1}).put(int16_t{0}).put(int16_t{2});
  out.text("general.alignment").u32(4).u32(16);
  put_tensor(out, "first", {2, 3}, 0, 0);
  put_tensor(out, "second", {32}, 8, 32);
  out.align(16);
  for (const float value : {1.f, 2.f, 3.f, 4.f, 5.f, 6.f}) out.put(value);
  out.zeros(8).put(uint16_t{0x4000});  // a scale of 2
  for (int i = 0; i < 32; ++i) out.put(static_cast<int8_t>(i - 16));
  return out.data();
}

std::string safetensors(std::string_view header, std::string_view data = "") {
  return Bytes().text(header).raw(data).data();
}

// Header of one F32 tensor of shape [2].
std::string one_entry(const std::string& key, const std::string& value) {
  std::string out = "{\"t\":{";
  for (const auto& [name, usual] : std::vector<std::pair<std::string, std::string>>{
           {"dtype", "\"F32\""}, {"shape", "[2]"}, {"data_offsets", "[0,8]"}})
    out += cat('"', name, "\":", name == key ? value : usual, ",");
  out.back() = '}';
  return out + "}";
}

template <class File>
std::string error_of(const fs::path& path, const std::string& content) {
  write_file(path, content);
  try {
    const File file(path);
    std::vector<float> values;
    for (const TensorInfo& tensor : file.tensors()) {
      values.resize(static_cast<size_t>(tensor.numel()));
      file.read(tensor, values.data());
    }
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

struct BadFile {
  std::string content, message;
};

template <class File>
void check_refused(const std::vector<BadFile>& files) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "bad.file";
  for (const BadFile& bad : files) {
    const std::string message = error_of<File>(path, bad.content);
    CAPTURE(message);
    CAPTURE(bad.message);
    CHECK(message.starts_with(path.string()));
    CHECK(message.find(bad.message) != std::string::npos);
  }
}

// Every file cut short, and every byte of it changed: a value or a UsageError, never anything else.
template <class File>
void check_damaged(const std::string& content) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "damaged.file";
  REQUIRE(error_of<File>(path, content) == "");
  for (size_t size = 0; size < content.size(); ++size) {
    CAPTURE(size);
    CHECK(error_of<File>(path, content.substr(0, size)) != "");
  }
  for (size_t i = 0; i < content.size(); ++i)
    for (const int change : {0x01, 0x80, 0xFF}) {
      std::string damaged = content;
      damaged[i] = static_cast<char>(damaged[i] ^ change);
      error_of<File>(path, damaged);
    }
}

template <class File>
std::vector<float> values_of(const File& file, const std::string& name) {
  const TensorInfo* tensor = file.find(name);
  REQUIRE(tensor != nullptr);
  std::vector<float> values(static_cast<size_t>(tensor->numel()));
  file.read(*tensor, values.data());
  return values;
}

TEST_CASE("a GGUF file of either version reads back") {
  const TemporaryFolder folder;
  for (const uint32_t version : {2u, 3u}) {
    write_file(folder.path() / "a.gguf", sample_gguf(version));
    const GgufFile file(folder.path() / "a.gguf");
    CHECK(file.text("general.name") == "small");
    CHECK(file.integer("a.count") == 7);
    CHECK(file.real("a.ratio") == 0.5);
    CHECK(std::get<bool>(file.metadata().at("a.flag")));
    CHECK(file.texts("a.names") == std::vector<std::string>{"x", ""});
    CHECK(file.integers("a.ids") == std::vector<int64_t>{-1, 0, 2});
    CHECK(!file.has("a.other"));
    CHECK(file.find("third") == nullptr);
    CHECK(file.find("first")->shape == std::vector<int64_t>{3, 2});
    CHECK(values_of(file, "first") == std::vector<float>{1, 2, 3, 4, 5, 6});
    CHECK(values_of(file, "second")[0] == -32);
    CHECK(values_of(file, "second")[31] == 30);

    CHECK_THROWS_WITH_AS(file.integer("a.other"), doctest::Contains("key 'a.other' is missing"),
                         UsageError);
    CHECK_THROWS_WITH_AS(file.integer("a.ratio"),
                         doctest::Contains("'a.ratio' is a real number; an integer is needed"),
                         UsageError);
    CHECK_THROWS_WITH_AS(file.texts("a.ids"),
                         doctest::Contains("is a list of integers; a list of texts is needed"),
                         UsageError);
    CHECK_THROWS_WITH_AS(file.integers("a.flag"), doctest::Contains("is a truth value"),
                         UsageError);
  }
}

TEST_CASE("hostile heads and metadata of GGUF files are refused by name") {
  const uint64_t huge = uint64_t{1} << 63;
  check_refused<GgufFile>({
      {"", "the file ends here: 4 bytes needed at byte 0, 0 found"},
      {"PK\3\4 and more", "does not begin with 'GGUF'"},
      {gguf(0, 0, 1).data(), "GGUF version 1 is not supported; 2 and 3 are"},
      {gguf(0, 0, 4).data(), "GGUF version 4 is not supported"},
      {gguf(0, 0, 0x03000000).data(), "big-endian GGUF file (version 3)"},
      {gguf(huge, 0).data(), "9223372036854775808 tensors of at least 24 bytes, and 8 bytes"},
      {gguf(0, 1).data(), "1 metadata keys of at least 13 bytes, and 0 bytes are left"},
      {with_key("", 4).zeros(8).data(), "metadata key 0: a key is 1 to 65535 bytes of UTF-8"},
      {with_key(std::string(65536, 'k'), 4).zeros(8).data(), "a key is 1 to 65535 bytes"},
      {with_key("\xFF", 4).zeros(8).data(), "a key is 1 to 65535 bytes of UTF-8"},
      {gguf(0, 1).u64(huge).zeros(8).data(), "metadata key 0: a text of 9223372036854775808 bytes"},
      {with_key("k", 13).zeros(8).data(), "metadata key 'k': unknown value type 13"},
      {with_key("k", 8).u64(9).raw("12345678").data(),
       "a text of 9 bytes begins at byte 45, and 8"},
      {with_key("k", 10).data(), "'k': the file ends here: 8 bytes needed at byte 37, 0 found"},
      {with_key("k", 7).put(uint8_t{2}).data(), "a truth value of 2"},
      {with_key("k", 10).u64(huge).data(), "the integer 9223372036854775808 does not fit"},
      {with_key("k", 9).u32(9).u64(0).data(), "'k': arrays of arrays are not supported"},
      {with_key("k", 9).u32(99).u64(0).data(), "unknown value type 99"},
      {with_key("k", 9).u32(0).u64(9).zeros(8).data(), "9 values of at least 1 bytes, and 8"},
      {with_key("k", 9).u32(8).u64(huge / 4).zeros(8).data(), "values of at least 8 bytes"},
      {with_key("k", 9).u32(12).u64(2).zeros(8).data(), "2 values of at least 8 bytes, and 8"},
      {gguf(0, 2).text("k").u32(4).u32(1).text("k").u32(4).u32(1).data(), "'k': stands twice"},
      {with_key("general.alignment", 4).u32(0).data(), "0 is not a power of two"},
      {with_key("general.alignment", 4).u32(24).data(), "24 is not a power of two"},
      {with_key("general.alignment", 8).text("32").data(), "is not an integer"},
  });
}

TEST_CASE("hostile tensors of GGUF files are refused by name") {
  Bytes twice = gguf(2, 0), overlap = gguf(2, 0);
  for (const uint64_t offset : {0, 32}) put_tensor(twice, "t", {8}, 0, offset);
  put_tensor(overlap, "late", {8}, 0, 32);
  put_tensor(overlap, "early", {9}, 0, 0);
  const uint64_t large = uint64_t{1} << 32;
  check_refused<GgufFile>({
      {twice.align(32).zeros(64).data(), "tensor 't': stands twice"},
      {overlap.align(32).zeros(64).data(), "tensor 'late': lies over tensor 'early'"},
      {with_tensor({1, 1, 1, 1, 1}, 0).data(), "tensor 't': 5 dimensions; up to 4 are allowed"},
      {with_tensor({4, 0}, 0).data(), "dimension 1 is 0"},
      {with_tensor({large, large}, 0).data(), "multiply to more than 2^63 values"},
      {with_tensor({~uint64_t{0}}, 0).data(), "multiply to more than 2^63 values"},
      {with_tensor({large, large / 4}, 0).data(), "takes more than 2^64 bytes"},
      {with_tensor({33}, 2).data(), "rows of 33 values are no multiple of the 32 of a Q4_0 block"},
      {with_tensor({16, 16}, 14).data(), "rows of 16 values are no multiple of the 256"},
      {with_tensor({256}, 10).data(), "values of type Q2_K, number 10, are not supported"},
      {with_tensor({256}, 16).data(), "values of type IQ2_XXS, number 16"},
      {with_tensor({8}, 4).data(), "values of type number 4, are not supported"},
      {with_tensor({8}, 0x7FFFFFFF).data(), "values of type number 2147483647"},
      {with_tensor({8}, 0, 8).data(), "its offset 8 is no multiple of the alignment 32"},
      {with_tensor({8}, 0, ~uint64_t{31}).data(), "its end is past 2^64 bytes"},
      {with_tensor({8}, 0, 64).data(), "needs the file up to byte 160, and the file has 128 bytes"},
      {with_tensor({17}, 0).data(), "tensor 't': needs the file up to byte 132"},
      {with_tensor({8}, 0, 0, 64, "\xC0").data(), "tensor 0: its name is not UTF-8"},
  });
}

TEST_CASE("a damaged GGUF file is read or refused") { check_damaged<GgufFile>(sample_gguf()); }

TEST_CASE("a GGUF file that is not there is a UsageError") {
  CHECK_THROWS_AS(GgufFile("/nonexistent/model.gguf"), UsageError);
  CHECK_THROWS_AS(SafetensorsFile("/nonexistent/model.safetensors"), UsageError);
}

TEST_CASE("hostile safetensors files are refused by name") {
  const std::string eight(8, '\0');
  const auto shape = [&](const std::string& text) {
    return safetensors(one_entry("shape", text), eight);
  };
  const auto range = [&](const std::string& text) {
    return safetensors(one_entry("data_offsets", text), eight);
  };
  const auto two = [&](const std::string& first, const std::string& second) {
    const std::string head = "{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":";
    return safetensors(cat("{\"a\":", head, first, "},\"b\":", head, second, "}}"), eight);
  };
  check_refused<SafetensorsFile>({
      {"1234567", "a file of 7 bytes is too short"},
      {Bytes().u64(100'000'001).data(), "a header of 100000001 bytes; up to 100000000"},
      {Bytes().u64(3).raw("{}").data(), "the header needs 3 bytes, and the file has 2"},
      {safetensors(" {}"), "does not begin with '{'"},
      {safetensors(""), "does not begin with '{'"},
      {safetensors("{"), "header: not JSON"},
      {safetensors("{} x"), "header: not JSON"},
      {safetensors(std::string("{}\0{", 4)), "byte 2 is 0"},
      {safetensors("{\"\xFF\":1}"), "header: not JSON"},
      {safetensors("{\"t\":{},\"t\":{}}"), "key 't' stands twice"},
      {safetensors("{\"t\":" + std::string(70, '[') + std::string(70, ']') + "}"), "nested deeper"},
      {safetensors("{\"__metadata__\":[]}"), "'__metadata__' is not an object"},
      {safetensors("{\"__metadata__\":{\"a\":1}}"), "'__metadata__' key 'a' is not a string"},
      {safetensors("{\"t\":[]}"), "tensor 't': its entry is not an object"},
      {safetensors("{\"t\":{\"strides\":1}}"), "unknown key 'strides'"},
      {safetensors("{\"t\":{\"dtype\":\"F32\"}}"), "'shape' is missing"},
      {safetensors(one_entry("dtype", "\"I64\""), eight), "dtype I64 is not supported"},
      {safetensors(one_entry("dtype", "1"), eight), "'dtype' is not a string"},
      {shape("2"), "'shape' is not a list"},
      {shape("[-2]"), "'shape' holds a value that is not a size"},
      {shape("[2.0]"), "'shape' holds a value that is not a size"},
      {shape("[4294967296,4294967296]"), "multiplies to more than 2^63 values"},
      {shape("[9223372036854775807]"), "multiplies to more than 2^63 values"},
      {shape("[3]"), "its shape takes 12 bytes as F32, its offsets hold 8"},
      {range("[0]"), "'data_offsets' is not a list of two"},
      {range("[8,0]"), "'data_offsets' is not a range of bytes"},
      {range("[0,-8]"), "'data_offsets' is not a range of bytes"},
      {range("[8,16]"), "begins at byte 8 of the data, with a hole before it"},
      {two("[0,4]", "[0,4]"), "tensor 'b' begins at byte 0 of the data, inside another tensor"},
      {two("[4,8]", "[2,6]"), "tensor 'b' begins at byte 2 of the data, with a hole before it"},
      {safetensors(one_entry("", ""), eight + "x"),
       "the last tensor ends at byte 70, and the file has 71"},
      {safetensors(one_entry("", ""), "1234567"),
       "needs the file up to byte 70, and the file has 69"},
      {safetensors("{}", "x"), "the last tensor ends at byte 10, and the file has 11"},
  });
}

TEST_CASE("a safetensors file round-trips, and is refused when damaged") {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "a.safetensors";
  const std::vector<float> values = {0.f, -1.5f, 3.14159f, 65504.f, -2e-8f, 65519.f};
  SafetensorsWriter writer(path,
                           {{"wide \"é\"", {2, 3}, DType::f32},
                            {"scalar", {}, DType::f32},
                            {"half", {6}, DType::f16},
                            {"none", {0, 7}, DType::bf16},
                            {"brain", {3, 2}, DType::bf16}},
                           {{"format", "pt"}, {"note", "\n"}});
  for (int i = 0; i < 5; ++i) writer.write(values.data());
  CHECK(!fs::exists(path));
  writer.commit();

  const SafetensorsFile file(path);
  CHECK(file.metadata() == std::map<std::string, std::string>{{"format", "pt"}, {"note", "\n"}});
  CHECK(values_of(file, "wide \"é\"") == values);
  CHECK(file.find("wide \"é\"")->shape == std::vector<int64_t>{2, 3});
  CHECK(file.tensors()[0].offset % 8 == 0);
  CHECK(values_of(file, "scalar") == std::vector<float>{0.f});
  CHECK(values_of(file, "none").empty());
  const std::vector<float> half = values_of(file, "half"), brain = values_of(file, "brain");
  for (size_t i = 0; i < values.size(); ++i) {
    CHECK(half[i] == from_f16(to_f16(values[i])));
    CHECK(brain[i] == from_bf16(to_bf16(values[i])));
  }
  check_damaged<SafetensorsFile>(read_file(path));
}

TEST_CASE("a finite number that a type does not reach is not written as infinity") {
  const TemporaryFolder folder;
  const auto problem_of = [&](DType type, float value) {
    const std::vector<float> values(32, value);
    return usage_error([&] {
      if (type == DType::q8_0)
        GgufWriter(folder.path() / "a.gguf", {}, {{"odd", {32}, type}}).write(values.data());
      else
        SafetensorsWriter(folder.path() / "a", {{"odd", {32}, type}}, {}).write(values.data());
    });
  };
  CHECK(problem_of(DType::f16, 65520.f).find("tensor 'odd': the value 65520 is beyond what F16") !=
        std::string::npos);
  CHECK(problem_of(DType::bf16, 3.4e38f).find("is beyond what BF16 holds") != std::string::npos);
  CHECK(problem_of(DType::q8_0, 8.4e6f).find("tensor 'odd': the value 66141") != std::string::npos);
  CHECK(problem_of(DType::f16, std::numeric_limits<float>::infinity()).empty());
  CHECK(problem_of(DType::q8_0, 8.3e6f).empty());
  CHECK(fs::is_empty(folder.path()));
}

TEST_CASE("a plan for a safetensors file is kept") {
  const TemporaryFolder folder;
  const auto plan = [&](std::vector<SafetensorsWriter::Planned> tensors) {
    return SafetensorsWriter(folder.path() / "b.safetensors", std::move(tensors), {});
  };
  SafetensorsWriter writer =
      SafetensorsWriter(folder.path() / "c.safetensors", {{"a", {1}}, {"b", {1}}}, {});
  const float value = 1;
  writer.write(&value);
  CHECK_THROWS_AS(writer.commit(), BugError);
  writer.write(&value);
  CHECK_THROWS_AS(writer.write(&value), BugError);
  writer.commit();
  CHECK_THROWS_AS(plan({{"a", {1}}, {"a", {1}}}), BugError);
  CHECK_THROWS_AS(plan({{"__metadata__", {1}}}), BugError);
  CHECK_THROWS_AS(plan({{"a", {32}, DType::q4_0}}), BugError);
  CHECK_THROWS_AS(plan({{"a", {1}, DType::bf16}, {"b", {1}, DType::f32}}), BugError);
  CHECK(!fs::exists(folder.path() / "b.safetensors"));
}

TEST_CASE("every half reads back, and ties round to even") {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    for (const bool brain : {false, true}) {
      const auto from = brain ? from_bf16 : from_f16;
      const auto to = brain ? to_bf16 : to_f16;
      const float value = from(half);
      if (std::isnan(value)) {
        REQUIRE(std::isnan(from(to(value))));
        REQUIRE(std::signbit(from(to(value))) == std::signbit(value));
        continue;
      }
      REQUIRE(to(value) == half);
      const float next = from(static_cast<uint16_t>(half + 1));  // the neighbour further from zero
      if (!std::isfinite(value) || !std::isfinite(next)) continue;
      const auto middle = static_cast<float>((double{value} + double{next}) / 2);  // exact
      const uint16_t even = bits % 2 == 0 ? half : static_cast<uint16_t>(half + 1);
      REQUIRE(to(middle) == even);
      REQUIRE(to(std::nextafter(middle, value)) == half);
      REQUIRE(to(std::nextafter(middle, next)) == half + 1);
    }
  }
}

TEST_CASE("rows of halves widen like single ones, bit for bit") {
  std::vector<uint16_t> halves;
  for (uint32_t bits = 0; bits < 0x10000; ++bits) halves.push_back(static_cast<uint16_t>(bits));
  for (const DType type : {DType::f16, DType::bf16}) {
    std::vector<float> found(halves.size());
    dequantize(type, reinterpret_cast<const std::byte*>(halves.data()), 0x10000, found.data());
    for (size_t i = 0; i < halves.size(); ++i) {
      const float want = type == DType::f16 ? from_f16(halves[i]) : from_bf16(halves[i]);
      REQUIRE(std::bit_cast<uint32_t>(found[i]) == std::bit_cast<uint32_t>(want));
    }
  }
}

TEST_CASE("halves at the edges of their range") {
  const float infinity = std::numeric_limits<float>::infinity();
  CHECK(from_f16(0x3C00) == 1.f);
  CHECK(from_f16(0x0001) == 0x1p-24f);
  CHECK(from_f16(0x03FF) == 0x1.ff8p-15f);
  CHECK(from_f16(0xFC00) == -infinity);
  CHECK(to_f16(65519.996f) == 0x7BFF);
  CHECK(to_f16(65520.f) == 0x7C00);
  CHECK(to_f16(-1e30f) == 0xFC00);
  CHECK(to_f16(0x1p-25f) == 0);
  CHECK(to_f16(-0x1.000002p-25f) == 0x8001);
  CHECK(to_f16(1e-40f) == 0);
  CHECK(to_f16(-0.f) == 0x8000);
  CHECK(to_bf16(std::numeric_limits<float>::max()) == 0x7F80);
  CHECK(to_bf16(-infinity) == 0xFF80);
  CHECK(to_bf16(std::bit_cast<float>(0x7F800001)) == 0x7FC0);  // a NaN in the bits that are dropped
  CHECK(to_f16(std::bit_cast<float>(0xFF800001)) == 0xFE00);
}

// ---------------------------------------------------------------- quantised blocks

using Block = std::vector<uint8_t>;

// `count` bits at `shift` of a byte.
int bits(const Block& block, size_t byte, size_t shift, int count) {
  return (block[byte] >> shift) & ((1 << count) - 1);
}

Block random_block(size_t size, uint32_t seed) {
  Block block(size);
  for (uint8_t& byte : block)
    byte = static_cast<uint8_t>((seed = seed * 1664525 + 1013904223) >> 24);
  return block;
}

void put_half(Block& block, size_t at, float value) {
  const uint16_t half = to_f16(value);
  std::memcpy(block.data() + at, &half, sizeof half);
}

// Eight scales and minima of six bits into the twelve bytes at `at`.
void put_scales(Block& block, size_t at, const Block& scales, const Block& mins) {
  const auto byte = [&](size_t i) -> uint8_t& { return block[at + i]; };
  for (size_t j = 0; j < 4; ++j) {
    byte(j) = static_cast<uint8_t>(scales[j] | (scales[j + 4] >> 4 << 6));
    byte(j + 4) = static_cast<uint8_t>(mins[j] | (mins[j + 4] >> 4 << 6));
    byte(j + 8) = static_cast<uint8_t>((scales[j + 4] & 15) | ((mins[j + 4] & 15) << 4));
  }
}

// Holds a block to `formula`, a double for each place in it.
void check_block(DType type, const Block& block, const std::function<double(size_t)>& formula) {
  CAPTURE(name_of(type));
  const BlockSize size = block_size(type);
  REQUIRE(block.size() == static_cast<size_t>(size.bytes));
  std::vector<std::byte> two(block.size() * 2);  // the second block starts where the first ends
  std::memcpy(two.data() + block.size(), block.data(), block.size());
  std::vector<float> values(static_cast<size_t>(size.values) * 2);
  dequantize(type, two.data(), size.values * 2, values.data());
  for (size_t i = 0; i < static_cast<size_t>(size.values); ++i) {
    CAPTURE(i);
    CHECK(values[static_cast<size_t>(size.values) + i] == static_cast<float>(formula(i)));
  }
}

TEST_CASE("blocks of 32 values follow their formulas") {
  for (const uint32_t seed : {1u, 2u, 3u}) {
    Block block = random_block(18, seed);
    put_half(block, 0, -0.375f);
    const auto nibble = [&](size_t i, size_t base) {
      return bits(block, base + i % 16, i / 16 * 4, 4);
    };
    const auto fifth = [&](size_t i, size_t base) {
      return bits(block, base + i / 8, i % 8, 1) * 16;
    };
    check_block(DType::q4_0, block, [&](size_t i) { return -0.375 * (nibble(i, 2) - 8); });

    block = random_block(20, seed);
    put_half(block, 0, 0.25f);
    put_half(block, 2, -3.5f);
    check_block(DType::q4_1, block, [&](size_t i) { return 0.25 * nibble(i, 4) - 3.5; });

    block = random_block(22, seed);
    put_half(block, 0, 2.f);
    check_block(DType::q5_0, block,
                [&](size_t i) { return 2. * (nibble(i, 6) + fifth(i, 2) - 16); });

    block = random_block(24, seed);
    put_half(block, 0, 0.125f);
    put_half(block, 2, 7.f);
    check_block(DType::q5_1, block,
                [&](size_t i) { return 0.125 * (nibble(i, 8) + fifth(i, 4)) + 7; });

    block = random_block(34, seed);
    put_half(block, 0, 1.5f);
    check_block(DType::q8_0, block, [&](size_t i) {
      const int byte = block[2 + i];
      return 1.5 * (byte < 128 ? byte : byte - 256);
    });
  }
}

TEST_CASE("blocks of 256 values follow their formulas") {
  const Block scales = {1, 63, 32, 17, 40, 0, 62, 21}, mins = {0, 5, 63, 33, 1, 48, 16, 59};
  for (const uint32_t seed : {1u, 2u, 3u}) {
    Block block = random_block(144, seed);
    put_half(block, 0, 0.5f);
    put_half(block, 2, 0.25f);
    put_scales(block, 4, scales, mins);
    const auto nibble = [&](size_t i, size_t base) {
      return bits(block, base + i / 64 * 32 + i % 32, i / 32 % 2 * 4, 4);
    };
    check_block(DType::q4_k, block, [&](size_t i) {
      return 0.5 * scales[i / 32] * nibble(i, 16) - 0.25 * mins[i / 32];
    });

    block = random_block(176, seed);
    put_half(block, 0, -0.75f);
    put_half(block, 2, 0.0625f);
    put_scales(block, 4, scales, mins);
    check_block(DType::q5_k, block, [&](size_t i) {
      const int q = nibble(i, 48) + 16 * bits(block, 16 + i % 32, i / 32, 1);
      return -0.75 * scales[i / 32] * q - 0.0625 * mins[i / 32];
    });

    block = random_block(210, seed);
    put_half(block, 208, 0.03125f);
    check_block(DType::q6_k, block, [&](size_t i) {
      const int low = bits(block, i / 128 * 64 + i % 64, i % 128 / 64 * 4, 4);
      const int high = bits(block, 128 + i / 128 * 32 + i % 32, i % 128 / 32 * 2, 2);
      const auto scale = static_cast<int8_t>(block[192 + i / 16]);
      return 0.03125 * scale * (low + 16 * high - 32);
    });
  }
}

TEST_CASE("random blocks give what the gguf package gives") {
  const fs::path path = kCases / "weights" / "dequantize.json";
  const Json golden = parse_json(read_file(path), path.string());
  for (const Json& item : golden["cases"]) {
    const std::string name = item["type"], hex = item["bytes"];
    CAPTURE(name);
    std::vector<std::byte> in;
    for (size_t i = 0; i < hex.size(); i += 2)
      in.push_back(static_cast<std::byte>(std::stoi(hex.substr(i, 2), nullptr, 16)));
    const auto want = item["values"].get<std::vector<float>>();
    std::vector<float> values(want.size());
    bool known = false;
    for (int type = 0; type <= static_cast<int>(DType::q6_k); ++type)
      if (name == name_of(static_cast<DType>(type))) {
        known = true;
        dequantize(static_cast<DType>(type), in.data(), static_cast<int64_t>(want.size()),
                   values.data());
      }
    REQUIRE(known);
    CHECK(values == want);
  }
}

}  // namespace
}  // namespace vernier
