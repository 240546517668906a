// A model as a user names it: weights and tokenizer, from a folder or a GGUF file.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>

#include "core/model/decoder.h"
#include "core/model/source.h"
#include "core/text/tokenizer.h"
#include "core/weights/weights.h"

namespace vernier {

struct Model {
  std::unique_ptr<Decoder> decoder;
  std::shared_ptr<const Tokenizer> tokenizer;  // shared with the engine and the rewards
};

struct LoadOptions {
  bool trained = false;  // makes room for gradients
  int64_t max_length =
      0;  // longest sequence that will be asked for; 0: what the model was made for
  at::Device device = at::kCPU;
  Reach reach = {};  // in place of the model's own, where it has a window
};

/// Sizes and tokenizer of a model: its files without the weights.
struct ModelHead {
  ModelSpec spec;
  std::shared_ptr<const Tokenizer> tokenizer;
};

/// Reads them and checks that names and shapes of the weights are those of the configuration.
ModelHead read_head(const ModelSource& source, int64_t max_length, const Reach& reach = {});
ModelHead read_head(const NewModel& config);

/// Opens a model and reads its weights. What does not fit is a UsageError that names it.
Model load_model(const ModelSource& source, const LoadOptions& options = {});
Model load_model(const std::string& path, const LoadOptions& options = {});

/// Reads the weights of some slices, wherever the decoder has them.
void read_weights(const ModelSource& source, Decoder& decoder, std::span<const NamedSlice> slices);

/// A model with random weights.
Model new_model(const NewModel& config, uint64_t seed, bool trained, at::Device device = at::kCPU);

/// How a slice is stored.
using SliceType = std::function<DType(const NamedSlice&)>;

/// How weights are stored.
struct SaveOptions {
  DType dtype = DType::f32;                      // f32, f16 or bf16
  SliceType dtype_of = {};                       // of each slice; empty: dtype
  int64_t shard_bytes = int64_t{5'000'000'000};  // of one file of several
};

/// Writes a folder that `transformers` and vLLM open as it is: config.json, weights, tokenizer and
/// generation files; those that came with the model are written as they came. Weights are in one
/// file, or in several with an index. Files are durable; the folder exists already.
void save_model(Decoder& decoder, const Tokenizer& tokenizer, const fs::path& folder,
                const SaveOptions& options = {});

/// Values of a slice, row-major, that stay until the next call.
using SliceValues = std::function<const float*(const NamedSlice&)>;

/// The same for weights that no decoder holds.
void save_weights(const ModelSpec& spec, const std::vector<NamedSlice>& slices,
                  const Tokenizer& tokenizer, const SliceValues& values, const fs::path& folder,
                  const SaveOptions& options);

/// Writes a GGUF file that llama.cpp opens, with the files of the model beside its own metadata, so
/// that it becomes the same folder again. Matrices are f32, f16, bf16 or q8_0, norms and biases
/// f32 whatever `dtype_of` says. What GGUF cannot say is a UsageError that names it.
void save_gguf(const ModelSpec& spec, const std::vector<NamedSlice>& slices,
               const Tokenizer& tokenizer, const SliceValues& values, const fs::path& path,
               const SliceType& dtype_of);

}  // namespace vernier
