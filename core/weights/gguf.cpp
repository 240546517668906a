// The GGUF parser. Nothing in the file is believed: every count, length and offset is held against
// the bytes that are there before it is used.
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <optional>

#include "core/base/errors.h"
#include "core/weights/dequantize.h"
#include "core/weights/weights.h"

namespace vernier {
namespace {

// Types of metadata values, by their number in the file.
enum class ValueType : uint32_t {
  u8,
  i8,
  u16,
  i16,
  u32,
  i32,
  f32,
  boolean,
  text,
  array,
  u64,
  i64,
  f64
};

constexpr uint64_t kMaxKey = 65535;
constexpr uint32_t kMaxDimensions = 4;
constexpr uint64_t kDefaultAlignment = 32;

// Names of tensor types by their number, "" where there is none. Those that are read here have an
// entry in tensor_type() too; the rest are for messages.
constexpr std::array<const char*, 40> kTypeNames = {
    "F32",     "F16",    "Q4_0",    "Q4_1",  "",       "",      "Q5_0",  "Q5_1",
    "Q8_0",    "Q8_1",   "Q2_K",    "Q3_K",  "Q4_K",   "Q5_K",  "Q6_K",  "Q8_K",
    "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS",
    "I8",      "I16",    "I32",     "I64",   "F64",    "IQ1_M", "BF16",  "",
    "",        "",       "TQ1_0",   "TQ2_0", "",       "",      "",      "MXFP4"};

std::optional<DType> tensor_type(uint32_t number) {
  switch (number) {
    case 0:
      return DType::f32;
    case 1:
      return DType::f16;
    case 2:
      return DType::q4_0;
    case 3:
      return DType::q4_1;
    case 6:
      return DType::q5_0;
    case 7:
      return DType::q5_1;
    case 8:
      return DType::q8_0;
    case 12:
      return DType::q4_k;
    case 13:
      return DType::q5_k;
    case 14:
      return DType::q6_k;
    case 30:
      return DType::bf16;
    default:
      return std::nullopt;
  }
}

// Least bytes that a value takes in the file; 0 for what is not a type.
uint64_t least_size(ValueType type) {
  switch (type) {
    case ValueType::u8:
    case ValueType::i8:
    case ValueType::boolean:
      return 1;
    case ValueType::u16:
    case ValueType::i16:
      return 2;
    case ValueType::u32:
    case ValueType::i32:
    case ValueType::f32:
      return 4;
    case ValueType::text:
    case ValueType::u64:
    case ValueType::i64:
    case ValueType::f64:
      return 8;
    case ValueType::array:
      return 12;
  }
  return 0;
}

// Reads from the head of the file to its end, never past it.
class Cursor {
 public:
  Cursor(std::span<const std::byte> bytes, const std::string& path) : bytes_(bytes), path_(path) {}

  /// Names what is being read, for messages.
  void enter(std::string where) { where_ = std::move(where); }

  template <class... Parts>
  [[noreturn]] void refuse(const Parts&... parts) const {
    fail(path_, ": ", where_, ": ", parts...);
  }

  uint64_t position() const { return position_; }
  uint64_t left() const { return bytes_.size() - position_; }

  template <class Number>
  Number number() {
    Number value;
    std::memcpy(&value, take(sizeof value), sizeof value);
    return value;
  }

  std::string text() {
    const auto length = number<uint64_t>();
    if (length > left())
      refuse("a text of ", length, " bytes begins at byte ", position_, ", and ", left(),
             " are left in the file");
    return std::string(reinterpret_cast<const char*>(take(length)), length);
  }

  /// A number of things of at least `size` bytes each.
  uint64_t count(uint64_t size, std::string_view things) {
    const auto value = number<uint64_t>();
    if (value > left() / size)
      refuse(value, " ", things, " of at least ", size, " bytes, and ", left(),
             " bytes are left in the file");
    return value;
  }

 private:
  const std::byte* take(uint64_t size) {
    if (size > left())
      refuse("the file ends here: ", size, " bytes needed at byte ", position_, ", ", left(),
             " found");
    const std::byte* at = bytes_.data() + position_;
    position_ += size;
    return at;
  }

  std::span<const std::byte> bytes_;
  const std::string& path_;
  std::string where_;
  uint64_t position_ = 0;
};

// One integer or truth value of any width.
int64_t read_integer(Cursor& in, ValueType type) {
  switch (type) {
    case ValueType::u8:
      return in.number<uint8_t>();
    case ValueType::i8:
      return in.number<int8_t>();
    case ValueType::u16:
      return in.number<uint16_t>();
    case ValueType::i16:
      return in.number<int16_t>();
    case ValueType::u32:
      return in.number<uint32_t>();
    case ValueType::i32:
      return in.number<int32_t>();
    case ValueType::i64:
      return in.number<int64_t>();
    case ValueType::boolean: {
      const auto value = in.number<uint8_t>();
      if (value > 1) in.refuse("a truth value of ", int{value}, "; 0 and 1 are allowed");
      return value;
    }
    default:
      break;
  }
  const auto value = in.number<uint64_t>();
  if (value > uint64_t{std::numeric_limits<int64_t>::max()})
    in.refuse("the integer ", value, " does not fit in 63 bits");
  return static_cast<int64_t>(value);
}

bool is_real(ValueType type) { return type == ValueType::f32 || type == ValueType::f64; }

double read_real(Cursor& in, ValueType type) {
  return type == ValueType::f32 ? double{in.number<float>()} : in.number<double>();
}

ValueType read_type(Cursor& in) {
  const auto type = in.number<uint32_t>();
  if (type > static_cast<uint32_t>(ValueType::f64)) in.refuse("unknown value type ", type);
  return static_cast<ValueType>(type);
}

GgufFile::Array read_array(Cursor& in) {
  const ValueType type = read_type(in);
  if (type == ValueType::array) in.refuse("arrays of arrays are not supported");
  const uint64_t count = in.count(least_size(type), "values");
  const auto fill = [&](auto values, const auto& read) {
    values.reserve(count);
    for (uint64_t i = 0; i < count; ++i) values.push_back(read());
    return values;
  };
  if (type == ValueType::text) return fill(std::vector<std::string>(), [&] { return in.text(); });
  if (is_real(type)) return fill(std::vector<double>(), [&] { return read_real(in, type); });
  return fill(std::vector<int64_t>(), [&] { return read_integer(in, type); });
}

GgufFile::Value read_value(Cursor& in) {
  const ValueType type = read_type(in);
  if (type == ValueType::array) return read_array(in);
  if (type == ValueType::text) return in.text();
  if (is_real(type)) return read_real(in, type);
  if (type == ValueType::boolean) return read_integer(in, type) != 0;
  return read_integer(in, type);
}

// Magic, version, and the counts of tensors and metadata.
struct Head {
  uint64_t num_tensors, num_keys;
};

Head read_head(Cursor& in) {
  in.enter("head of the file");
  const auto magic = in.number<std::array<char, 4>>();
  if (std::string_view(magic.data(), magic.size()) != "GGUF")
    in.refuse("is not a GGUF file: it does not begin with 'GGUF'");
  const auto version = in.number<uint32_t>();
  if (version != 0 && (version & 0xFFFF) == 0)
    in.refuse("is a big-endian GGUF file (version ", version >> 24,
              "); little-endian ones are read");
  if (version != 2 && version != 3)
    in.refuse("GGUF version ", version, " is not supported; 2 and 3 are");
  // Least sizes: a tensor is a name, a number of dimensions, a type and an offset; a piece of
  // metadata a name, a type and one byte.
  const uint64_t num_tensors = in.count(8 + 4 + 4 + 8, "tensors");
  return {num_tensors, in.count(8 + 4 + 1, "metadata keys")};
}

void read_metadata(Cursor& in, uint64_t count, std::map<std::string, GgufFile::Value>& metadata) {
  for (uint64_t i = 0; i < count; ++i) {
    in.enter(cat("metadata key ", i));
    const std::string key = in.text();
    if (key.empty() || key.size() > kMaxKey || !is_utf8(key))
      in.refuse("a key is 1 to ", kMaxKey, " bytes of UTF-8");
    in.enter(cat("metadata key '", key, "'"));
    if (metadata.contains(key)) in.refuse("stands twice");
    metadata.emplace(key, read_value(in));
  }
}

uint64_t read_alignment(Cursor& in, const std::map<std::string, GgufFile::Value>& metadata) {
  const auto found = metadata.find("general.alignment");
  if (found == metadata.end()) return kDefaultAlignment;
  in.enter("metadata key 'general.alignment'");
  const auto* value = std::get_if<int64_t>(&found->second);
  if (value == nullptr) in.refuse("is not an integer");
  if (*value < 1 || *value > int64_t{1} << 31 ||
      !std::has_single_bit(static_cast<uint64_t>(*value)))
    in.refuse(*value, " is not a power of two up to 2^31");
  return static_cast<uint64_t>(*value);
}

DType read_tensor_type(Cursor& in) {
  const auto number = in.number<uint32_t>();
  if (const auto type = tensor_type(number)) return *type;
  const std::string_view name = number < kTypeNames.size() ? kTypeNames[number] : "";
  in.refuse("values of type ", name.empty() ? "" : cat(name, ", "), "number ", number,
            ", are not supported; F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K and "
            "Q6_K are");
}

// Shape, type and sizes of one tensor; its offset is still from the head of the data.
TensorInfo read_tensor(Cursor& in, uint64_t index, uint64_t alignment) {
  TensorInfo tensor;
  in.enter(cat("tensor ", index));
  tensor.name = in.text();
  if (!is_utf8(tensor.name)) in.refuse("its name is not UTF-8");
  in.enter(cat("tensor '", tensor.name, "'"));
  const auto dimensions = in.number<uint32_t>();
  if (dimensions > kMaxDimensions)
    in.refuse(dimensions, " dimensions; up to ", kMaxDimensions, " are allowed");
  int64_t numel = 1;
  for (uint32_t i = 0; i < dimensions; ++i) {
    const auto size = in.number<uint64_t>();
    if (size == 0) in.refuse("dimension ", i, " is 0");
    if (__builtin_mul_overflow(numel, size, &numel))
      in.refuse("its dimensions multiply to more than 2^63 values");
    tensor.shape.insert(tensor.shape.begin(), static_cast<int64_t>(size));  // fastest comes first
  }
  tensor.dtype = read_tensor_type(in);
  const BlockSize block = block_size(tensor.dtype);
  const int64_t row = tensor.shape.empty() ? 1 : tensor.shape.back();
  if (row % block.values != 0)
    in.refuse("rows of ", row, " values are no multiple of the ", block.values, " of a ",
              name_of(tensor.dtype), " block");
  if (__builtin_mul_overflow(static_cast<uint64_t>(numel / block.values),
                             static_cast<uint64_t>(block.bytes), &tensor.bytes))
    in.refuse("takes more than 2^64 bytes");
  tensor.offset = in.number<uint64_t>();
  if (tensor.offset % alignment != 0)
    in.refuse("its offset ", tensor.offset, " is no multiple of the alignment ", alignment);
  return tensor;
}

// Makes offsets count from the head of the file, and holds every tensor against the file's size.
void place_tensors(Cursor& in, uint64_t file_size, uint64_t alignment,
                   std::vector<TensorInfo>& tensors) {
  const uint64_t data = (in.position() + alignment - 1) / alignment * alignment;
  for (TensorInfo& tensor : tensors) {
    in.enter(cat("tensor '", tensor.name, "'"));
    uint64_t end = 0;
    if (__builtin_add_overflow(tensor.offset, data, &tensor.offset) ||
        __builtin_add_overflow(tensor.offset, tensor.bytes, &end))
      in.refuse("its end is past 2^64 bytes");
    if (end > file_size)
      in.refuse("needs the file up to byte ", end, ", and the file has ", file_size,
                " bytes: it is cut short");
  }
}

void refuse_overlaps(Cursor& in, const std::vector<TensorInfo>& tensors) {
  std::vector<const TensorInfo*> order;
  for (const TensorInfo& tensor : tensors) order.push_back(&tensor);
  std::sort(order.begin(), order.end(),
            [](const TensorInfo* a, const TensorInfo* b) { return a->offset < b->offset; });
  for (size_t i = 1; i < order.size(); ++i) {
    in.enter(cat("tensor '", order[i]->name, "'"));
    if (order[i]->offset < order[i - 1]->offset + order[i - 1]->bytes)
      in.refuse("lies over tensor '", order[i - 1]->name, "'");
  }
}

const char* type_name(const GgufFile::Value& value) {
  static constexpr std::array<const char*, 4> kScalars = {"an integer", "a real number",
                                                          "a truth value", "a text"};
  static constexpr std::array<const char*, 3> kArrays = {
      "a list of integers", "a list of real numbers", "a list of texts"};
  if (const auto* array = std::get_if<GgufFile::Array>(&value)) return kArrays[array->index()];
  return kScalars[value.index()];
}

const GgufFile::Value& at(const GgufFile& file, const std::string& key) {
  const auto found = file.metadata().find(key);
  if (found == file.metadata().end()) fail(file.path(), ": metadata key '", key, "' is missing");
  return found->second;
}

template <class T>
const T& scalar(const GgufFile& file, const std::string& key, std::string_view wanted) {
  const GgufFile::Value& value = at(file, key);
  if (const T* typed = std::get_if<T>(&value)) return *typed;
  fail(file.path(), ": metadata key '", key, "' is ", type_name(value), "; ", wanted, " is needed");
}

template <class T>
const std::vector<T>& list(const GgufFile& file, const std::string& key, std::string_view wanted) {
  const GgufFile::Value& value = at(file, key);
  if (const auto* array = std::get_if<GgufFile::Array>(&value))
    if (const auto* typed = std::get_if<std::vector<T>>(array)) return *typed;
  fail(file.path(), ": metadata key '", key, "' is ", type_name(value), "; ", wanted, " is needed");
}

}  // namespace

GgufFile::GgufFile(const fs::path& path) : file_(std::make_unique<MappedFile>(path)) {
  static_assert(std::endian::native == std::endian::little, "files are little-endian");
  Cursor in(file_->bytes(), file_->path());
  const Head head = read_head(in);
  read_metadata(in, head.num_keys, metadata_);
  const uint64_t alignment = read_alignment(in, metadata_);
  for (uint64_t i = 0; i < head.num_tensors; ++i) {
    tensors_.push_back(read_tensor(in, i, alignment));
    if (!index_.emplace(tensors_.back().name, tensors_.size() - 1).second)
      in.refuse("stands twice");
  }
  place_tensors(in, file_->bytes().size(), alignment, tensors_);
  refuse_overlaps(in, tensors_);
}

const TensorInfo* GgufFile::find(const std::string& name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

int64_t GgufFile::integer(const std::string& key) const {
  return scalar<int64_t>(*this, key, "an integer");
}
double GgufFile::real(const std::string& key) const {
  return scalar<double>(*this, key, "a real number");
}
const std::string& GgufFile::text(const std::string& key) const {
  return scalar<std::string>(*this, key, "a text");
}
const std::vector<std::string>& GgufFile::texts(const std::string& key) const {
  return list<std::string>(*this, key, "a list of texts");
}
const std::vector<int64_t>& GgufFile::integers(const std::string& key) const {
  return list<int64_t>(*this, key, "a list of integers");
}

void GgufFile::read(const TensorInfo& tensor, float* out) const {
  const auto bytes = file_->bytes();
  ensure(tensor.offset <= bytes.size() && tensor.bytes <= bytes.size() - tensor.offset,
         "a tensor of this file");
  dequantize(tensor.dtype, bytes.data() + tensor.offset, tensor.numel(), out);
}

}  // namespace vernier
