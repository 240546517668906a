// Feeds bytes to the reader of config.json, and writes what it read. A UsageError is a good answer,
// but not to what was written here; anything else that is thrown ends the run.
#include <cstddef>
#include <cstdint>
#include <string>

#include "core/base/errors.h"
#include "core/model/family.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace vernier;
  ModelSpec spec;
  try {
    spec = spec_from_config_text(std::string(reinterpret_cast<const char*>(data), size),
                                 "config.json");
  } catch (const UsageError&) {
    return 0;
  }
  spec.config_json.clear();
  const std::string written = config_json(spec, "float32", -1, {0}, -1);
  const ModelSpec again = spec_from_config_text(written, "what was written");
  ensure(again.longest() == spec.longest(), "a configuration that reads as it was written");
  return 0;
}
