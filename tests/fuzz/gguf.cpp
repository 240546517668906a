// Feeds bytes to the reader of GGUF files, and what it reads to those of the model and of its
// tokenizer, which is saved. A UsageError is a good answer; anything else that is thrown ends the
// run, and so does a file that is not one of a tokenizer.
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "core/model/gguf_model.h"
#include "core/text/tokenizer.h"
#include "core/text/tokenizer_spec.h"
#include "core/weights/weights.h"
#include "tests/fuzz/memory_file.h"

namespace {

template <class Call>
void refusable(const Call& call) {
  try {
    call();
  } catch (const vernier::UsageError&) {
  }
}

// Before anything is written: a bad name may lead anywhere.
void save(const vernier::Tokenizer& tokenizer) {
  const auto& known = vernier::tokenizer_files();
  for (const auto& [name, unused] : tokenizer.spec().files)
    vernier::ensure(std::find(known.begin(), known.end(), name) != known.end(),
                    "only files of a tokenizer in what is saved");
  namespace fs = std::filesystem;
  const fs::path folder = fs::temp_directory_path() / vernier::cat("vernier-fuzz-", ::getpid());
  fs::create_directories(folder);
  tokenizer.save(folder);
  fs::remove_all(folder);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace vernier;
  const testing::MemoryFile bytes(data, size);
  refusable([&] {
    const GgufFile file(bytes.path());
    for (const TensorInfo& tensor : file.tensors()) {
      std::vector<float> values(static_cast<size_t>(tensor.numel()));
      file.read(tensor, values.data());
    }
    refusable([&] {
      const ModelSpec spec = spec_from_gguf_model(file);
      gguf_name("model.layers.0.self_attn.q_proj.weight", spec);
      gguf_pairs("model.layers.0.self_attn.q_proj.weight", spec);
    });
    refusable([&] {
      const Tokenizer tokenizer = Tokenizer::from_gguf(file);
      save(tokenizer);
      tokenizer.decode(tokenizer.encode(" Hello, world 123 <|end|>\n"));
    });
  });
  return 0;
}
