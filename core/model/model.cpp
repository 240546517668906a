#include "core/model/model.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "core/base/errors.h"
#include "core/base/json.h"
#include "core/kernels/kernels.h"
#include "core/weights/weights.h"

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

// The files of a folder: one, or the shards that the index names.
std::vector<fs::path> weight_files(const fs::path& folder) {
  if (fs::exists(folder / "model.safetensors")) return {folder / "model.safetensors"};
  const fs::path index_path = folder / "model.safetensors.index.json";
  if (!fs::exists(index_path))
    fail(folder.string(), ": neither model.safetensors nor model.safetensors.index.json is here");
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

// The name that a tensor has in a GGUF file.
std::string gguf_name(const std::string& name) {
  if (name == "model.embed_tokens.weight") return "token_embd.weight";
  if (name == "model.norm.weight") return "output_norm.weight";
  if (name == "lm_head.weight") return "output.weight";
  constexpr std::string_view kPrefix = "model.layers.";
  const size_t dot = name.find('.', kPrefix.size());
  const std::string layer = name.substr(kPrefix.size(), dot - kPrefix.size());
  const std::string rest = name.substr(dot + 1);
  for (const auto& [ours, theirs] : {std::pair{"input_layernorm.weight", "attn_norm.weight"},
                                     {"self_attn.q_proj.weight", "attn_q.weight"},
                                     {"self_attn.k_proj.weight", "attn_k.weight"},
                                     {"self_attn.v_proj.weight", "attn_v.weight"},
                                     {"self_attn.o_proj.weight", "attn_output.weight"},
                                     {"post_attention_layernorm.weight", "ffn_norm.weight"},
                                     {"mlp.gate_proj.weight", "ffn_gate.weight"},
                                     {"mlp.up_proj.weight", "ffn_up.weight"},
                                     {"mlp.down_proj.weight", "ffn_down.weight"}})
    if (rest == ours) return cat("blk.", layer, ".", theirs);
  throw BugError(cat("no GGUF name for ", name));
}

// GGUF stores the rotated pairs of llama's queries and keys interleaved, row 2i + j of a head for
// what is row j * E/2 + i here.
void split_pairs(float* rows, int64_t heads, int64_t head_size, int64_t width) {
  std::vector<float> head(static_cast<size_t>(head_size * width));
  for (int64_t h = 0; h < heads; ++h) {
    float* at = rows + h * head_size * width;
    std::copy_n(at, head.size(), head.begin());
    for (int64_t i = 0; i < head_size / 2; ++i)
      for (int64_t j = 0; j < 2; ++j)
        std::copy_n(head.begin() + (2 * i + j) * width, width,
                    at + (j * head_size / 2 + i) * width);
  }
}

void load_gguf(const GgufFile& file, Decoder& decoder) {
  const ModelSpec& spec = decoder.spec();
  std::set<std::string> used;
  for (const NamedSlice& slice : decoder.slices()) {
    const std::string name = gguf_name(slice.name);
    const TensorInfo* tensor = file.find(name);
    if (tensor == nullptr) fail(file.path(), ": tensor '", name, "' is missing");
    check_shape(file.path(), *tensor, slice);
    used.insert(name);
    float* out = decoder.slice(slice).data_ptr<float>();
    file.read(*tensor, out);
    if (slice.name.ends_with("q_proj.weight"))
      split_pairs(out, spec.num_attention_heads, spec.head_dim, spec.hidden_size);
    if (slice.name.ends_with("k_proj.weight"))
      split_pairs(out, spec.num_key_value_heads, spec.head_dim, spec.hidden_size);
  }
  for (const TensorInfo& tensor : file.tensors())
    if (!used.contains(tensor.name))
      fail(file.path(), ": tensor '", tensor.name, "' is not part of this architecture");
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

Model load_model(const std::string& path, bool trained) {
  if (!fs::exists(path)) fail(path, ": no such model; expected a folder or a .gguf file");
  Model model;
  if (fs::is_directory(path)) {
    const fs::path folder(path);
    const ModelSpec spec = ModelSpec::from_config_json(folder / "config.json");
    model.tokenizer = std::make_shared<Tokenizer>(Tokenizer::from_folder(folder));
    model.decoder = std::make_unique<Decoder>(spec, trained);
    load_safetensors(folder, *model.decoder);
  } else {
    const GgufFile file(path);
    const ModelSpec spec = ModelSpec::from_gguf(file);
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

void save_model(Decoder& decoder, const Tokenizer& tokenizer, const fs::path& folder) {
  const int32_t bos = tokenizer.bos_id().value_or(-1), pad = tokenizer.pad_id().value_or(-1);
  write_file(folder / "config.json", decoder.spec().config_json(bos, tokenizer.eos_id(), pad));
  std::vector<SafetensorsWriter::Planned> plan;
  for (const NamedSlice& slice : decoder.slices())
    plan.push_back({slice.name, slice.shape, DType::f32});
  SafetensorsWriter writer(folder / "model.safetensors", std::move(plan), {{"format", "pt"}});
  for (const NamedSlice& slice : decoder.slices())
    writer.write(decoder.slice(slice).const_data_ptr<float>());
  writer.commit();
  tokenizer.save(folder);
  const std::vector<int32_t>& ends = tokenizer.eos_ids();
  Json generation = {{"eos_token_id", ends.size() == 1 ? Json(ends[0]) : Json(ends)}};
  if (bos >= 0) generation["bos_token_id"] = bos;
  if (pad >= 0) generation["pad_token_id"] = pad;
  write_file(folder / "generation_config.json", generation.dump(2) + "\n");
}

}  // namespace vernier
