#include "core/model/model.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "core/base/errors.h"
#include "core/base/json.h"
#include "core/kernels/kernels.h"
#include "core/model/family.h"
#include "core/model/gguf_model.h"
#include "core/weights/weights.h"

namespace vernier {
namespace {

constexpr const char* kWeights = "model.safetensors";
constexpr const char* kWeightsIndex = "model.safetensors.index.json";
constexpr const char* kGenerationConfig = "generation_config.json";

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string out = "[";
  for (const int64_t size : shape) out += cat(out.size() > 1 ? ", " : "", size);
  return out + "]";
}

// The files of a folder: one, or the shards that the index names.
std::vector<fs::path> weight_files(const fs::path& folder) {
  if (fs::exists(folder / kWeights)) return {folder / kWeights};
  const fs::path index_path = folder / kWeightsIndex;
  if (!fs::exists(index_path))
    fail(folder.string(), ": neither ", kWeights, " nor ", kWeightsIndex, " is here");
  const Json index = parse_json(read_file(index_path), index_path.string());
  if (!index.contains("weight_map") || !index["weight_map"].is_object())
    fail(index_path.string(), ": weight_map: is missing or not an object");
  std::set<std::string> names;
  for (const auto& [tensor, file] : index["weight_map"].items()) {
    if (!file.is_string() ||
        fs::path(file.get<std::string>()).filename() != file.get<std::string>())
      fail(index_path.string(), ": weight_map.", tensor, ": ", dump_json(file),
           " is not the name of a file in this folder");
    names.insert(file.get<std::string>());
  }
  std::vector<fs::path> files;
  for (const std::string& name : names) files.push_back(folder / name);
  return files;
}

void load_safetensors(const fs::path& folder, Decoder& decoder) {
  std::set<std::string> missing;
  for (const NamedSlice& slice : decoder.slices()) missing.insert(slice.name);
  for (const fs::path& path : weight_files(folder)) {
    const SafetensorsFile file(path);
    for (const TensorInfo& tensor : file.tensors()) {
      const auto slice = std::find_if(decoder.slices().begin(), decoder.slices().end(),
                                      [&](const NamedSlice& s) { return s.name == tensor.name; });
      // A tied head may be stored a second time, and old checkpoints carry their RoPE table.
      const bool known_extra =
          (tensor.name == "lm_head.weight" && decoder.spec().tie_word_embeddings) ||
          tensor.name.ends_with("rotary_emb.inv_freq");
      if (slice == decoder.slices().end()) {
        if (known_extra) continue;
        fail(file.path(), ": tensor '", tensor.name, "' is not part of this architecture");
      }
      check_shape(file.path(), tensor, *slice);
      if (missing.erase(tensor.name) == 0)
        fail(file.path(), ": tensor '", tensor.name, "' is in two files");
      file.read(tensor, decoder.slice(*slice).data_ptr<float>());
    }
  }
  if (!missing.empty()) fail(folder.string(), ": tensor '", *missing.begin(), "' is missing");
}

// A model with NaN in it would answer, and every answer would look like one.
void check_finite(Decoder& decoder, const std::string& path) {
  for (const NamedSlice& slice : decoder.slices()) {
    const at::Tensor weights = decoder.slice(slice);
    if (!std::isfinite(kernels::sum_of_squares(weights.const_data_ptr<float>(), weights.numel())))
      fail(path, ": tensor '", slice.name, "' holds numbers that are not finite");
  }
}

}  // namespace

void check_shape(const std::string& file, const TensorInfo& tensor, const NamedSlice& slice) {
  if (tensor.shape != slice.shape)
    fail(file, ": tensor '", tensor.name, "' is ", shape_text(tensor.shape),
         ", the configuration asks for ", shape_text(slice.shape),
         "; weights and configuration come from different checkpoints");
}

Model load_model(const std::string& path, bool trained, int64_t max_length) {
  if (!fs::exists(path)) fail(path, ": no such model; expected a folder or a .gguf file");
  Model model;
  if (fs::is_directory(path)) {
    const fs::path folder(path);
    ModelSpec spec = spec_from_config(folder / "config.json");
    if (const fs::path file = folder / kGenerationConfig; fs::exists(file))
      spec.generation_config_json = read_file(file);
    spec.limit_length(max_length, path);
    model.tokenizer = std::make_shared<Tokenizer>(Tokenizer::from_folder(folder));
    model.decoder = std::make_unique<Decoder>(spec, trained);
    load_safetensors(folder, *model.decoder);
  } else {
    const GgufFile file(path);
    ModelSpec spec = spec_from_gguf_model(file);
    spec.limit_length(max_length, path);
    model.tokenizer = std::make_shared<Tokenizer>(Tokenizer::from_gguf(file));
    model.decoder = std::make_unique<Decoder>(spec, trained);
    load_gguf(file, *model.decoder);
  }
  if (model.tokenizer->size() > model.decoder->spec().vocab_size)
    fail(path, ": the tokenizer has ", model.tokenizer->size(), " ids, the model only ",
         model.decoder->spec().vocab_size);
  check_finite(*model.decoder, path);
  return model;
}

Model new_model(const NewModel& config, uint64_t seed, bool trained) {
  Model model;
  model.tokenizer =
      std::make_shared<Tokenizer>(Tokenizer::from_characters(config.characters, config.end_token));
  ModelSpec spec = config.spec;
  spec.vocab_size = model.tokenizer->size();
  spec.check("model.new");
  model.decoder = std::make_unique<Decoder>(spec, trained);
  model.decoder->randomize(seed, config.embedding_std, config.residual_scale);
  return model;
}

namespace {

std::string torch_name(DType type) {
  if (type == DType::f32) return "float32";
  return type == DType::f16 ? "float16" : "bfloat16";
}

// Consecutive slices, which share a file.
struct Shard {
  std::string file;
  size_t first = 0, last = 0;  // [first, last) of the slices
};

std::vector<Shard> cut_into_shards(const std::vector<NamedSlice>& slices, int64_t element,
                                   int64_t shard_bytes) {
  std::vector<Shard> shards(1);
  int64_t held = 0;
  for (size_t i = 0; i < slices.size(); ++i) {
    int64_t bytes = element;
    for (const int64_t size : slices[i].shape) bytes *= size;
    if (held > 0 && held + bytes > shard_bytes) {
      shards.push_back({.file = "", .first = i, .last = i});
      held = 0;
    }
    held += bytes;
    shards.back().last = i + 1;
  }
  const auto five = [](size_t number) {
    const std::string digits = cat(number);
    return std::string(5 - std::min<size_t>(5, digits.size()), '0') + digits;
  };
  for (size_t i = 0; i < shards.size(); ++i)
    shards[i].file = cat("model-", five(i + 1), "-of-", five(shards.size()), ".safetensors");
  if (shards.size() == 1) shards[0].file = kWeights;
  return shards;
}

void write_index(const std::vector<NamedSlice>& slices, const std::vector<Shard>& shards,
                 int64_t element, int64_t parameters, const fs::path& folder) {
  Json::object_t map;
  for (const Shard& shard : shards)
    for (size_t i = shard.first; i < shard.last; ++i) map.emplace_back(slices[i].name, shard.file);
  const Json index = {{"metadata", {{"total_size", parameters * element}}}, {"weight_map", map}};
  write_file(folder / kWeightsIndex, index.dump(2) + "\n");
}

}  // namespace

void save_model(Decoder& decoder, const Tokenizer& tokenizer, const fs::path& folder, DType dtype,
                int64_t shard_bytes) {
  const int32_t bos = tokenizer.bos_id().value_or(-1), pad = tokenizer.pad_id().value_or(-1);
  const std::vector<int32_t> eos = {tokenizer.eos_id()};
  write_file(folder / "config.json", config_json(decoder.spec(), torch_name(dtype), bos, eos, pad));
  const std::vector<NamedSlice>& slices = decoder.slices();
  const int64_t element = dtype == DType::f32 ? 4 : 2;
  const std::vector<Shard> shards = cut_into_shards(slices, element, shard_bytes);
  for (const Shard& shard : shards) {
    std::vector<SafetensorsWriter::Planned> plan;
    for (size_t i = shard.first; i < shard.last; ++i)
      plan.push_back({slices[i].name, slices[i].shape, dtype});
    SafetensorsWriter writer(folder / shard.file, std::move(plan), {{"format", "pt"}});
    for (size_t i = shard.first; i < shard.last; ++i)
      writer.write(decoder.slice(slices[i]).const_data_ptr<float>());
    writer.commit();
  }
  if (shards.size() > 1) write_index(slices, shards, element, decoder.num_parameters(), folder);
  tokenizer.save(folder);
  std::string generation = decoder.spec().generation_config_json;
  if (generation.empty()) {
    Json made = {{"eos_token_id", tokenizer.eos_id()}};
    if (bos >= 0) made["bos_token_id"] = bos;
    if (pad >= 0) made["pad_token_id"] = pad;
    generation = made.dump(2) + "\n";
  }
  write_file(folder / kGenerationConfig, generation);
}

}  // namespace vernier
