#include "rollout/thinking_cut.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <span>

#include "core/base/errors.h"
#include "rollout/ending.h"
#include "rollout/spans.h"

namespace vernier {
namespace {

// Tokens before the first one that the budget forces; none where none is.
std::optional<size_t> forced_place(const Response& response, const Prompt& prompt,
                                   const Endings& endings) {
  Endings::State state = endings.begin(prompt.ids);
  for (size_t t = 0; t < response.ids.size(); ++t) {
    if (endings.forced(state) >= 0) return t;
    endings.add(state, std::span(response.ids).first(t + 1));
  }
  return std::nullopt;
}

// What set_spans() makes of the first `size` tokens.
void clip_spans(Response& response, int32_t size) {
  TokenSpan &think = response.think, &answer = response.answer_span;
  if (think.begin > size) {  // it had not begun to think
    think = {};
    answer = {0, size};
  }
  if (think.begin >= 0) think.end = std::min(think.end, size);
  if (answer.begin >= 0) answer = {std::min(answer.begin, size), std::min(answer.end, size)};
}

// The first `tokens` of a response, as if nothing had come behind them.
Response beginning_of(const Response& response, size_t tokens) {
  Response out = response;
  keep_tokens(out, static_cast<int32_t>(tokens));
  out.forced.clear();
  out.flags.clear();
  out.versions.clear();
  out.first_correct.reset();
  return out;
}

}  // namespace

void cut_response(Response& response, const Prompt& prompt, int64_t limit,
                  const Tokenizer& tokenizer) {
  if (response.num_tokens <= limit) return;
  keep_tokens(response, static_cast<int32_t>(limit));
  response.num_tokens = response.raw_num_tokens = static_cast<int32_t>(limit);
  int32_t left = response.num_tokens;
  for (auto& [version, drawn] : response.versions) {
    drawn = std::min(drawn, left);
    left -= drawn;
  }
  std::erase_if(response.versions, [](const auto& part) { return part.second == 0; });
  // What rewards said was of all of it.
  response.rewards.clear();
  response.reward.reset();
  // What ended it came later; what steered it may have come before.
  std::erase_if(response.flags, [&](const std::string& flag) {
    return flag != kThinkingBudgetFlag || response.forced.empty();
  });
  response.finish_reason = FinishReason::length;
  clip_spans(response, static_cast<int32_t>(limit));
  response.text = tokenizer.decode(response.ids);
  response.correct.reset();
  response.sampled_correct.reset();
  set_first_correct(response, prompt, tokenizer);
}

void end_thinking(Engine& engine, const Tokenizer& tokenizer, const ModelSpec& spec,
                  const RolloutConfig& config, DrawKey key, std::vector<Group> groups,
                  const std::atomic<bool>* stop, const std::function<void(Group&&)>& done) {
  ensure(config.ending.thinking_budget > 0, "a budget of thinking");
  const auto rules = std::make_shared<const DrawRules>(config, tokenizer, spec);
  const ThinkTags tags(config, tokenizer);
  const Endings endings(config.ending, tags.start, tags.end, tokenizer);
  std::vector<Request> requests;
  int64_t longest = 0;
  for (Group& group : groups) {
    const int64_t limit = completion_limit(group.prompt, config);
    std::vector<Begun> begun;
    bool all_ended = true;
    for (Response& response : group.responses) {
      const auto place = forced_place(response, group.prompt, endings);
      const bool goes_on = place && static_cast<int64_t>(*place) < limit;
      all_ended = all_ended && !goes_on;
      if (!goes_on) cut_response(response, group.prompt, limit, tokenizer);
      begun.push_back({goes_on ? beginning_of(response, *place) : response, !goes_on});
    }
    if (all_ended) {
      done(std::move(group));
      continue;
    }
    longest = std::max(longest, std::ssize(group.prompt.ids));
    requests.push_back({.prompt = std::move(group.prompt),
                        .rules = rules,
                        .key = key,
                        .weight_version = 0,
                        .group_id = group.id,
                        .begun = std::move(begun),
                        .grown = {},
                        .ended = {},
                        .done = done});
  }
  if (requests.empty()) return;
  engine.open(config,
              std::min<int64_t>(std::ssize(requests) * config.num_generations,
                                config.max_running + config.num_generations),
              longest);
  std::vector<int64_t> tickets;
  try {
    for (size_t next = 0; next < requests.size() || !engine.idle();) {
      while (next < requests.size() && engine.open_responses() < config.max_running)
        tickets.push_back(engine.submit(std::move(requests[next++])));
      engine.step();
      if (stop != nullptr && stop->load()) throw Interrupted();
    }
  } catch (...) {
    for (const int64_t ticket : tickets) engine.cancel(ticket);
    throw;
  }
}

}  // namespace vernier
