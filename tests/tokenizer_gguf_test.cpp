// Tokenizers in GGUF metadata: written, read again, and what GGUF cannot say.
#include <doctest/doctest.h>

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

}  // namespace
}  // namespace vernier
