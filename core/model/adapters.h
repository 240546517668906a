// LoRA: low-rank adapters that are trained in place of a decoder's matrices.
//
// Edward J. Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", arXiv:2106.09685. The
// decoder computes with the merged weights W0 + scale B A; W0 is kept beside them, in bf16 where
// that is exact. Names, files and the first values are those of PEFT (huggingface/peft,
// lora/layer.py).
#pragma once

#include <deque>
#include <map>
#include <string>
#include <vector>

#include "core/base/config.h"
#include "core/base/files.h"
#include "core/model/decoder.h"

namespace vernier {

/// [trainer.lora].
struct LoraConfig {
  int64_t rank = 16;
  double alpha = 32;
  std::vector<std::string> targets = modules();
  bool rank_stabilized = false;

  /// What B A is multiplied by: alpha / rank, or alpha / sqrt(rank) (arXiv:2312.03732).
  double scale() const;
  void bind(Binder& config);

  /// The matrices of a layer by PEFT's names: its "all-linear".
  static const std::vector<std::string>& modules();
};

/// A or B of one matrix, under PEFT's name.
struct AdapterTensor {
  std::string name;        // "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
  at::Tensor value, grad;  // [rank, in] or [out, rank]
};

/// The adapters of a decoder, in one flat buffer as its weights are.
class Adapters {
 public:
  /// For every matrix of `decoder` that is a target: A uniform in +-1/sqrt(in), B zero, so that the
  /// decoder computes as before. What it holds now is W0; `base` is where that came from.
  /// UsageError where a matrix has no such rank.
  Adapters(Decoder& decoder, const LoraConfig& config, std::string base, uint64_t seed);
  Adapters(const Adapters&) = delete;
  Adapters& operator=(const Adapters&) = delete;

  at::Tensor& values() { return values_; }
  at::Tensor& gradients() { return gradients_; }
  const std::vector<AdapterTensor>& tensors() const { return tensors_; }
  int64_t num_parameters() const;
  /// Of the fixed weights, which the merged ones lie beside.
  int64_t base_bytes() const;

  /// Puts the merged weights into the decoder's matrices, or those without adapters.
  void merge();
  void restore_base();

  /// Writes adapter_config.json and adapter_model.safetensors, which PEFT opens over `base`; the
  /// folder exists already.
  void save(const fs::path& folder) const;
  /// Writes the gradient, fp32, under the names of the tensors' file.
  void save_gradient(const fs::path& path) const;
  /// Reads what save() wrote; merge() comes next. UsageError where it has other sizes or settings,
  /// or was trained over other weights.
  void load(const fs::path& folder);

 private:
  struct Matrix {
    size_t parameter = 0;
    std::vector<const NamedSlice*> slices;  // a part each
    kernels::MatrixAdapter<float> adapter;
    std::vector<kernels::FixedNumbers> base;  // of the parts
  };

  void write(const fs::path& path, at::Tensor AdapterTensor::*which,
             const std::map<std::string, std::string>& metadata) const;
  void find_matrices();
  void allocate();
  void initialize(uint64_t seed);
  void add_tensor(const NamedSlice& slice, const char* kind, std::vector<int64_t> shape,
                  int64_t offset);
  template <class Body>
  void rewrite(const Body& body);

  Decoder& decoder_;
  LoraConfig config_;
  std::string base_name_, base_hash_;
  std::deque<Matrix> matrices_;  // whose adapters the decoder's parameters point to
  at::Tensor values_, gradients_;
  std::vector<AdapterTensor> tensors_;
  kernels::AdapterScratch scratch_;
};

/// While it lives, a decoder with adapters computes without them.
class WithoutAdapters {
 public:
  explicit WithoutAdapters(Decoder& decoder) : decoder_(decoder) { decoder_.use_adapters(false); }
  ~WithoutAdapters() { decoder_.use_adapters(true); }
  WithoutAdapters(const WithoutAdapters&) = delete;
  WithoutAdapters& operator=(const WithoutAdapters&) = delete;

 private:
  Decoder& decoder_;
};

}  // namespace vernier
