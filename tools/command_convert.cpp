// convert: a model from one kind of file to another, tensor by tensor.
#include <ATen/ATen.h>

#include <map>

#include "core/base/errors.h"
#include "core/base/log.h"
#include "core/model/model.h"
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

// The folder has its name only once it is whole.
void write_folder(const ModelSource& source, const std::vector<NamedSlice>& slices,
                  const SliceValues& read, const SaveOptions& options, const fs::path& out) {
  fs::path draft = out.has_filename() ? out : out.parent_path();
  draft += ".vernier-tmp";
  fs::remove_all(draft);
  fs::create_directories(draft);
  save_weights(source.spec(), slices, source.tokenizer(), read, draft, options);
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
  std::vector<float> values;
  const SliceValues read = [&](const NamedSlice& slice) {
    values.resize(static_cast<size_t>(slice.numel()));
    source.read(slice, values.data());
    return values.data();
  };
  const SaveOptions how{.dtype = type, .shard_bytes = static_cast<int64_t>(options.shard_gb * 1e9)};
  if (gguf)
    save_gguf(source.spec(), slices, source.tokenizer(), read, out, type);
  else
    write_folder(source, slices, read, how, out);
  log::info(
      cat("wrote ", options.out, ": ", names.num_parameters(), " parameters as ", name_of(type)));
}

}  // namespace vernier
