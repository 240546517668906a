#include "core/weights/gguf_writer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/base/errors.h"
#include "core/weights/dequantize.h"

namespace vernier {
namespace {

constexpr uint64_t kAlignment = 32;
constexpr int64_t kBlock = 32;  // values of a Q8_0 block

// Numbers of types in the file, of values and of tensors.
enum ValueNumber : uint32_t {
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kText = 8,
  kArray = 9,
  kI64 = 11
};

uint32_t number_of(DType type) {
  switch (type) {
    case DType::f32:
      return 0;
    case DType::f16:
      return 1;
    case DType::q8_0:
      return 8;
    case DType::bf16:
      return 30;
    default:
      throw BugError(cat("GGUF is not written with values of type ", name_of(type)));
  }
}

// The head of a file, made in memory: it holds names and vocabularies, no weights.
class Header {
 public:
  template <class Number>
  void number(Number value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void text(const std::string& value) {
    number<uint64_t>(value.size());
    bytes_ += value;
  }
  void value(const std::string& key, const GgufFile::Value& value) {
    text(key);
    if (const auto* integer = std::get_if<int64_t>(&value)) return this->integer(*integer);
    if (const auto* list = std::get_if<GgufFile::Array>(&value)) return array(key, *list);
    if (const auto* real = std::get_if<double>(&value)) {
      number<uint32_t>(kF32);
      number(static_cast<float>(*real));
    } else if (const auto* truth = std::get_if<bool>(&value)) {
      number<uint32_t>(kBool);
      number<uint8_t>(*truth ? 1 : 0);
    } else {
      number<uint32_t>(kText);
      text(std::get<std::string>(value));
    }
  }
  std::string& bytes() { return bytes_; }

 private:
  void integer(int64_t value) {
    const bool small = value >= 0 && value <= std::numeric_limits<uint32_t>::max();
    number<uint32_t>(small ? kU32 : kI64);
    if (small)
      number(static_cast<uint32_t>(value));
    else
      number(value);
  }
  void array(const std::string& key, const GgufFile::Array& list) {
    number<uint32_t>(kArray);
    if (const auto* texts = std::get_if<std::vector<std::string>>(&list)) {
      number<uint32_t>(kText);
      number<uint64_t>(texts->size());
      for (const std::string& one : *texts) text(one);
    } else if (const auto* integers = std::get_if<std::vector<int64_t>>(&list)) {
      number<uint32_t>(kI32);
      number<uint64_t>(integers->size());
      for (const int64_t one : *integers) {
        ensure(one == static_cast<int32_t>(one), cat(key, " of 32-bit integers"));
        number(static_cast<int32_t>(one));
      }
    } else {
      const auto& reals = std::get<std::vector<double>>(list);
      number<uint32_t>(kF32);
      number<uint64_t>(reals.size());
      for (const double one : reals) number(static_cast<float>(one));
    }
  }

  std::string bytes_;
};

uint64_t bytes_of(const GgufWriter::Planned& planned) {
  const BlockSize block = block_size(planned.dtype);
  int64_t numel = 1;
  for (const int64_t size : planned.shape) numel *= size;
  return static_cast<uint64_t>(numel / block.values * block.bytes);
}

uint64_t aligned(uint64_t offset) { return (offset + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

std::vector<std::byte> quantize_q8_0(const float* values, int64_t numel) {
  std::vector<std::byte> out(static_cast<size_t>(numel / kBlock * (2 + kBlock)));
  std::byte* to = out.data();
  for (int64_t block = 0; block < numel; block += kBlock) {
    float largest = 0;
    for (int64_t i = 0; i < kBlock; ++i) largest = std::max(largest, std::abs(values[block + i]));
    const float scale = largest / 127, inverse = scale > 0 ? 1 / scale : 0;
    uint16_t stored = 0;
    to_halves(&scale, 1, DType::f16, &stored);
    std::memcpy(to, &stored, sizeof stored);
    for (int64_t i = 0; i < kBlock; ++i)
      to[2 + i] =
          static_cast<std::byte>(static_cast<int8_t>(std::lround(values[block + i] * inverse)));
    to += 2 + kBlock;
  }
  return out;
}

GgufWriter::GgufWriter(const fs::path& path, const GgufMetadata& metadata,
                       std::vector<Planned> plan)
    : path_(path.string()), file_(path), plan_(std::move(plan)) {
  Header header;
  header.bytes() = "GGUF";
  header.number<uint32_t>(3);
  header.number<uint64_t>(plan_.size());
  header.number<uint64_t>(metadata.size());
  for (const auto& [key, value] : metadata) header.value(key, value);
  uint64_t offset = 0;
  for (const Planned& planned : plan_) {
    const int64_t row = planned.shape.back(), unit = block_size(planned.dtype).values;
    if (row % unit != 0)
      fail(path.string(), ": tensor '", planned.name, "' has rows of ", row,
           " values, which are no multiple of the ", unit, " of a ", name_of(planned.dtype),
           " block; choose another type");
    header.text(planned.name);
    header.number(static_cast<uint32_t>(planned.shape.size()));
    for (auto size = planned.shape.rbegin(); size != planned.shape.rend(); ++size)
      header.number(static_cast<uint64_t>(*size));
    header.number(number_of(planned.dtype));
    header.number(offset);
    offset = aligned(offset + bytes_of(planned));
  }
  header.bytes().resize(aligned(header.bytes().size()), '\0');
  file_.write(header.bytes());
}

void GgufWriter::write(const float* values) {
  ensure(next_ < plan_.size(), "a tensor of the plan is left to write");
  const Planned& planned = plan_[next_++];
  const uint64_t bytes = bytes_of(planned);
  pad(aligned(written_));
  written_ += bytes;
  if (planned.dtype == DType::f32) return file_.write(values, bytes);
  constexpr int64_t kPiece = 1 << 16;
  const BlockSize block = block_size(planned.dtype);
  const auto numel = static_cast<int64_t>(bytes) / block.bytes * block.values;
  const std::string where = cat(path_, ": tensor '", planned.name, "'");
  std::vector<uint16_t> halves;
  for (int64_t done = 0; done < numel; done += kPiece) {
    const int64_t count = std::min(kPiece, numel - done);
    if (planned.dtype == DType::q8_0) {
      const auto blocks = placed(where, [&] { return quantize_q8_0(values + done, count); });
      file_.write(blocks.data(), blocks.size());
      continue;
    }
    halves.resize(static_cast<size_t>(count));
    placed(where, [&] { to_halves(values + done, count, planned.dtype, halves.data()); });
    file_.write(halves.data(), halves.size() * sizeof(uint16_t));
  }
}

void GgufWriter::pad(uint64_t to) {
  const std::string zeros(to - written_, '\0');
  file_.write(zeros);
  written_ = to;
}

void GgufWriter::commit() {
  ensure(next_ == plan_.size(), "every tensor of the plan was written");
  pad(aligned(written_));
  file_.commit();
}

}  // namespace vernier
