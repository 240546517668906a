// Feeds bytes to the reader of safetensors files. A UsageError is a good answer; anything else that
// is thrown ends the run.
#include <vector>

#include "core/weights/weights.h"
#include "tests/fuzz/memory_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace vernier;
  const testing::MemoryFile bytes(data, size);
  try {
    const SafetensorsFile file(bytes.path());
    for (const TensorInfo& tensor : file.tensors()) {
      std::vector<float> values(static_cast<size_t>(tensor.numel()));
      file.read(tensor, values.data());
      ensure(file.find(tensor.name) == &tensor, "a tensor under its name");
    }
  } catch (const UsageError&) {
  }
  return 0;
}
