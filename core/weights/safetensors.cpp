// Safetensors: eight bytes of header length, a JSON header, the data. Layout and rules:
// https://github.com/huggingface/safetensors, "Format".
#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <optional>

#include "core/base/errors.h"
#include "core/base/json.h"
#include "core/weights/dequantize.h"
#include "core/weights/sorted_json.h"
#include "core/weights/weights.h"

namespace vernier {
namespace {

constexpr uint64_t kMaxHeader = 100'000'000;
constexpr uint64_t kLengthBytes = 8;
constexpr const char* kMetadata = "__metadata__";

static_assert(std::endian::native == std::endian::little, "files are little-endian");

std::optional<DType> parse_dtype(const std::string& name) {
  for (const DType type : {DType::f32, DType::f16, DType::bf16, DType::u8})
    if (name == name_of(type)) return type;
  return std::nullopt;
}

// An integer from 0 to 2^63 - 1.
std::optional<uint64_t> count_of(const SortedJson& value) {
  if (!value.is_number_unsigned()) return std::nullopt;
  const auto number = value.get<uint64_t>();
  if (number > uint64_t{std::numeric_limits<int64_t>::max()}) return std::nullopt;
  return number;
}

// The JSON text of the header, its length and first byte checked.
std::string_view header_text(std::span<const std::byte> file, const std::string& path) {
  if (file.size() < kLengthBytes)
    fail(path, ": a file of ", file.size(), " bytes is too short for safetensors");
  uint64_t length = 0;
  std::memcpy(&length, file.data(), kLengthBytes);
  if (length > kMaxHeader)
    fail(path, ": a header of ", length, " bytes; up to ", kMaxHeader,
         " are allowed. Is this a safetensors file?");
  if (length > file.size() - kLengthBytes)
    fail(path, ": the header needs ", length, " bytes, and the file has ",
         file.size() - kLengthBytes, " after its length: it is cut short");
  const std::string_view text(reinterpret_cast<const char*>(file.data() + kLengthBytes), length);
  if (!text.starts_with('{')) fail(path, ": the header does not begin with '{'");
  return text;
}

void read_metadata(const SortedJson& value, const std::string& path,
                   std::map<std::string, std::string>& metadata) {
  if (!value.is_object()) fail(path, ": '", kMetadata, "' is not an object");
  for (const auto& [key, text] : value.items()) {
    if (!text.is_string()) fail(path, ": '", kMetadata, "' key '", key, "' is not a string");
    metadata.emplace(key, text.get<std::string>());
  }
}

// One entry of the header. The offset is still from the head of the data.
TensorInfo read_tensor(const std::string& name, const SortedJson& entry, const std::string& path,
                       bool with_bytes) {
  const auto refuse = [&](const auto&... parts) {
    fail(path, ": tensor '", name, "': ", parts...);
  };
  if (!entry.is_object()) refuse("its entry is not an object");
  for (const auto& [key, unused] : entry.items())
    if (key != "dtype" && key != "shape" && key != "data_offsets")
      refuse("unknown key '", key, "'");
  for (const char* key : {"dtype", "shape", "data_offsets"})
    if (!entry.contains(key)) refuse("'", key, "' is missing");

  TensorInfo tensor{.name = name, .shape = {}};
  const SortedJson& type = entry["dtype"];
  if (!type.is_string()) refuse("'dtype' is not a string");
  const auto dtype = parse_dtype(type.get_ref<const std::string&>());
  if (!dtype || (*dtype == DType::u8 && !with_bytes))
    refuse("dtype ", type.get_ref<const std::string&>(),
           " is not supported; F32, F16 and BF16 are");
  tensor.dtype = *dtype;

  if (!entry["shape"].is_array()) refuse("'shape' is not a list");
  auto bytes = static_cast<uint64_t>(block_size(tensor.dtype).bytes);
  int64_t numel = 1;
  for (const SortedJson& size : entry["shape"]) {
    const auto count = count_of(size);
    if (!count) refuse("'shape' holds a value that is not a size");
    if (__builtin_mul_overflow(numel, *count, &numel) ||
        __builtin_mul_overflow(bytes, *count, &bytes))
      refuse("its shape multiplies to more than 2^63 values");
    tensor.shape.push_back(static_cast<int64_t>(*count));
  }

  const SortedJson& offsets = entry["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2) refuse("'data_offsets' is not a list of two");
  const auto begin = count_of(offsets[0]);
  const auto end = count_of(offsets[1]);
  if (!begin || !end || *begin > *end) refuse("'data_offsets' is not a range of bytes");
  if (*end - *begin != bytes)
    refuse("its shape takes ", bytes, " bytes as ", name_of(tensor.dtype), ", its offsets hold ",
           *end - *begin);
  tensor.offset = *begin;
  tensor.bytes = bytes;
  return tensor;
}

// Puts tensors in order of their data, which they have to cover from the first byte to the last.
void place_tensors(std::vector<TensorInfo>& tensors, uint64_t data, uint64_t file_size,
                   const std::string& path) {
  // An empty tensor stands before the one that begins where it lies.
  std::stable_sort(tensors.begin(), tensors.end(), [](const TensorInfo& a, const TensorInfo& b) {
    return std::pair(a.offset, a.bytes) < std::pair(b.offset, b.bytes);
  });
  uint64_t next = 0;
  for (TensorInfo& tensor : tensors) {
    if (tensor.offset != next)
      fail(path, ": tensor '", tensor.name, "' begins at byte ", tensor.offset, " of the data, ",
           tensor.offset < next ? "inside another tensor, which ends at byte "
                                : "with a hole before it, which begins at byte ",
           next);
    next = tensor.offset + tensor.bytes;
    if (next > file_size - data)
      fail(path, ": tensor '", tensor.name, "' needs the file up to byte ", data + next,
           ", and the file has ", file_size, " bytes: it is cut short");
    tensor.offset += data;
  }
  if (next != file_size - data)
    fail(path, ": the last tensor ends at byte ", data + next, ", and the file has ", file_size,
         " bytes");
}

// The header for a plan, padded with spaces so that the data begin at a multiple of 8.
std::string make_header(const std::vector<SafetensorsWriter::Planned>& plan,
                        const std::map<std::string, std::string>& metadata) {
  // Built as text: objects of Json search their keys one by one.
  std::string header = "{";
  if (!metadata.empty()) header += cat('"', kMetadata, "\":", dump_json(Json(metadata)), ",");
  std::map<std::string, size_t> names;
  uint64_t offset = 0;
  for (const auto& [name, shape, dtype] : plan) {
    ensure(parse_dtype(name_of(dtype)).has_value(), "a plain type in a safetensors file");
    ensure(is_utf8(name) && name != kMetadata && names.emplace(name, names.size()).second,
           cat("one tensor named '", name, "' in a safetensors file"));
    auto bytes = static_cast<uint64_t>(block_size(dtype).bytes);
    // `safetensors` makes views of the data, which a misaligned tensor would break.
    ensure(offset % bytes == 0, cat("an aligned place for '", name, "'; wide types go first"));
    for (const int64_t size : shape) bytes *= static_cast<uint64_t>(size);
    header += cat(dump_json(Json(name)), ":", "{\"dtype\":\"", name_of(dtype),
                  "\",\"shape\":", dump_json(Json(shape)), ",\"data_offsets\":[", offset, ",",
                  offset + bytes, "]},");
    offset += bytes;
  }
  if (header.back() == ',') header.pop_back();
  header += '}';
  header.append((8 - header.size() % 8) % 8, ' ');
  return header;
}

}  // namespace

SafetensorsFile::SafetensorsFile(const fs::path& path, bool with_bytes)
    : file_(std::make_unique<MappedFile>(path)) {
  const std::string& name = file_->path();
  const std::string_view text = header_text(file_->bytes(), name);
  const SortedJson header = parse_sorted_json(text, cat(name, ": header"));
  for (const auto& [key, entry] : header.items()) {
    if (key == kMetadata)
      read_metadata(entry, name, metadata_);
    else
      tensors_.push_back(read_tensor(key, entry, name, with_bytes));
  }
  place_tensors(tensors_, kLengthBytes + text.size(), file_->bytes().size(), name);
  for (size_t i = 0; i < tensors_.size(); ++i) index_.emplace(tensors_[i].name, i);
}

const TensorInfo* SafetensorsFile::find(const std::string& name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

void SafetensorsFile::read(const TensorInfo& tensor, float* out) const {
  const auto bytes = file_->bytes();
  ensure(tensor.offset <= bytes.size() && tensor.bytes <= bytes.size() - tensor.offset,
         "a tensor of this file");
  dequantize(tensor.dtype, bytes.data() + tensor.offset, tensor.numel(), out);
}

void SafetensorsFile::read_bytes(const TensorInfo& tensor, void* out) const {
  read_bytes(tensor, 0, tensor.bytes, out);
}

void SafetensorsFile::read_bytes(const TensorInfo& tensor, uint64_t first, uint64_t bytes,
                                 void* out) const {
  const auto all = file_->bytes();
  ensure(tensor.offset <= all.size() && tensor.bytes <= all.size() - tensor.offset,
         "a tensor of this file");
  ensure(first <= tensor.bytes && bytes <= tensor.bytes - first, "bytes of this tensor");
  std::memcpy(out, all.data() + tensor.offset + first, bytes);
}

SafetensorsWriter::SafetensorsWriter(const fs::path& path, std::vector<Planned> plan,
                                     const std::map<std::string, std::string>& metadata)
    : path_(path.string()), file_(path), plan_(std::move(plan)) {
  const std::string header = make_header(plan_, metadata);
  const uint64_t length = header.size();
  file_.write(&length, sizeof length);
  file_.write(header);
}

void SafetensorsWriter::write(const float* values) {
  ensure(next_ < plan_.size(), "a tensor of the plan is left to write");
  const Planned& planned = plan_[next_++];
  const TensorInfo tensor{.name = planned.name, .shape = planned.shape};
  const auto numel = static_cast<size_t>(tensor.numel());
  if (planned.dtype == DType::f32) return file_.write(values, numel * sizeof(float));

  constexpr size_t kPiece = 1 << 16;
  std::vector<uint16_t> piece;
  for (size_t done = 0; done < numel; done += piece.size()) {
    piece.resize(std::min(kPiece, numel - done));
    placed(cat(path_, ": tensor '", planned.name, "'"), [&] {
      to_halves(values + done, static_cast<int64_t>(piece.size()), planned.dtype, piece.data());
    });
    file_.write(piece.data(), piece.size() * sizeof(uint16_t));
  }
}

void SafetensorsWriter::write(const uint8_t* values) {
  ensure(next_ < plan_.size() && plan_[next_].dtype == DType::u8, "bytes of the plan");
  const TensorInfo tensor{.name = {}, .shape = plan_[next_++].shape};
  file_.write(values, static_cast<size_t>(tensor.numel()));
}

void SafetensorsWriter::commit() {
  ensure(next_ == plan_.size(), "every tensor of the plan was written");
  file_.commit();
}

}  // namespace vernier
