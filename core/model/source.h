// The files of a model, whichever format they are in.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/model/decoder.h"
#include "core/text/tokenizer.h"
#include "core/weights/weights.h"

namespace vernier {

/// A Hugging Face folder (config.json, safetensors in one file or sharded with an index,
/// tokenizer.json) or a GGUF file. Weights stay mapped, so that all processes of a machine that
/// open a model share its pages, and are read by the names of a Hugging Face checkpoint.
class ModelSource {
 public:
  /// What is missing, damaged or not built is a UsageError that names the file.
  explicit ModelSource(const std::string& path);

  const std::string& path() const { return path_; }
  const ModelSpec& spec() const { return spec_; }
  Tokenizer tokenizer() const;

  /// Raises UsageError where a tensor is missing, has another shape than its slice, or is left
  /// over.
  void check(const std::vector<NamedSlice>& slices) const;

  /// How the file stores a slice.
  DType dtype(const NamedSlice& slice) const;

  /// Values of a slice as fp32, row-major, into `out`. Safe on several threads.
  void read(const NamedSlice& slice, float* out) const;

 private:
  struct Place {
    const SafetensorsFile* file;
    const TensorInfo* tensor;
  };

  void open_shards();
  void check_tied_head() const;
  void check_shards(const std::vector<NamedSlice>& slices) const;

  std::string path_;
  ModelSpec spec_;
  std::vector<std::unique_ptr<SafetensorsFile>> shards_;
  std::map<std::string, Place> places_;  // of the shards' tensors, by name
  std::unique_ptr<GgufFile> gguf_;       // in place of the shards
};

}  // namespace vernier
