#include "core/model/model.h"

#include <algorithm>

#include "core/base/errors.h"
#include "core/base/json.h"
#include "core/base/pool.h"
#include "core/kernels/kernels.h"
#include "core/model/family.h"
#include "core/weights/weights.h"

namespace vernier {
namespace {

// A model with NaN in it would answer, and every answer would look like one.
void check_finite(const float* values, int64_t count, const std::string& path,
                  const std::string& name) {
  if (!kernels::all_finite(values, count))
    fail(path, ": tensor '", name, "' holds numbers that are not finite");
}

// By way of a buffer of one tensor, so that no process holds the model on the host.
void read_to_gpu(const ModelSource& source, Decoder& decoder, std::span<const NamedSlice> slices) {
  std::vector<float> staged;
  for (const NamedSlice& slice : slices) {
    at::Tensor weights = decoder.slice(slice);
    staged.resize(static_cast<size_t>(weights.numel()));
    source.read(slice, staged.data());
    check_finite(staged.data(), weights.numel(), source.path(), slice.name);
    weights.copy_(at::from_blob(staged.data(), slice.shape, at::kFloat));
  }
}

}  // namespace

// On the CPU each tensor is converted once, from the mapped file to where it stays.
void read_weights(const ModelSource& source, Decoder& decoder, std::span<const NamedSlice> slices) {
  if (decoder.device().is_cuda()) return read_to_gpu(source, decoder, slices);
  const auto values = [&](size_t i) { return decoder.slice(slices[i]).data_ptr<float>(); };
  kernel_pool().run(static_cast<int64_t>(slices.size()), [&](int64_t task) {
    const auto i = static_cast<size_t>(task);
    source.read(slices[i], values(i));
    check_finite(values(i), slices[i].numel(), source.path(), slices[i].name);
  });
}

ModelHead read_head(const ModelSource& source, int64_t max_length, const Reach& reach) {
  ModelSpec spec = source.spec();
  if (reach.window > 0) {
    spec.reach = reach;
    spec.check(source.path());
  }
  spec.limit_length(max_length, source.path());
  auto tokenizer = std::make_shared<Tokenizer>(source.tokenizer());
  source.check(Decoder(spec, false, at::kFloat, at::kMeta).slices());
  if (tokenizer->size() > spec.vocab_size)
    fail(source.path(), ": the tokenizer has ", tokenizer->size(), " ids, the model only ",
         spec.vocab_size);
  tokenizer->cover(spec.vocab_size);
  return {std::move(spec), std::move(tokenizer)};
}

namespace {

// A name under which another program would compute something else is none.
void name_family(ModelSpec& spec) {
  if (spec.positions == Positions::none) {
    spec.model_type = "smollm3";
    spec.layers.assign(static_cast<size_t>(spec.num_hidden_layers), {.rope = false, .window = 0});
  }
  if (spec.positions == Positions::alibi || spec.positions == Positions::absolute || spec.attn_logn)
    spec.model_type = "vernier";
}

}  // namespace

ModelHead read_head(const NewModel& config) {
  auto tokenizer =
      std::make_shared<Tokenizer>(Tokenizer::from_characters(config.characters, config.end_token));
  ModelSpec spec = config.spec;
  spec.vocab_size = tokenizer->size();
  name_family(spec);
  spec.check("model.new");
  return {std::move(spec), std::move(tokenizer)};
}

Model load_model(const ModelSource& source, const LoadOptions& options) {
  ModelHead head = read_head(source, options.max_length, options.reach);  // before memory is taken
  Model model{
      .decoder = std::make_unique<Decoder>(head.spec, options.trained, at::kFloat, options.device),
      .tokenizer = std::move(head.tokenizer)};
  read_weights(source, *model.decoder, model.decoder->slices());
  return model;
}

Model load_model(const std::string& path, const LoadOptions& options) {
  return load_model(ModelSource(path), options);
}

Model new_model(const NewModel& config, uint64_t seed, bool trained, at::Device device) {
  ModelHead head = read_head(config);
  Model model{.decoder = std::make_unique<Decoder>(head.spec, trained, at::kFloat, device),
              .tokenizer = std::move(head.tokenizer)};
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

DType type_of(const NamedSlice& slice, const SaveOptions& options) {
  return options.dtype_of ? options.dtype_of(slice) : options.dtype;
}

int64_t bytes_of(const NamedSlice& slice, const SaveOptions& options) {
  return slice.numel() * (type_of(slice, options) == DType::f32 ? 4 : 2);
}

std::vector<Shard> cut_into_shards(const std::vector<NamedSlice>& slices,
                                   const SaveOptions& options) {
  std::vector<Shard> shards(1);
  int64_t held = 0;
  for (size_t i = 0; i < slices.size(); ++i) {
    const int64_t bytes = bytes_of(slices[i], options);
    if (held > 0 && held + bytes > options.shard_bytes) {
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
                 const SaveOptions& options, const fs::path& folder) {
  Json::object_t map;
  int64_t bytes = 0;
  for (const Shard& shard : shards)
    for (size_t i = shard.first; i < shard.last; ++i) {
      map.emplace_back(slices[i].name, shard.file);
      bytes += bytes_of(slices[i], options);
    }
  const Json index = {{"metadata", {{"total_size", bytes}}}, {"weight_map", map}};
  write_file(folder / kWeightsIndex, index.dump(2) + "\n");
}

void write_shard(const std::vector<NamedSlice>& slices, const Shard& shard,
                 const SaveOptions& options, const SliceValues& values, const fs::path& folder) {
  std::vector<SafetensorsWriter::Planned> plan;
  for (size_t i = shard.first; i < shard.last; ++i)
    plan.push_back({slices[i].name, slices[i].shape, type_of(slices[i], options)});
  SafetensorsWriter writer(folder / shard.file, std::move(plan), {{"format", "pt"}});
  for (size_t i = shard.first; i < shard.last; ++i) writer.write(values(slices[i]));
  writer.commit();
}

// What generation begins and ends with, where no file came with the model.
std::string generation_json(const Tokenizer& tokenizer) {
  const std::vector<int32_t>& ends = tokenizer.eos_ids();
  Json out = {{"eos_token_id", ends.size() == 1 ? Json(ends[0]) : Json(ends)}};
  if (tokenizer.bos_id()) out["bos_token_id"] = *tokenizer.bos_id();
  if (tokenizer.pad_id()) out["pad_token_id"] = *tokenizer.pad_id();
  return out.dump(2) + "\n";
}

}  // namespace

void save_weights(const ModelSpec& spec, const std::vector<NamedSlice>& slices,
                  const Tokenizer& tokenizer, const SliceValues& values, const fs::path& folder,
                  const SaveOptions& options) {
  write_file(folder / "config.json",
             config_json(spec, torch_name(options.dtype), tokenizer.bos_id().value_or(-1),
                         tokenizer.eos_ids(), tokenizer.pad_id().value_or(-1)));
  const std::vector<Shard> shards = cut_into_shards(slices, options);
  for (const Shard& shard : shards) write_shard(slices, shard, options, values, folder);
  if (shards.size() > 1) write_index(slices, shards, options, folder);
  tokenizer.save(folder);
  const std::string& generation = spec.generation_config_json;
  write_file(folder / kGenerationConfig,
             generation.empty() ? generation_json(tokenizer) : generation);
}

void save_model(Decoder& decoder, const Tokenizer& tokenizer, const fs::path& folder,
                const SaveOptions& options) {
  at::Tensor here;  // the slice itself, or a copy from a GPU
  const SliceValues values = [&](const NamedSlice& slice) {
    here = at::Tensor();  // before another unit comes
    here = decoder.slice(slice).cpu();
    return here.const_data_ptr<float>();
  };
  save_weights(decoder.spec(), decoder.slices(), tokenizer, values, folder, options);
}

}  // namespace vernier
