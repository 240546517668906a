#include "core/group_bytes.h"

#include "core/base/bytes.h"

namespace vernier {
// One list of fields for both directions. A field that is not here does not reach another rank: the
// test compares every one.
template <class Archive, FieldsOf<TokenSpan> T>
void fields(Archive& archive, T& span) {
  archive(span.begin, span.end);
}

template <class Archive, FieldsOf<Branch> T>
void fields(Archive& archive, T& branch) {
  archive(branch.thought, branch.exit, branch.cut);
}

template <class Archive, FieldsOf<RewardPart> T>
void fields(Archive& archive, T& part) {
  archive(part.name, part.value, part.weight, part.abstained, part.components);
}

template <class Archive, FieldsOf<Prompt> T>
void fields(Archive& archive, T& prompt) {
  archive(prompt.id, prompt.index, prompt.text, prompt.ids, prompt.answer, prompt.other_answers,
          prompt.verify, prompt.task, prompt.difficulty, prompt.max_completion_length,
          prompt.is_chat, prompt.source, prompt.round, prompt.baseline, prompt.target_length,
          prompt.row);
}

template <class Archive, FieldsOf<Response> T>
void fields(Archive& archive, T& one) {
  archive(one.sample, one.text, one.ids, one.logprobs, one.sampled_logprobs, one.plain_logprobs,
          one.top_logprobs, one.forced, one.assumed, one.branch, one.finish_reason, one.flags,
          one.num_tokens, one.raw_num_tokens, one.think, one.answer_span, one.first_correct,
          one.correct, one.sampled_correct, one.versions);
  archive(one.rewards, one.reward, one.advantage, one.token_advantages, one.token_bonus,
          one.transforms, one.masked, one.left_out, one.left_out_in_batch, one.elsewhere,
          one.mean_logprob_there, one.explain, one.row);
}

template <class Archive, FieldsOf<Group> T>
void fields(Archive& archive, T& group) {
  archive(group.id, group.step, group.prompt, group.responses, group.dropped, group.role,
          group.greedy_reward, group.rank);
}

template <class Archive, FieldsOf<SentResponse> T>
void fields(Archive& archive, T& sent) {
  archive(sent.place, sent.prompt_ids, sent.response);
}

namespace {

void check(const Response& response, const std::string& what) {
  if (response.finish_reason > FinishReason::aborted)
    fail_run(what, ": finish reason ", static_cast<int>(response.finish_reason), " is not known");
}

}  // namespace

Group numbers_of(const Group& group) {
  Group out;
  out.id = group.id;
  out.step = group.step;
  out.prompt.id = group.prompt.id;
  out.prompt.index = group.prompt.index;
  out.prompt.task = group.prompt.task;
  out.prompt.difficulty = group.prompt.difficulty;
  out.prompt.source = group.prompt.source;
  out.dropped = group.dropped;
  out.role = group.role;
  out.greedy_reward = group.greedy_reward;
  out.rank = group.rank;
  for (const Response& whole : group.responses) {
    Response& one = out.responses.emplace_back();
    one.elsewhere = true;
    one.mean_logprob_there = mean_logprob(whole);
    one.sample = whole.sample;
    one.forced = whole.forced;
    one.branch = whole.branch;
    one.finish_reason = whole.finish_reason;
    one.flags = whole.flags;
    one.num_tokens = whole.num_tokens;
    one.raw_num_tokens = whole.raw_num_tokens;
    one.think = whole.think;
    one.answer_span = whole.answer_span;
    one.first_correct = whole.first_correct;
    one.correct = whole.correct;
    one.sampled_correct = whole.sampled_correct;
    one.versions = whole.versions;
    one.rewards = whole.rewards;
    one.reward = whole.reward;
    one.advantage = whole.advantage;
    one.transforms = whole.transforms;
    one.masked = whole.masked;
    one.left_out = whole.left_out;
    one.left_out_in_batch = whole.left_out_in_batch;
  }
  return out;
}

std::string bytes_of_groups(const std::vector<Group>& groups) { return bytes_of(groups); }

std::vector<Group> groups_from_bytes(std::string_view bytes, const std::string& what) {
  auto groups = from_bytes<std::vector<Group>>(bytes, what);
  for (const Group& group : groups)
    for (const Response& response : group.responses) check(response, what);
  return groups;
}

std::string bytes_of_responses(const std::vector<SentResponse>& responses) {
  return bytes_of(responses);
}

std::vector<SentResponse> responses_from_bytes(std::string_view bytes, const std::string& what) {
  auto responses = from_bytes<std::vector<SentResponse>>(bytes, what);
  for (const SentResponse& one : responses) check(one.response, what);
  return responses;
}

}  // namespace vernier
