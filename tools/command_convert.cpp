// convert: a model from one kind of file to another, tensor by tensor.
#include <ATen/ATen.h>

#include <algorithm>
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

bool is_plain(DType type) {
  return type == DType::f32 || type == DType::f16 || type == DType::bf16;
}

bool holds(DType type, const std::vector<float>& values) {
  if (type == DType::f32) return true;
  const auto there = type == DType::f16 ? to_f16 : to_bf16;
  const auto back = type == DType::f16 ? from_f16 : from_bf16;
  return std::all_of(values.begin(), values.end(),
                     [&](float value) { return back(there(value)) == value; });
}

// The type of every slice where none is asked for: the usual one, but a slice that would lose by it
// (an fp32 norm beside bf16 matrices) keeps its own.
std::map<std::string, DType> types_kept(const ModelSource& source,
                                        const std::vector<NamedSlice>& slices, DType usual) {
  std::map<std::string, DType> types;
  std::vector<float> values;
  for (const NamedSlice& slice : slices) {
    DType& type = types[slice.name] = source.dtype(slice);
    if (type == usual || !is_plain(usual)) continue;
    values.resize(static_cast<size_t>(slice.numel()));
    source.read(slice, values.data());
    if (holds(usual, values)) type = usual;
  }
  return types;
}

// Raises UsageError where the file to be written has no such type.
void check_writable(DType type, bool gguf, const std::string& where) {
  if (is_plain(type) || (gguf && type == DType::q8_0)) return;
  fail(where, ": values of type ", name_of(type), " cannot be written ",
       gguf ? "here; choose --dtype f32, f16, bf16 or q8_0"
            : "in safetensors; choose --dtype f32, f16 or bf16");
}

// The folder has its name only once it is whole.
void write_folder(const ModelSource& source, const std::vector<NamedSlice>& slices,
                  const SliceValues& read, const SaveOptions& options, const fs::path& out) {
  fs::path draft = out.has_filename() ? out : out.parent_path();
  draft += ".vernier-tmp";
  fs::remove_all(draft);
  fs::create_directories(draft);
  try {
    save_weights(source.spec(), slices, source.tokenizer(), read, draft, options);
    sync_folder(draft);
    fs::rename(draft, out);
  } catch (const UsageError& problem) {
    fs::remove_all(draft);
    // The folder as the user named it.
    std::string text = problem.what();
    if (text.starts_with(draft.string())) text.replace(0, draft.string().size(), out.string());
    fail(text);
  } catch (...) {
    fs::remove_all(draft);
    throw;
  }
}

}  // namespace

void convert_command(const ConvertOptions& options) {
  const ModelSource source(options.model);
  const Decoder names(source.spec(), false, at::kFloat, at::kMeta);  // no weights: names and shapes
  const std::vector<NamedSlice>& slices = names.slices();
  source.check(slices);
  const fs::path out(options.out);
  if (options.out.empty()) fail("--out: is empty; it names a folder, or a file that ends in .gguf");
  if (fs::exists(out)) fail(options.out, ": is there already; convert overwrites nothing");
  const bool gguf = out.extension() == ".gguf";
  const bool asked = !options.dtype.empty();
  const DType type = asked ? type_of(options.dtype) : usual_type(source, slices);
  check_writable(type, gguf, options.out);
  const auto kept = asked ? std::map<std::string, DType>() : types_kept(source, slices, type);
  for (const auto& [name, own] : kept)
    check_writable(own, gguf, cat(options.out, ": tensor '", name, "'"));
  const SliceType dtype_of = [&](const NamedSlice& slice) {
    return asked ? type : kept.at(slice.name);
  };
  std::vector<float> values;
  const SliceValues read = [&](const NamedSlice& slice) {
    values.resize(static_cast<size_t>(slice.numel()));
    source.read(slice, values.data());
    return values.data();
  };
  const SaveOptions how{.dtype = type,
                        .dtype_of = dtype_of,
                        .shard_bytes = static_cast<int64_t>(options.shard_gb * 1e9)};
  try {
    if (gguf) {
      if (out.has_parent_path()) fs::create_directories(out.parent_path());
      save_gguf(source.spec(), slices, source.tokenizer(), read, out, dtype_of);
    } else {
      write_folder(source, slices, read, how, out);
    }
  } catch (const fs::filesystem_error& problem) {
    fail_run(options.out, ": cannot be written: ", problem.code().message());
  }
  const auto others =
      std::count_if(kept.begin(), kept.end(), [&](const auto& one) { return one.second != type; });
  log::info(cat("wrote ", options.out, ": ", names.num_parameters(), " parameters as ",
                name_of(type), others > 0 ? cat(", ", others, " tensors in their own type") : ""));
}

}  // namespace vernier
