#include "rollout/worker_messages.h"

#include <algorithm>
#include <cmath>

#include "core/base/bytes.h"
#include "core/group_bytes.h"

namespace vernier {
// A field that is not here does not reach a worker: the test compares every one.
template <class Archive, FieldsOf<SamplingParams> T>
void fields(Archive& archive, T& one) {
  archive(one.temperature, one.top_k, one.top_p, one.min_p, one.repetition_penalty, one.logit_bias);
}

template <class Archive, FieldsOf<EndingConfig> T>
void fields(Archive& archive, T& one) {
  archive(one.stop, one.stop_token_ids, one.thinking_budget, one.repetition_ngram,
          one.repetition_limit);
}

template <class Archive, FieldsOf<RolloutConfig> T>
void fields(Archive& archive, T& one) {
  archive(one.num_generations, one.prompts_per_step, one.max_completion_length, one.sampling,
          one.max_running, one.max_step_tokens, one.kv_cache_gb, one.ignore_eos, one.weights,
          one.draft_tokens, one.draft_ngram, one.draft_rows, one.think_start, one.think_end,
          one.ending, one.record_logprobs, one.top_logprobs, one.length_steps, one.length_limits);
}

template <class Archive, FieldsOf<WorkerSetup> T>
void fields(Archive& archive, T& one) {
  archive(one.drawing, one.files, one.max_length, one.deadline_s, one.weights_beside);
}

template <class Archive, FieldsOf<WeightsNotice> T>
void fields(Archive& archive, T& one) {
  archive(one.group, one.port, one.rank, one.size, one.fresh, one.version);
}

template <class Archive, FieldsOf<WeightsArrived> T>
void fields(Archive& archive, T& one) {
  archive(one.version, one.whole);
}

template <class Archive, FieldsOf<WorkerOver> T>
void fields(Archive& archive, T& one) {
  archive(one.code);
}

std::string to_bytes(const WorkerSetup& setup) { return bytes_of(setup); }
std::string to_bytes(const WeightsNotice& notice) { return bytes_of(notice); }
std::string to_bytes(const WorkerOver& over) { return bytes_of(over); }

std::string to_bytes(const WeightsArrived& arrived) { return bytes_of(arrived); }

std::string to_bytes(int64_t ticket, const Group& group) {
  Group lean = group;
  lean.prompt = {};
  ByteWriter writer;
  writer(ticket, bytes_of_groups({lean}));
  return writer.take();
}

namespace {

Group one_group(std::string_view bytes) {
  std::vector<Group> groups = groups_from_bytes(bytes, "a group");
  if (groups.size() != 1) fail_run("a group: there are ", groups.size());
  return std::move(groups.front());
}

}  // namespace

std::string to_bytes(const RemoteDraw& draw) {
  Group carrier;
  carrier.prompt = draw.prompt;
  ByteWriter writer;
  writer(draw.ticket, draw.place, draw.limit, draw.seed, draw.step, bytes_of_groups({carrier}));
  return writer.take();
}

WorkerSetup setup_from(std::string_view bytes) {
  return from_bytes<WorkerSetup>(bytes, "what the job says of itself");
}
WeightsNotice weights_notice_from(std::string_view bytes) {
  return from_bytes<WeightsNotice>(bytes, "what the job says of its weights");
}
WorkerOver over_from(std::string_view bytes) {
  return from_bytes<WorkerOver>(bytes, "what the job ends with");
}

WeightsArrived weights_arrived_from(std::string_view bytes) {
  return from_bytes<WeightsArrived>(bytes, "what a worker says of the weights");
}

DrawnGroup group_from(std::string_view bytes) {
  DrawnGroup out;
  std::string group;
  ByteReader reader(bytes, "a group of a worker");
  reader(out.ticket, group);
  reader.finish();
  out.group = one_group(group);
  return out;
}

RemoteDraw draw_from(std::string_view bytes) {
  RemoteDraw draw;
  std::string prompt;
  ByteReader reader(bytes, "what the job asks for");
  reader(draw.ticket, draw.place, draw.limit, draw.seed, draw.step, prompt);
  reader.finish();
  draw.prompt = one_group(prompt).prompt;
  return draw;
}

namespace {

bool within(const TokenSpan& span, int64_t tokens) {
  return -1 <= span.begin && span.begin <= tokens && -1 <= span.end && span.end <= tokens;
}

// Of what is listed token by token.
std::string list_problem(const Response& one, const Expected& expected) {
  const auto tokens = std::ssize(one.ids);
  for (const int32_t id : one.ids)
    if (id < 0 || id >= expected.vocab_size)
      return cat("token id ", id, " of a model that has ", expected.vocab_size);
  if (std::ssize(one.logprobs) != tokens)
    return cat(one.logprobs.size(), " log-probabilities of ", tokens, " tokens");
  const RolloutConfig& drawing = expected.drawing;
  if (std::ssize(one.sampled_logprobs) != (drawing.records("sampled") ? tokens : 0) ||
      std::ssize(one.plain_logprobs) != (drawing.records("plain") ? tokens : 0) ||
      std::ssize(one.top_logprobs) != (drawing.top_logprobs > 0 ? tokens : 0))
    return "recorded log-probabilities that are not one a token";
  for (const auto* list : {&one.logprobs, &one.sampled_logprobs, &one.plain_logprobs})
    for (const float value : *list)
      if (!std::isfinite(value) || value > 1e-4F) return cat("a log-probability of ", value);
  int64_t before = -1;
  for (const int32_t place : one.forced) {
    if (place <= before || place >= tokens) return cat("a forced token at place ", place);
    before = place;
  }
  return "";
}

std::string version_problem(const Response& one, const Expected& expected) {
  int64_t drawn = 0, before = expected.oldest - 1;
  for (const auto& [version, count] : one.versions) {
    if (version <= before || version > expected.newest || count < 1)
      return cat(count, " tokens of weights ", version, ", where ", expected.oldest, " to ",
                 expected.newest, " were to draw");
    before = version;
    drawn += count;
  }
  if (drawn != std::ssize(one.ids))
    return cat("weights' versions of ", drawn, " tokens in a response of ", one.ids.size());
  return "";
}

std::string response_problem(const Response& one, const Expected& expected) {
  const auto tokens = std::ssize(one.ids);
  const RemoteDraw& draw = expected.draw;
  const int64_t limit =
      std::min(draw.limit, draw.prompt.max_completion_length.value_or(draw.limit));
  if (tokens < 1 || tokens > limit)
    return cat("a response of ", tokens, " tokens, of which 1 to ", limit, " were asked for");
  if (one.num_tokens != tokens || one.raw_num_tokens != tokens)
    return cat("a response of ", tokens, " tokens that counts ", one.num_tokens);
  if (!policy_ended(one)) return "a response that the policy has not ended";
  if (!within(one.think, tokens) || !within(one.answer_span, tokens) ||
      (one.first_correct && (*one.first_correct < 0 || *one.first_correct > tokens)))
    return "a span outside its response";
  if (!one.assumed.empty() || !one.rewards.empty() || one.reward || !one.token_advantages.empty() ||
      !one.token_bonus.empty() || !one.transforms.empty() || one.masked || one.left_out ||
      one.elsewhere || one.branch.thought >= 0)
    return "a response that says more than a draw does";
  const std::string problem = list_problem(one, expected);
  return problem.empty() ? version_problem(one, expected) : problem;
}

}  // namespace

std::string group_problem(const Group& group, const Expected& expected) {
  if (std::ssize(group.responses) != expected.drawing.num_generations)
    return cat(group.responses.size(), " responses where ", expected.drawing.num_generations,
               " were asked for");
  for (int64_t i = 0; i < std::ssize(group.responses); ++i) {
    const Response& one = group.responses[static_cast<size_t>(i)];
    if (one.sample != i) return cat("sample ", one.sample, " in place ", i);
    if (const std::string problem = response_problem(one, expected); !problem.empty())
      return problem;
  }
  return "";
}

}  // namespace vernier
