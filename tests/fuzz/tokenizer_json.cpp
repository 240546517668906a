// Feeds bytes to the reader of tokenizer.json, and a text to what it makes of them. A UsageError is
// a good answer; anything else that is thrown ends the run.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/base/errors.h"
#include "core/text/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const vernier::Tokenizer tokenizer = vernier::Tokenizer::from_json(text, "tokenizer.json");
    const auto ids =
        tokenizer.encode(" Hello,\tw\u00F6rld 123\u2581<s>\n\n\U0001F600 it's \xFF <|end|>  ");
    tokenizer.decode(tokenizer.add_special(ids));
  } catch (const vernier::UsageError&) {
  }
  return 0;
}
