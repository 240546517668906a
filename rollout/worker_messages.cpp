#include "rollout/worker_messages.h"

#include <algorithm>
#include <cmath>
#include <numeric>

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
  archive(one.drawing, one.files, one.max_length, one.deadline_s);
}

template <class Archive, FieldsOf<WeightsNotice> T>
void fields(Archive& archive, T& one) {
  archive(one.group, one.port, one.rank, one.size, one.fresh, one.version);
}

template <class Archive, FieldsOf<WorkerOver> T>
void fields(Archive& archive, T& one) {
  archive(one.code);
}

std::string to_bytes(const WorkerSetup& setup) { return bytes_of(setup); }
std::string to_bytes(const WeightsNotice& notice) { return bytes_of(notice); }
std::string to_bytes(const WorkerOver& over) { return bytes_of(over); }

std::string to_bytes(const Group& group) {
  Group lean = group;
  lean.prompt = {};
  return bytes_of_groups({lean});
}

std::string to_bytes(const RemoteDraw& draw) {
  Group carrier;
  carrier.prompt = draw.prompt;
  ByteWriter writer;
  writer(draw.place, draw.limit, draw.seed, draw.step, bytes_of_groups({carrier}));
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

Group group_from(std::string_view bytes) {
  std::vector<Group> groups = groups_from_bytes(bytes, "a group of a worker");
  if (groups.size() != 1) fail_run("a group of a worker: there are ", groups.size());
  return std::move(groups.front());
}

RemoteDraw draw_from(std::string_view bytes) {
  RemoteDraw draw;
  std::string prompt;
  ByteReader reader(bytes, "what the job asks for");
  reader(draw.place, draw.limit, draw.seed, draw.step, prompt);
  reader.finish();
  draw.prompt = group_from(prompt).prompt;
  return draw;
}

std::string group_problem(const Group& group, const RemoteDraw& draw, const RolloutConfig& drawing,
                          int64_t vocab_size) {
  if (std::ssize(group.responses) != drawing.num_generations)
    return cat(group.responses.size(), " responses where ", drawing.num_generations,
               " were asked for");
  for (int64_t i = 0; i < std::ssize(group.responses); ++i) {
    const Response& one = group.responses[static_cast<size_t>(i)];
    const auto tokens = std::ssize(one.ids);
    const int64_t limit =
        std::min(draw.limit, draw.prompt.max_completion_length.value_or(draw.limit));
    if (one.sample != i) return cat("sample ", one.sample, " in place ", i);
    if (tokens < 1 || tokens > limit)
      return cat("a response of ", tokens, " tokens, of which 1 to ", limit, " were asked for");
    if (one.num_tokens != tokens || one.raw_num_tokens != tokens ||
        std::ssize(one.logprobs) != tokens)
      return cat("a response of ", tokens, " tokens that counts ", one.num_tokens, " and has ",
                 one.logprobs.size(), " log-probabilities");
    for (const int32_t id : one.ids)
      if (id < 0 || id >= vocab_size)
        return cat("token id ", id, " of a model that has ", vocab_size);
    for (const float value : one.logprobs)
      if (!std::isfinite(value) || value > 1e-4F) return cat("a log-probability of ", value);
    const int64_t drawn =
        std::accumulate(one.versions.begin(), one.versions.end(), int64_t{0},
                        [](int64_t sum, const auto& version) { return sum + version.second; });
    if (drawn != tokens)
      return cat("weights' versions of ", drawn, " tokens in a response of ", tokens);
    if (!policy_ended(one)) return "a response that the policy has not ended";
  }
  return "";
}

}  // namespace vernier
