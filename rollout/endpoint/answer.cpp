#include "rollout/endpoint/answer.h"

#include <algorithm>

namespace vernier {
namespace {

// A token as a text: what it stands for, or its bytes where those are no text alone.
std::string token_text(const std::string& bytes) {
  if (is_utf8(bytes)) return bytes;
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out = "bytes:";
  for (const char byte : bytes) {
    const auto value = static_cast<unsigned char>(byte);
    out += "\\x";
    out += kDigits[value / 16];
    out += kDigits[value % 16];
  }
  return out;
}

Json chat_logprob(const std::string& bytes, float logprob) {
  Json list = Json::array();
  for (const char byte : bytes) list.push_back(static_cast<unsigned char>(byte));
  Json out;
  out["token"] = token_text(bytes);
  out["logprob"] = logprob;
  out["bytes"] = std::move(list);
  return out;
}

// Whether the last token of a response that has ended is what ended it: no part of the text.
bool ended_by_token(const News& progress) {
  return progress.ended && progress.finish_reason == FinishReason::stop &&
         std::none_of(progress.flags.begin(), progress.flags.end(),
                      [](const std::string& flag) { return flag.starts_with("stop:"); });
}

}  // namespace

Answer::Answer(const ApiRequest& request, AnswerHead head,
               std::vector<std::vector<int32_t>> prompt_ids, const TokenPieces& pieces)
    : chat_(request.chat),
      stream_(request.stream),
      include_usage_(request.include_usage),
      logprobs_(request.logprobs),
      ids_(request.return_token_ids),
      alternatives_(request.rollout.top_logprobs),
      n_(request.rollout.num_generations),
      head_(std::move(head)),
      prompt_ids_(std::move(prompt_ids)),
      left_(std::ssize(prompt_ids_) * n_) {
  for (const auto& ids : prompt_ids_) prompt_tokens_ += std::ssize(ids);
  for (int64_t i = 0; i < left_; ++i) {
    choices_.push_back({.stream = TextStream(pieces, request.rollout.ending.stop), .part = {}});
    begin(choices_.back(), i);
  }
}

// An empty part of a choice, in the order in which its fields are written.
void Answer::begin(Choice& choice, int64_t index) const {
  Json part;
  part["index"] = index;
  if (!chat_)
    part["text"] = "";
  else if (!stream_)
    part["message"] = Json{{"role", "assistant"}, {"content", ""}};
  else
    part["delta"] = choice.begun ? Json::object() : Json{{"role", "assistant"}, {"content", ""}};
  part["logprobs"] = nullptr;
  if (logprobs_ && chat_) part["logprobs"] = Json{{"content", Json::array()}, {"refusal", nullptr}};
  if (logprobs_ && !chat_)
    for (const char* name : {"tokens", "token_logprobs", "top_logprobs", "text_offset"})
      part["logprobs"][name] = Json::array();
  part["finish_reason"] = nullptr;
  if (ids_) {
    if (!choice.begun) part["prompt_token_ids"] = prompt_ids_[static_cast<size_t>(index / n_)];
    part["token_ids"] = Json::array();
  }
  choice.part = std::move(part);
}

std::string Answer::add(const News& progress) {
  Choice& choice = choices_[static_cast<size_t>(progress.choice)];
  take_in(choice, progress);
  const std::string text = choice.stream.take();
  if (!chat_)
    choice.part["text"].get_ref<std::string&>() += text;
  else if (!stream_)
    choice.part["message"]["content"].get_ref<std::string&>() += text;
  else if (!text.empty())
    choice.part["delta"]["content"] = text;
  completion_tokens_ += std::ssize(progress.ids);
  if (progress.ended) {
    choice.part["finish_reason"] = name_of(progress.finish_reason);
    choice.part["flags"] = progress.flags;
    if (ids_) choice.part["forced"] = progress.forced;
    --left_;
  }
  if (!stream_) return "";
  const bool silent = text.empty() && !logprobs_ && !ids_ && !progress.ended;
  if (silent && (choice.begun || !chat_)) return "";
  Json chunk = frame(true);
  chunk["choices"] = Json::array({std::move(choice.part)});
  if (include_usage_) chunk["usage"] = nullptr;
  choice.begun = true;
  begin(choice, progress.choice);
  return dump_json(chunk);
}

void Answer::take_in(Choice& choice, const News& progress) {
  const bool hidden = ended_by_token(progress);
  for (size_t i = 0; i < progress.ids.size(); ++i) {
    const bool last = i + 1 == progress.ids.size();
    choice.stream.add(progress.ids[i], !(last && hidden));
    if (logprobs_) add_logprob(choice, progress, i);
    if (ids_) choice.part["token_ids"].push_back(progress.ids[i]);
  }
  if (progress.ended) choice.stream.end();
}

void Answer::add_logprob(Choice& choice, const News& progress, size_t place) const {
  const std::string& bytes = choice.stream.bytes();
  const float logprob = progress.logprobs[place];
  Json& logprobs = choice.part["logprobs"];
  static const std::vector<std::pair<int32_t, float>> kNone;
  const auto& top = alternatives_ > 0 ? progress.top_logprobs[place] : kNone;
  if (chat_) {
    Json entry = chat_logprob(bytes, logprob);
    entry["top_logprobs"] = Json::array();
    for (const auto& [id, other] : top)
      entry["top_logprobs"].push_back(chat_logprob(choice.stream.bytes_of(id), other));
    logprobs["content"].push_back(std::move(entry));
    return;
  }
  logprobs["tokens"].push_back(token_text(bytes));
  logprobs["token_logprobs"].push_back(logprob);
  logprobs["text_offset"].push_back(choice.stream.offset());
  // The drawn token is always among them, as OpenAI has it. Of tokens with one text the most
  // probable stays.
  Json alternatives = Json::object();
  for (const auto& [id, other] : top) {
    const std::string name = token_text(choice.stream.bytes_of(id));
    if (!alternatives.contains(name)) alternatives[name] = other;
  }
  if (const std::string name = token_text(bytes); !alternatives.contains(name))
    alternatives[name] = logprob;
  logprobs["top_logprobs"].push_back(std::move(alternatives));
}

Json Answer::frame(bool chunk) const {
  Json out;
  out["id"] = head_.id;
  out["object"] = !chat_ ? "text_completion" : chunk ? "chat.completion.chunk" : "chat.completion";
  out["created"] = head_.created;
  out["model"] = head_.model;
  out["weight_version"] = head_.weight_version;
  out["seed"] = static_cast<int64_t>(head_.seed);
  return out;
}

Json Answer::usage() const {
  Json out;
  out["prompt_tokens"] = prompt_tokens_;
  out["completion_tokens"] = completion_tokens_;
  out["total_tokens"] = prompt_tokens_ + completion_tokens_;
  return out;
}

std::string Answer::whole() const {
  Json out = frame(false);
  out["choices"] = Json::array();
  for (const Choice& choice : choices_) out["choices"].push_back(choice.part);
  out["usage"] = usage();
  return dump_json(out);
}

std::string Answer::usage_chunk() const {
  if (!include_usage_) return "";
  Json out = frame(true);
  out["choices"] = Json::array();
  out["usage"] = usage();
  return dump_json(out);
}

}  // namespace vernier
