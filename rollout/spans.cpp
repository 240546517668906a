#include "rollout/spans.h"

#include <algorithm>
#include <optional>
#include <span>

#include "core/base/errors.h"
#include "rewards/verify/judge.h"
#include "rollout/ending.h"

namespace vernier {

ThinkTags::ThinkTags(const RolloutConfig& config, const Tokenizer& tokenizer) {
  const auto id_of = [&](const std::string& tag, std::string_view key) {
    if (tag.empty()) return -1;
    const std::optional<int32_t> id = tokenizer.id_of(tag);
    if (!id) fail("rollout.", key, ": '", tag, "' is not one token of this model's tokenizer");
    return *id;
  };
  start = id_of(config.think_start, "think_start");
  end = id_of(config.think_end, "think_end");
}

void set_first_correct(Response& response, const Prompt& prompt, const Tokenizer& tokenizer) {
  response.first_correct.reset();
  if (!has_rule(prompt)) return;
  const std::optional<size_t> bytes = first_correct(prompt, response.text);
  if (!bytes) return;
  // The fewest tokens whose text holds these bytes: texts of prefixes grow.
  const std::span<const int32_t> ids = response.ids;
  size_t too_few = 0, enough = ids.size();
  while (enough - too_few > 1) {
    const size_t middle = (too_few + enough) / 2;
    (tokenizer.decode(ids.first(middle)).size() < *bytes ? too_few : enough) = middle;
  }
  response.first_correct = static_cast<int32_t>(enough);
}

void set_spans(Response& response, const std::vector<int32_t>& prompt_ids, const ThinkTags& tags) {
  const auto size = static_cast<int32_t>(response.ids.size());
  const auto place_of = [&](int32_t id) {
    const auto found = std::find(response.ids.begin(), response.ids.end(), id);
    return static_cast<int32_t>(found - response.ids.begin());
  };
  response.think = {};
  response.answer_span = {0, size};
  if (tags.end < 0) return;
  const bool open = thinking_is_open(prompt_ids, tags.start, tags.end);
  const int32_t begin = open ? 0 : place_of(tags.start) + 1;
  if (begin > size) return;  // the response never starts to think
  const int32_t end = place_of(tags.end);
  response.think = {begin, std::max(begin, end)};
  response.answer_span = {std::min(end + 1, size), size};
}

}  // namespace vernier
