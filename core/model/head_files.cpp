#include "core/model/head_files.h"

#include <unistd.h>

#include "core/base/errors.h"
#include "core/base/files.h"
#include "core/model/family.h"

namespace vernier {
namespace {

// Readers and writers of these files want a folder.
class Folder {
 public:
  Folder() {
    std::string name = (fs::temp_directory_path() / "vernier-model-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr)
      fail_run(name, ": cannot be made: ", std::strerror(errno));
    path_ = name;
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

}  // namespace

HeadFiles head_files(const ModelSpec& spec, const Tokenizer& tokenizer) {
  const Folder folder;
  tokenizer.save(folder.path());
  HeadFiles out;
  for (const auto& entry : fs::directory_iterator(folder.path()))
    out[entry.path().filename().string()] = read_file(entry.path());
  out["config.json"] = config_json(spec, "float32", tokenizer.bos_id().value_or(-1),
                                   tokenizer.eos_ids(), tokenizer.pad_id().value_or(-1));
  if (!spec.generation_config_json.empty())
    out["generation_config.json"] = spec.generation_config_json;
  return out;
}

namespace {

// `of`: what messages begin with.
ModelHead head_in(const fs::path& folder, int64_t max_length, const std::string& of) {
  ModelSpec spec = spec_from_config(folder / "config.json");
  spec.limit_length(max_length, cat(of, "config.json"));
  auto tokenizer = std::make_shared<Tokenizer>(Tokenizer::from_folder(folder));
  if (tokenizer->size() > spec.vocab_size)
    fail(of, "the tokenizer has ", tokenizer->size(), " ids, the model only ", spec.vocab_size);
  tokenizer->cover(spec.vocab_size);
  return {std::move(spec), std::move(tokenizer)};
}

}  // namespace

ModelHead head_from_files(const HeadFiles& files, int64_t max_length) {
  const Folder folder;
  for (const auto& [name, text] : files) {
    if (name.empty() || name != fs::path(name).filename().string() || name == "." || name == "..")
      fail("a model's file is named '", name, "'");
    write_file(folder.path() / name, text);
  }
  return head_in(folder.path(), max_length, "");
}

ModelHead head_from_folder(const fs::path& folder, int64_t max_length) {
  return head_in(folder, max_length, cat(folder.string(), ": "));
}

bool lacks_weights(const fs::path& model) {
  return fs::exists(model / "config.json") && !fs::exists(model / kWeights) &&
         !fs::exists(model / kWeightsIndex);
}

}  // namespace vernier
