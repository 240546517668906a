// Weight files: what is in them, and its values as fp32. No tensor library here.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "core/base/files.h"

namespace vernier {

enum class DType { f32, f16, bf16, q4_0, q4_1, q5_0, q5_1, q8_0, q4_k, q5_k, q6_k, u8 };

const char* name_of(DType type);

/// One tensor of a file. `shape` is row-major, slowest dimension first, in both formats.
struct TensorInfo {
  std::string name;
  std::vector<int64_t> shape;
  DType dtype = DType::f32;
  uint64_t offset = 0;  // from the head of the file
  uint64_t bytes = 0;

  int64_t numel() const;
};

/// A GGUF file, version 2 or 3, little-endian. Everything is checked against the size of the file
/// before it is used; whatever does not hold is a UsageError that names the file and the field.
class GgufFile {
 public:
  using Array = std::variant<std::vector<int64_t>, std::vector<double>, std::vector<std::string>>;
  using Value = std::variant<int64_t, double, bool, std::string, Array>;

  explicit GgufFile(const fs::path& path);

  const std::string& path() const { return file_->path(); }
  const std::map<std::string, Value>& metadata() const { return metadata_; }
  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  const TensorInfo* find(const std::string& name) const;

  /// Metadata by key. A missing key or another type is a UsageError that names both.
  int64_t integer(const std::string& key) const;
  double real(const std::string& key) const;
  const std::string& text(const std::string& key) const;
  const std::vector<std::string>& texts(const std::string& key) const;
  const std::vector<int64_t>& integers(const std::string& key) const;
  bool has(const std::string& key) const { return metadata_.contains(key); }

  /// Dequantises a tensor into `out`, numel() values.
  void read(const TensorInfo& tensor, float* out) const;

 private:
  std::unique_ptr<MappedFile> file_;
  std::map<std::string, Value> metadata_;
  std::vector<TensorInfo> tensors_;
  std::map<std::string, size_t> index_;  // into tensors_, by name
};

/// A safetensors file: F32, F16, BF16. The header is checked in full: strict JSON object, offsets
/// that cover the data without hole or overlap, sizes that fit shapes, no duplicate name.
class SafetensorsFile {
 public:
  /// `with_bytes`: U8 is allowed too, which no weight is stored as.
  explicit SafetensorsFile(const fs::path& path, bool with_bytes = false);

  const std::string& path() const { return file_->path(); }
  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  const TensorInfo* find(const std::string& name) const;
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

  /// Converts a tensor to fp32 into `out`, numel() values.
  void read(const TensorInfo& tensor, float* out) const;
  /// Copies a tensor as it is stored, TensorInfo::bytes of it, or `bytes` of those from `first` on.
  void read_bytes(const TensorInfo& tensor, void* out) const;
  void read_bytes(const TensorInfo& tensor, uint64_t first, uint64_t bytes, void* out) const;

 private:
  std::unique_ptr<MappedFile> file_;
  std::map<std::string, std::string> metadata_;
  std::vector<TensorInfo> tensors_;
  std::map<std::string, size_t> index_;  // into tensors_, by name
};

/// Writes a safetensors file tensor by tensor, so that the peak is one tensor, and durably: the
/// file has its name only once it is whole.
class SafetensorsWriter {
 public:
  struct Planned {
    std::string name;
    std::vector<int64_t> shape;
    DType dtype = DType::f32;  // f32, f16, bf16 or u8
  };

  SafetensorsWriter(const fs::path& path, std::vector<Planned> plan,
                    const std::map<std::string, std::string>& metadata);

  /// The next tensor of the plan, from fp32 (rounded to nearest even where the type is narrower). A
  /// value that the type does not reach is a UsageError that names the tensor.
  void write(const float* values);
  /// The next tensor, which is u8.
  void write(const uint8_t* values);

  /// Throws BugError where a tensor of the plan is missing.
  void commit();

 private:
  std::string path_;
  DurableFile file_;
  std::vector<Planned> plan_;
  size_t next_ = 0;
};

/// fp32 from and to the two half types; to rounds to nearest even.
float from_f16(uint16_t bits);
float from_bf16(uint16_t bits);
uint16_t to_f16(float value);
uint16_t to_bf16(float value);

/// `count` values as f16 or bf16. A finite number that the type does not reach (65520 and more in
/// f16) is a UsageError that shows it.
void to_halves(const float* values, int64_t count, DType type, uint16_t* out);

}  // namespace vernier
