// Feeds bytes to the reader of requests for completions, as both routes have it. A UsageError is a
// good answer; anything else that is thrown ends the run.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/base/errors.h"
#include "rollout/endpoint/request.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace vernier;
  const ApiLimits limits = {
      .model = "tiny", .vocabulary = 100, .max_completion_length = 50, .choices = 8};
  for (const bool chat : {false, true}) try {
      const std::string_view text(reinterpret_cast<const char*>(data), size);
      const ApiRequest request = read_api_request(parse_json(text, "body"), chat, limits);
      const RolloutConfig& rollout = request.rollout;
      ensure(rollout.num_generations >= 1 && rollout.num_generations <= limits.choices,
             "a number of responses within the limits");
      ensure(request.max_tokens.value_or(1) <= limits.max_completion_length,
             "a length within the limits");
      for (const ApiPrompt& prompt : request.prompts)
        for (const int32_t id : prompt.ids)
          ensure(id >= 0 && id < limits.vocabulary, "ids of the vocabulary");
    } catch (const UsageError&) {
      continue;
    }
  return 0;
}
