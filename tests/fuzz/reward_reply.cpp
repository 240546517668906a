// Feeds bytes to the readers of what rewards from outside reply, in all shapes, and of questions. A
// BadReply is a good answer; anything else that is thrown ends the run.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/base/errors.h"
#include "rewards/outside/url_shape.h"
#include "rewards/outside/wire.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace vernier;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  Asked one{.id = "1", .prompt = "p", .answer = "7", .row = "{}", .responses = {{}, {}}};
  Asked single = one;
  single.id = "2";
  single.responses.pop_back();
  const auto first = std::make_shared<const Asked>(std::move(one));
  const auto second = std::make_shared<const Asked>(std::move(single));
  for (const char* name : {"vernier", "openrlhf", "slime"})
    for (const bool batches : {false, true}) try {
        const UrlShape shape{.name = name, .batches = batches};
        std::vector<AskedPtr> asked = {shape.name == "slime" ? second : first};
        if (shape.name == "openrlhf" || batches) asked.push_back(second);
        if (shape.name == "slime") asked.resize(1);
        const auto outcomes = shape.reply(text, asked);
        ensure(outcomes.size() == asked.size(), "outcomes of each question");
        for (size_t i = 0; i < asked.size(); ++i) {
          ensure(outcomes[i].size() == asked[i]->responses.size(), "an outcome of each response");
          for (const Outcome& outcome : outcomes[i])
            ensure(!outcome.score.abstain.empty() || std::isfinite(outcome.score.value),
                   "a finite score or an abstention");
        }
      } catch (const BadReply&) {
        continue;
      }
  try {
    read_request(request_text(read_request(text)));
  } catch (const UsageError&) {
    return 0;
  }
  return 0;
}
