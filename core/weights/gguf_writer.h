// Writes GGUF files, version 3.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/base/files.h"
#include "core/weights/weights.h"

namespace vernier {

/// Metadata in the order it is written. Integers from 0 to 2^32 - 1 become uint32, as llama.cpp
/// reads sizes; others int64. Reals become float32, lists of integers int32, lists of reals
/// float32.
using GgufMetadata = std::vector<std::pair<std::string, GgufFile::Value>>;

/// Writes a file tensor by tensor, so that the peak is one tensor, and durably: the file has its
/// name only once it is whole.
class GgufWriter {
 public:
  struct Planned {
    std::string name;
    std::vector<int64_t> shape;  // row-major, slowest dimension first
    DType dtype = DType::f32;    // f32, f16, bf16 or q8_0
  };

  /// Throws UsageError where a row does not fill whole blocks of its type.
  GgufWriter(const fs::path& path, const GgufMetadata& metadata, std::vector<Planned> plan);

  /// The next tensor of the plan, from fp32. Half types round to nearest even; Q8_0 is llama.cpp's:
  /// a scale of max|x| / 127 for 32 values, values to the nearest.
  void write(const float* values);

  /// Throws BugError where a tensor of the plan is missing.
  void commit();

 private:
  void pad(uint64_t to);

  std::string path_;
  DurableFile file_;
  std::vector<Planned> plan_;
  size_t next_ = 0;
  uint64_t written_ = 0;  // bytes of the data part
};

/// Blocks of Q8_0 of `numel` values, a multiple of 32. A block whose scale f16 does not reach is a
/// UsageError.
std::vector<std::byte> quantize_q8_0(const float* values, int64_t numel);

}  // namespace vernier
