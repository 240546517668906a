#include "core/model/source.h"

#include <algorithm>
#include <set>

#include "core/base/errors.h"
#include "core/base/json.h"
#include "core/model/family.h"
#include "core/model/gguf_model.h"

namespace vernier {
namespace {

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string out = "[";
  for (const int64_t size : shape) out += cat(out.size() > 1 ? ", " : "", size);
  return out + "]";
}

void check_shape(const std::string& file, const TensorInfo& tensor, const NamedSlice& slice) {
  if (tensor.shape != slice.shape)
    fail(file, ": tensor '", tensor.name, "' is ", shape_text(tensor.shape),
         ", the configuration asks for ", shape_text(slice.shape),
         "; weights and configuration come from different checkpoints");
}

bool is_file_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\0", 2)) == std::string::npos;
}

// The files of a folder: one, or the shards that the index names.
std::vector<fs::path> weight_files(const fs::path& folder) {
  if (fs::exists(folder / kWeights)) return {folder / kWeights};
  const fs::path index_path = folder / kWeightsIndex;
  if (!fs::exists(index_path))
    fail(folder.string(), ": neither ", kWeights, " nor ", kWeightsIndex, " is here");
  const Json index = parse_json(read_file(index_path), index_path.string());
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object())
    fail(index_path.string(), ": weight_map: is missing or not an object");
  std::set<std::string> names;
  for (const auto& [tensor, file] : index["weight_map"].items()) {
    if (!file.is_string() || !is_file_name(file.get<std::string>()))
      fail(index_path.string(), ": weight_map.", tensor, ": ", dump_json(file),
           " is not the name of a file in this folder");
    names.insert(file.get<std::string>());
  }
  std::vector<fs::path> files;
  for (const std::string& name : names) files.push_back(folder / name);
  return files;
}

}  // namespace

ModelSource::ModelSource(const std::string& path) : path_(path) {
  if (!fs::exists(path)) fail(path, ": no such model; expected a folder or a .gguf file");
  if (!fs::is_directory(path)) {
    gguf_ = std::make_unique<GgufFile>(path);
    spec_ = spec_from_gguf_model(*gguf_);
    return;
  }
  const fs::path folder(path);
  spec_ = spec_from_config(folder / "config.json");
  if (fs::exists(folder / kGenerationConfig))
    spec_.generation_config_json = read_file(folder / kGenerationConfig);
  open_shards();
}

void ModelSource::open_shards() {
  for (const fs::path& file : weight_files(path_)) {
    shards_.push_back(std::make_unique<SafetensorsFile>(file));
    for (const TensorInfo& tensor : shards_.back()->tensors())
      if (!places_.emplace(tensor.name, Place{shards_.back().get(), &tensor}).second)
        fail(file.string(), ": tensor '", tensor.name, "' is in two files");
  }
}

Tokenizer ModelSource::tokenizer() const {
  return gguf_ != nullptr ? Tokenizer::from_gguf(*gguf_) : Tokenizer::from_folder(path_);
}

void ModelSource::check(const std::vector<NamedSlice>& slices) const {
  if (gguf_ == nullptr) return check_shards(slices);
  std::set<std::string> used = {kRopeFactors};
  for (const NamedSlice& slice : slices) {
    const std::string name = gguf_name(slice.name, spec_);
    const TensorInfo* tensor = gguf_->find(name);
    if (tensor == nullptr) fail(path_, ": tensor '", name, "' is missing");
    check_shape(path_, *tensor, slice);
    used.insert(name);
  }
  for (const TensorInfo& tensor : gguf_->tensors())
    if (!used.contains(tensor.name))
      fail(path_, ": tensor '", tensor.name, "' is not part of this architecture");
}

// `transformers` does not tie a head that is stored with other values, whatever config.json says;
// others do. Which of the two was trained is not ours to guess.
void ModelSource::check_tied_head() const {
  const auto head = places_.find("lm_head.weight");
  const auto table = places_.find("model.embed_tokens.weight");
  if (!spec_.tie_word_embeddings || head == places_.end() || table == places_.end()) return;
  const Place &a = head->second, &b = table->second;
  const auto values = [](const Place& place) {
    std::vector<float> out(static_cast<size_t>(place.tensor->numel()));
    place.file->read(*place.tensor, out.data());
    return out;
  };
  if (a.tensor->shape != b.tensor->shape || values(a) != values(b))
    fail(a.file->path(), ": tensor 'lm_head.weight' is not model.embed_tokens.weight, but ", path_,
         "/config.json says tie_word_embeddings = true; set it to false, or leave the tensor out");
}

void ModelSource::check_shards(const std::vector<NamedSlice>& slices) const {
  check_tied_head();
  std::set<std::string> used;
  for (const NamedSlice& slice : slices) {
    const auto found = places_.find(slice.name);
    if (found == places_.end()) fail(path_, ": tensor '", slice.name, "' is missing");
    check_shape(found->second.file->path(), *found->second.tensor, slice);
    used.insert(slice.name);
  }
  for (const auto& [name, place] : places_) {
    // A tied head may be stored a second time, and old checkpoints carry their RoPE table.
    const bool known_extra = (name == "lm_head.weight" && spec_.tie_word_embeddings) ||
                             name.ends_with("rotary_emb.inv_freq");
    if (!used.contains(name) && !known_extra)
      fail(place.file->path(), ": tensor '", name, "' is not part of this architecture");
  }
}

DType ModelSource::dtype(const NamedSlice& slice) const {
  if (gguf_ != nullptr) return gguf_->find(gguf_name(slice.name, spec_))->dtype;
  return places_.at(slice.name).tensor->dtype;
}

void ModelSource::read(const NamedSlice& slice, float* out) const {
  if (gguf_ != nullptr) {
    gguf_->read(*gguf_->find(gguf_name(slice.name, spec_)), out);
    if (const auto pairs = gguf_pairs(slice.name, spec_)) split_pairs(out, *pairs);
    return;
  }
  const Place& place = places_.at(slice.name);
  place.file->read(*place.tensor, out);
}

}  // namespace vernier
