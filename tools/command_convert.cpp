// convert: a model from one kind of file to another, tensor by tensor.
#include <ATen/ATen.h>

#include <map>

#include "core/base/errors.h"
#include "core/base/log.h"
#include "core/model/gguf_model.h"
#include "core/model/model.h"
#include "core/text/tokenizer_spec.h"
#include "core/weights/gguf_writer.h"
#include "tools/commands.h"

namespace vernier {
namespace {

// Of the names that the command line lets through.
DType type_of(const std::string& name) {
  if (name == "f32") return DType::f32;
  if (name == "f16") return DType::f16;
  return name == "bf16" ? DType::bf16 : DType::q8_0;
}

// The type of most weights, as a type that is written.
DType usual_type(const ModelSource& source, const std::vector<NamedSlice>& slices) {
  std::map<DType, int64_t> counts;
  for (const NamedSlice& slice : slices)
    if (slice.shape.size() > 1) ++counts[source.dtype(slice)];
  DType usual = DType::f32;
  int64_t most = 0;
  for (const auto& [type, count] : counts)
    if (count > most) {
      usual = type;
      most = count;
    }
  return usual;
}

void write_gguf(const ModelSource& source, const std::vector<NamedSlice>& slices, DType type,
                const fs::path& out) {
  const ModelSpec& spec = source.spec();
  GgufMetadata metadata = gguf_metadata(spec, source.path());
  for (auto& pair : gguf_metadata(source.tokenizer().spec(), spec.vocab_size))
    metadata.push_back(std::move(pair));
  std::vector<GgufWriter::Planned> plan;
  // llama.cpp computes with norms and biases in fp32 and reads no other type of them.
  for (const NamedSlice& slice : slices)
    plan.push_back(
        {gguf_name(slice.name, spec), slice.shape, slice.shape.size() > 1 ? type : DType::f32});
  const std::vector<float> factors = gguf_rope_factors(spec);
  if (!factors.empty())
    plan.push_back({kRopeFactors, {static_cast<int64_t>(factors.size())}, DType::f32});
  GgufWriter writer(out, metadata, std::move(plan));
  std::vector<float> values;
  for (const NamedSlice& slice : slices) {
    values.resize(static_cast<size_t>(slice.numel()));
    source.read(slice, values.data());
    if (const auto pairs = gguf_pairs(slice.name, spec)) join_pairs(values.data(), *pairs);
    writer.write(values.data());
  }
  if (!factors.empty()) writer.write(factors.data());
  writer.commit();
}

// The folder has its name only once it is whole.
void write_folder(const ModelSource& source, const std::vector<NamedSlice>& slices, DType type,
                  int64_t shard_bytes, const fs::path& out) {
  fs::path draft = out.has_filename() ? out : out.parent_path();
  draft += ".vernier-tmp";
  fs::remove_all(draft);
  fs::create_directories(draft);
  std::vector<float> values;
  const SliceValues read = [&](const NamedSlice& slice) {
    values.resize(static_cast<size_t>(slice.numel()));
    source.read(slice, values.data());
    return values.data();
  };
  save_weights(source.spec(), slices, source.tokenizer(), read, draft,
               {.dtype = type, .shard_bytes = shard_bytes});
  sync_folder(draft);
  fs::rename(draft, out);
}

}  // namespace

void convert_command(const ConvertOptions& options) {
  const ModelSource source(options.model);
  const Decoder names(source.spec(), false, at::kFloat, at::kMeta);  // no weights: names and shapes
  const std::vector<NamedSlice>& slices = names.slices();
  source.check(slices);
  const DType usual = usual_type(source, slices);
  const DType type = options.dtype.empty() ? usual : type_of(options.dtype);
  const fs::path out(options.out);
  if (fs::exists(out)) fail(options.out, ": is there already; convert overwrites nothing");
  const bool gguf = out.extension() == ".gguf";
  const bool plain = type == DType::f32 || type == DType::f16 || type == DType::bf16;
  if (!plain && (!gguf || type != DType::q8_0))
    fail(options.out, ": values of type ", name_of(type), " cannot be written ",
         gguf ? "here; choose --dtype f32, f16, bf16 or q8_0"
              : "in safetensors; choose --dtype f32, f16 or bf16");
  if (gguf) {
    write_gguf(source, slices, type, out);
  } else {
    write_folder(source, slices, type, static_cast<int64_t>(options.shard_gb * 1e9), out);
  }
  log::info(
      cat("wrote ", options.out, ": ", names.num_parameters(), " parameters as ", name_of(type)));
}

}  // namespace vernier
