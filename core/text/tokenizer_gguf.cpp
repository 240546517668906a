// Reads the tokenizer that a GGUF file carries in its metadata.
#include "core/text/tokenizer_gguf.h"

#include <algorithm>
#include <limits>

#include "core/base/errors.h"
#include "core/text/patterns.h"
#include "core/weights/weights.h"

namespace vernier {
namespace {

void read_pre(const GgufFile& file, TokenizerSpec& spec) {
  const std::string& name = file.text("tokenizer.ggml.pre");
  std::vector<std::string> known;
  for (const GgufPre& pre : gguf_pres()) {
    known.push_back(pre.name);
    if (pre.name != name) continue;
    spec.normalizer = pre.normalizer;
    spec.steps = pre.steps;
    spec.gpt2_regex = pre.gpt2_regex;
    spec.ignore_merges = pre.ignore_merges;
    return;
  }
  fail(spec.source, ": tokenizer.ggml.pre '", name, "' is not supported; ", join(known), " are");
}

void read_tokens(const GgufFile& file, TokenizerSpec& spec) {
  spec.tokens = file.texts("tokenizer.ggml.tokens");
  if (spec.tokens.size() > size_t{std::numeric_limits<int32_t>::max()})
    fail(spec.source, ": tokenizer.ggml.tokens has ", spec.tokens.size(), " tokens");
  spec.in_model.assign(spec.tokens.size(), true);
  const auto& types = file.integers("tokenizer.ggml.token_type");
  if (types.size() != spec.tokens.size())
    fail(spec.source, ": tokenizer.ggml.token_type has ", types.size(), " entries for ",
         spec.tokens.size(), " tokens");
  for (size_t i = 0; i < types.size(); ++i) {
    if (spec.tokens[i].empty()) fail(spec.source, ": token ", i, " is empty");
    if (types[i] != kUnknownToken && types[i] != kControlToken && types[i] != kUserDefinedToken)
      continue;
    spec.added.push_back({.content = spec.tokens[i],
                          .id = static_cast<int32_t>(i),
                          .special = types[i] != kUserDefinedToken});
  }
}

std::optional<int32_t> read_id(const GgufFile& file, const std::string& key, size_t size) {
  if (!file.has(key)) return std::nullopt;
  const int64_t id = file.integer(key);
  if (id < 0 || static_cast<uint64_t>(id) >= size)
    fail(file.path(), ": ", key, " is ", id, "; the vocabulary has ", size, " tokens");
  return static_cast<int32_t>(id);
}

// Puts `id` around every text where the file says so at `key`.
void read_around(const GgufFile& file, const std::string& key, std::optional<int32_t> id,
                 std::vector<int32_t>& around) {
  if (!file.has(key) || file.metadata().at(key) == GgufFile::Value(false)) return;
  if (file.metadata().at(key) != GgufFile::Value(true))
    fail(file.path(), ": ", key, " is neither true nor false");
  if (!id) fail(file.path(), ": ", key, " is true, but the file names no such token");
  around.push_back(*id);
}

constexpr std::string_view kFilePrefix = "vernier.file.";

// The files that the metadata holds. Their names become those of files on disk: no others.
FileTexts embedded_files(const GgufFile& file) {
  std::vector<std::string> known = tokenizer_files();
  known.insert(known.end(), end_files().begin(), end_files().end());
  FileTexts files;
  for (const auto& [key, value] : file.metadata()) {
    if (!key.starts_with(kFilePrefix)) continue;
    const std::string name = key.substr(kFilePrefix.size());
    if (std::find(known.begin(), known.end(), name) == known.end())
      fail(file.path(), ": metadata key '", key, "' names no file of a tokenizer; those are ",
           join(known));
    files[name] = file.text(key);
  }
  return files;
}

}  // namespace

// llama.cpp, llama-vocab.cpp; the normalizers, which it leaves out, from the tokenizer.json of the
// models: dbrx is OLMo 2's, deepseek-r1-qwen that of DeepSeek-R1's Qwen distills, whose Llama
// distills have Llama 3's.
const std::vector<GgufPre>& gguf_pres() {
  using Kind = PretokenizerStep::Kind;
  const NormalizerStep nfc{.kind = NormalizerStep::Kind::nfc};
  const PretokenizerStep digit{Kind::digit, ""}, llama3{Kind::regex, kLlama3Regex},
      qwen2{Kind::regex, kQwen2Regex};
  static const std::vector<GgufPre> rows = {
      {.name = "gpt-2", .gpt2_regex = true},
      {.name = "smollm", .steps = {digit}, .gpt2_regex = true},
      {.name = "olmo", .normalizer = {nfc}, .gpt2_regex = true},
      {.name = "llama-bpe", .steps = {llama3}, .ignore_merges = true},
      {.name = "llama3", .steps = {llama3}, .ignore_merges = true},
      {.name = "llama-v3", .steps = {llama3}, .ignore_merges = true},
      {.name = "dbrx", .steps = {llama3}},
      {.name = "qwen2", .normalizer = {nfc}, .steps = {qwen2}},
      {.name = "deepseek-r1-qwen", .steps = {qwen2}},
  };
  return rows;
}

std::string gguf_file_key(std::string_view file) { return std::string(kFilePrefix).append(file); }

TokenizerSpec spec_from_gguf(const GgufFile& file) {
  FileTexts files = embedded_files(file);
  if (files.contains("tokenizer.json"))
    return spec_from_files(std::move(files), file.path() + ": ");
  TokenizerSpec spec;
  spec.source = file.path();
  const std::string& model = file.text("tokenizer.ggml.model");
  if (model != "gpt2")
    fail(spec.source, ": tokenizer.ggml.model '", model, "' is not supported; 'gpt2' is");
  read_pre(file, spec);
  if (const std::string key = "tokenizer.ggml.add_space_prefix";
      file.has(key) && file.metadata().at(key) != GgufFile::Value(false))
    fail(spec.source, ": ", key, " is not supported; it has to be false");

  read_tokens(file, spec);
  MergeList merges(spec);
  for (const std::string& merge : file.texts("tokenizer.ggml.merges")) merges.add(merge);
  spec.eos = read_id(file, "tokenizer.ggml.eos_token_id", spec.tokens.size());
  if (!spec.eos) fail(spec.source, ": metadata key 'tokenizer.ggml.eos_token_id' is missing");
  spec.ends = {*spec.eos};
  spec.bos = read_id(file, "tokenizer.ggml.bos_token_id", spec.tokens.size());
  spec.pad = read_id(file, "tokenizer.ggml.padding_token_id", spec.tokens.size());
  spec.has_template = true;
  if (spec.ignore_merges && spec.bos && !file.has("tokenizer.ggml.add_bos_token"))
    spec.prefix.push_back(*spec.bos);  // Llama 3's file leaves it out where its template has it
  read_around(file, "tokenizer.ggml.add_bos_token", spec.bos, spec.prefix);
  read_around(file, "tokenizer.ggml.add_eos_token", spec.eos, spec.suffix);
  if (file.has("tokenizer.chat_template"))
    spec.chat_template = file.text("tokenizer.chat_template");
  finish_spec(spec);
  return spec;
}

}  // namespace vernier
