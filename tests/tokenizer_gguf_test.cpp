// Tokenizers in GGUF metadata: written, read again, and what GGUF cannot say.
#include <doctest/doctest.h>

#include <functional>
#include <source_location>

#include "core/base/errors.h"
#include "core/base/files.h"
#include "core/base/json.h"
#include "core/text/patterns.h"
#include "core/text/tokenizer.h"
#include "core/text/tokenizer_spec.h"
#include "core/weights/gguf_writer.h"
#include "core/weights/weights.h"
#include "tests/testing.h"

namespace vernier {
namespace {

using testing::TemporaryFolder;
using testing::usage_error;

const fs::path kKinds = fs::path(std::source_location::current().file_name()).parent_path() /
                        "cases" / "text" / "tokenizers";

// A folder's files of a kind of tools/golden_tokenizers.py, its begin and end tokens named.
FileTexts files_of(const std::string& kind) {
  const std::string text = read_file(kKinds / kind / "tokenizer.json");
  const Tokenizer plain = Tokenizer::from_json(text, kind);
  Json config = Json::object();
  for (const char* token : {"</s>", "<|endoftext|>", "a"})
    if (plain.id_of(token) && !config.contains("eos_token")) config["eos_token"] = token;
  for (const char* token : {"<s>", "<|begin_of_text|>", kDeepSeekBegin})
    if (plain.id_of(token)) config["bos_token"] = token;
  return {{"tokenizer.json", text}, {"tokenizer_config.json", dump_json(config)}};
}

TokenizerSpec spec_of(const std::string& kind) {
  return spec_from_files(files_of(kind), kind + "/");
}

fs::path write_gguf(const TemporaryFolder& folder, const GgufMetadata& metadata) {
  const fs::path path = folder.path() / "t.gguf";
  GgufWriter(path, metadata, {}).commit();
  return path;
}

TEST_CASE("a GGUF file carries the files of a tokenizer, and no others") {
  const TemporaryFolder folder, copy;
  const GgufMetadata metadata = gguf_metadata(spec_of("llama2"), 650);
  const Tokenizer tokenizer = Tokenizer::from_gguf(GgufFile(write_gguf(folder, metadata)));
  tokenizer.save(copy.path());
  CHECK(read_file(copy.path() / "tokenizer.json") ==
        read_file(kKinds / "llama2" / "tokenizer.json"));
  for (const char* name : {"model.safetensors", "../../x", "..", "", "a/tokenizer.json",
                           "tokenizer.json/", "/tmp/vernier-must-not-be-written"}) {
    CAPTURE(std::string(name));
    GgufMetadata odd = metadata;
    odd.emplace_back(gguf_file_key(name), std::string("x"));
    const std::string problem =
        usage_error([&] { Tokenizer::from_gguf(GgufFile(write_gguf(folder, odd))); });
    CHECK(problem.find(cat("t.gguf: metadata key 'vernier.file.", name, "' names no file of a ",
                           "tokenizer; those are tokenizer.json, tokenizer_config.json, ")) !=
          std::string::npos);
    TokenizerSpec wrong = spec_of("llama2");
    wrong.files[name] = "x";
    CHECK_THROWS_AS(write_spec(wrong, copy.path()), BugError);
  }
}

const GgufFile::Value& value_at(const GgufMetadata& metadata, const std::string& key) {
  for (const auto& [name, value] : metadata)
    if (name == key) return value;
  FAIL("no metadata key ", key);
  return metadata.front().second;
}

// The same ids by llama.cpp's keys alone, without the files inside.
void check_bare(const std::string& kind, const std::string& pre) {
  CAPTURE(kind);
  TokenizerSpec bare = spec_of(kind);
  bare.files.clear();
  const GgufMetadata metadata = gguf_metadata(bare, static_cast<int64_t>(bare.tokens.size()) + 3);
  CHECK(value_at(metadata, "tokenizer.ggml.pre") == GgufFile::Value(pre));
  const TemporaryFolder folder;
  const Tokenizer again = Tokenizer::from_gguf(GgufFile(write_gguf(folder, metadata)));
  const Tokenizer source = Tokenizer::from_json(read_file(kKinds / kind / "tokenizer.json"), kind);
  CHECK(again.add_special({7}) == source.add_special({7}));
  LineReader reader((kKinds / "texts.jsonl.zst").string());
  std::string line;
  reader.next(line);  // the head
  for (int i = 0; i < 1000 && reader.next(line); ++i) {
    const std::string text = parse_json(line, reader.where())["text"];
    CAPTURE(text);
    CHECK(again.encode(text) == source.encode(text));
  }
}

TEST_CASE("llama.cpp's names stand for the tokenizers that are written under them") {
  for (const auto& [kind, pre] : std::initializer_list<std::pair<const char*, const char*>>{
           {"gpt2", "gpt-2"},
           {"smollm2", "smollm"},
           {"olmo", "olmo"},
           {"llama3", "llama-bpe"},
           {"smollm3", "llama-bpe"},
           {"olmo2", "dbrx"},
           {"qwen2", "qwen2"},
           {"deepseek-r1-llama", "llama-bpe"},
           {"deepseek-r1-qwen", "deepseek-r1-qwen"}})
    check_bare(kind, pre);
}

std::string refused(TokenizerSpec spec, const std::function<void(TokenizerSpec&)>& change) {
  change(spec);
  return usage_error([&] { gguf_metadata(spec, static_cast<int64_t>(spec.tokens.size())); });
}

TEST_CASE("a tokenizer that no name of GGUF stands for is refused") {
  const auto check = [](const char* kind, const std::function<void(TokenizerSpec&)>& change,
                        const char* message) {
    const std::string problem = refused(spec_of(kind), change);
    CAPTURE(kind);
    CAPTURE(problem);
    CHECK(problem.find(message) != std::string::npos);
  };
  using Spec = TokenizerSpec;
  const auto as_is = [](Spec&) {};
  const auto nfc = [](Spec& s) { s.normalizer = {{.kind = NormalizerStep::Kind::nfc}}; };
  const auto ignoring = [](Spec& s) { s.ignore_merges = true; };
  check("llama3", nfc, "names with its cuts, llama-bpe has another normalizer");
  check("qwen2", ignoring, "qwen2 has ignore_merges false");
  check(
      "qwen2", [](Spec& s) { s.normalizer[0].kind = NormalizerStep::Kind::nfkc; },
      "qwen2 has another normalizer");
  check("gpt2", ignoring,
        "gpt2/tokenizer.json: GGUF cannot say this tokenizer: of the names with "
        "its cuts, gpt-2 has ignore_merges false");
  for (const char* kind : {"cl100k", "deepseek-v3", "deepseek-coder", "odd-splits"})
    check(kind, as_is, "GGUF cannot say the cuts of this tokenizer, of kind '");
  check("odd-added", as_is, "has another normalizer");
}

TEST_CASE("GGUF's model llama is for the tokenizers that it stands for") {
  using Spec = TokenizerSpec;
  const auto check = [](const char* kind, const std::function<void(Spec&)>& change,
                        const char* message) {
    const std::string problem = refused(spec_of(kind), change);
    CAPTURE(kind);
    CAPTURE(problem);
    CHECK(problem.find(cat("its model 'llama' has no ", message)) != std::string::npos);
  };
  for (const auto& [kind, space] : std::initializer_list<std::pair<const char*, bool>>{
           {"llama2", true}, {"mistral", true}, {"metaspace-legacy", true}, {"gemma", false}}) {
    CAPTURE(kind);
    const GgufMetadata metadata = gguf_metadata(spec_of(kind), 700);
    CHECK(value_at(metadata, "tokenizer.ggml.add_space_prefix") == GgufFile::Value(space));
  }
  const auto lower = [](Spec& s) {
    s.normalizer.push_back({.kind = NormalizerStep::Kind::lowercase});
  };
  const auto cut = [](Spec& s) { s.steps = {{PretokenizerStep::Kind::digit, ""}}; };
  const auto join_words = [](Spec& s) {
    s.metaspace->split = true;
    s.merges[0].right = *Tokenizer::from_json(s.files.at("tokenizer.json"), "").id_of(kSpaceMark);
  };
  check(
      "few-bytes", [](Spec&) {}, "ignore_merges");
  check(
      "metaspace-never", [](Spec&) {}, "unknown tokens in place of bytes");
  check(
      "llama2", [](Spec& s) { s.normalizer.clear(); }, "normalizer but those that make U+2581");
  check("llama2", lower, "normalizer but those that make U+2581");
  check("mistral", lower, "normalizer besides Metaspace");
  check("llama2", cut, "cuts before its merges");
  check("gemma", cut, "cuts before its merges");
  check(
      "mistral", [](Spec& s) { s.metaspace->mark = "_"; }, "other mark of a space");
  check("mistral", join_words, "cuts at spaces, which Metaspace makes across merges");
}

TEST_CASE("a tokenizer.json is written whole or not at all") {
  const TemporaryFolder folder;
  const auto save = [&](const char* kind) {
    TokenizerSpec spec = spec_of(kind);
    spec.files.clear();
    write_spec(spec, folder.path());
  };
  save("qwen2");
  CHECK(spec_from_folder(folder.path()).normalizer == spec_of("qwen2").normalizer);
  for (const char* kind : {"odd-normal", "odd-added", "odd-splits", "llama2", "gemma"}) {
    CAPTURE(std::string(kind));
    CHECK_THROWS_AS(save(kind), BugError);
  }
}

}  // namespace
}  // namespace vernier
