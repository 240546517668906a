// Feeds bytes to the reader of .json files of data. A UsageError is a good answer, of the file or
// of a row; anything else that is thrown ends the run.
#include "rollout/json_rows.h"

#include <cstddef>
#include <cstdint>

#include "core/base/errors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace vernier;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto look = [](const std::function<Json()>& row) {
    try {
      const Json value = row();
      ensure(parse_json(dump_json(value), "what was written") == value,
             "a row that reads as it is");
    } catch (const UsageError&) {
    }
  };
  is_json_line(text.substr(0, text.find('\n')));
  try {
    const std::string unit = json_rows("task.json", text, 2, look);
    ensure(unit == ", row " || unit == ", instance ", "a known unit");
  } catch (const UsageError&) {
  }
  return 0;
}
