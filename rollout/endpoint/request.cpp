#include "rollout/endpoint/request.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "rollout/endpoint/api_error.h"
#include "rollout/endpoint/fields.h"

namespace vernier {
namespace {

constexpr int64_t kMostAlternatives = 20;   // OpenAI's bound of top_logprobs
constexpr size_t kMostStops = 16;           // every byte of an answer is compared with all of them
constexpr int64_t kDefaultCompletion = 16;  // OpenAI's max_tokens of /v1/completions

void read_model(Fields& fields, const ApiLimits& limits) {
  const auto name = fields.text("model");
  if (name && *name != limits.model)
    throw ApiError(
        404, cat("model: '", *name, "' is not here; this endpoint serves '", limits.model, "'"),
        "model", "model_not_found");
}

ApiPrompt ids_of(const Json& list, const ApiLimits& limits) {
  ApiPrompt prompt;
  prompt.is_text = false;
  for (const Json& id : list)
    prompt.ids.push_back(static_cast<int32_t>(integer_of(id, "prompt", 0, limits.vocabulary - 1)));
  return prompt;
}

std::vector<ApiPrompt> read_prompts(Fields& fields, const ApiLimits& limits) {
  const Json* value = fields.find("prompt");
  if (value == nullptr)
    refuse_field("prompt", "is missing; it is a text, a list of token ids, or a list of either");
  std::vector<ApiPrompt> out;
  const auto text_of = [](const Json& text) {
    return ApiPrompt{.text = text.get<std::string>(), .ids = {}};
  };
  if (value->is_string()) {
    out.push_back(text_of(*value));
  } else if (value->is_array() && !value->empty() && value->front().is_number()) {
    out.push_back(ids_of(*value, limits));
  } else if (value->is_array() && !value->empty()) {
    for (const Json& entry : *value) {
      if (!entry.is_string() && !entry.is_array())
        refuse_field("prompt", cat("entry ", out.size(), ", ", shown(entry),
                                   ", is neither a text nor a list of token ids"));
      out.push_back(entry.is_string() ? text_of(entry) : ids_of(entry, limits));
    }
  } else {
    refuse_field("prompt",
                 cat(shown(*value), " is not a text, a list of token ids, or a list of either"));
  }
  for (size_t i = 0; i < out.size(); ++i)
    if (out[i].text.empty() && out[i].ids.empty())
      refuse_field("prompt",
                   out.size() == 1 ? std::string("is empty") : cat("entry ", i, " is empty"));
  return out;
}

// A content as text: itself, or the texts of its parts one after the other.
std::string content_of(const Json& content, const std::string& where) {
  if (content.is_string()) return content.get<std::string>();
  if (!content.is_array())
    refuse_field("messages", cat(where, ".content: ", shown(content),
                                 " is neither a text nor a list of parts of type text"));
  std::string out;
  for (const Json& part : content) {
    if (!part.is_object() || part.size() != 2 || part.value("type", Json()) != "text" ||
        !part.value("text", Json()).is_string())
      refuse_field("messages", cat(where, ".content: ", shown(part),
                                   " is not supported; a part is {\"type\": \"text\", \"text\": "
                                   "TEXT}"));
    out += part["text"].get<std::string>();
  }
  return out;
}

std::vector<ChatMessage> read_messages(Fields& fields) {
  const Json* value = fields.find("messages");
  if (value == nullptr || !value->is_array() || value->empty())
    refuse_field("messages",
                 cat(value == nullptr ? "is missing" : shown(*value) + " is not such a list",
                     "; it is a list of {\"role\": ROLE, \"content\": TEXT}, one or more"));
  std::vector<ChatMessage> out;
  for (const Json& entry : *value) {
    const std::string where = cat("messages[", out.size(), "]");
    if (!entry.is_object())
      refuse_field("messages", cat(where, ": ", shown(entry), " is no object"));
    Fields message(entry);
    const auto role = message.text("role");
    const Json* content = message.find("content");
    if (!role || content == nullptr)
      refuse_field("messages", cat(where, ": ", role ? "content" : "role", " is missing"));
    out.push_back({*role, content_of(*content, where)});
    for (const char* name : {"name", "refusal", "audio", "function_call", "tool_call_id"})
      message.only(name, nullptr);
    message.only("tool_calls", Json::array());
    try {
      message.close();
    } catch (const ApiError& problem) {
      refuse_field("messages", cat(where, ".", problem.what()));
    }
  }
  return out;
}

void read_sampling(Fields& fields, const ApiLimits& limits, SamplingParams& sampling) {
  sampling.temperature = fields.number("temperature", 0, 100).value_or(1);
  if (const std::string problem = temperature_problem(sampling.temperature); !problem.empty())
    refuse_field("temperature", problem);
  sampling.top_p = fields.number("top_p", 1e-6, 1).value_or(1);
  sampling.min_p = fields.number("min_p", 0, 1).value_or(0);
  // -1 is vLLM's word for all.
  sampling.top_k = std::max<int64_t>(0, fields.integer("top_k", -1, 1 << 24).value_or(0));
  sampling.repetition_penalty = fields.number("repetition_penalty", 0.01, 100).value_or(1);
  const Json* biases = fields.find("logit_bias");
  if (biases == nullptr) return;
  if (!biases->is_object())
    refuse_field("logit_bias", cat(shown(*biases), " is not an object from token ids to numbers"));
  for (const auto& [key, bias] : biases->items()) {
    int64_t id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size() || id < 0 || id >= limits.vocabulary)
      refuse_field("logit_bias",
                   cat("'", key, "' is not a token id, 0 to ", limits.vocabulary - 1));
    if (!bias.is_number() || !(std::abs(bias.get<double>()) <= 100))
      refuse_field("logit_bias", cat("of ", key, ": ", shown(bias),
                                     " is outside the allowed range, -100 to 100"));
    sampling.logit_bias[id] = bias.get<double>();
  }
}

void read_ending(Fields& fields, const ApiLimits& limits, RolloutConfig& rollout) {
  rollout.ending.stop = fields.texts("stop", kMostStops);
  rollout.ending.stop_token_ids = fields.integers("stop_token_ids", 0, limits.vocabulary - 1);
  rollout.ignore_eos = fields.flag("ignore_eos", false);
  rollout.think_start = fields.text("think_start").value_or("");
  rollout.think_end = fields.text("think_end").value_or("");
  if (!rollout.think_start.empty() && rollout.think_end.empty())
    refuse_field("think_start", "has no effect without think_end");
  const auto budget = fields.integer("thinking_budget", 1, 1 << 24);
  if (budget && rollout.think_end.empty())
    refuse_field("thinking_budget", "has no effect without think_end");
  rollout.ending.thinking_budget = budget.value_or(0);
}

void read_length(Fields& fields, const ApiLimits& limits, ApiRequest& request) {
  request.max_tokens = fields.integer("max_tokens", 1, limits.max_completion_length);
  for (const char* alias : {"max_completion_tokens", "max_completion_length"}) {
    const auto value = fields.integer(alias, 1, limits.max_completion_length);
    if (!value) continue;
    if (request.max_tokens && *request.max_tokens != *value)
      refuse_field(alias, cat(*value, " contradicts ", *request.max_tokens,
                              " of another name of the same limit"));
    request.max_tokens = value;
  }
  if (!request.max_tokens && !request.chat)
    request.max_tokens = std::min(kDefaultCompletion, limits.max_completion_length);
}

void read_logprobs(Fields& fields, ApiRequest& request) {
  if (!request.chat) {
    const auto count = fields.integer("logprobs", 0, kMostAlternatives);
    request.logprobs = count.has_value();
    request.rollout.top_logprobs = count.value_or(0);
    return;
  }
  request.logprobs = fields.flag("logprobs", false);
  const auto count = fields.integer("top_logprobs", 0, kMostAlternatives);
  if (count.value_or(0) > 0 && !request.logprobs)
    refuse_field("top_logprobs", cat(*count, " has no effect without logprobs = true"));
  request.rollout.top_logprobs = count.value_or(0);
}

void read_stream(Fields& fields, ApiRequest& request) {
  request.stream = fields.flag("stream", false);
  const Json* options = fields.find("stream_options");
  if (options == nullptr) return;
  if (!request.stream) refuse_field("stream_options", "has no effect without stream = true");
  if (!options->is_object()) refuse_field("stream_options", cat(shown(*options), " is no object"));
  Fields inner(*options);
  request.include_usage = inner.flag("include_usage", false);
  inner.only("include_obfuscation", false);
  inner.close();
}

// OpenAI's fields that Vernier has nothing for. At these values they ask for nothing.
void read_the_rest(Fields& fields, ApiRequest& request) {
  fields.only("presence_penalty", 0);
  fields.only("frequency_penalty", 0);
  for (const char* name : {"user", "metadata", "safety_identifier", "prompt_cache_key"})
    fields.without_effect(name);
  if (!request.chat) {
    fields.only("echo", false);
    fields.only("suffix", "");
    fields.only("best_of", request.rollout.num_generations);
    return;
  }
  fields.only("store", false);
  fields.only("tools", Json::array());
  fields.only("functions", Json::array());
  fields.only("tool_choice", "none");
  fields.only("function_call", "none");
  fields.only("response_format", Json{{"type", "text"}});
  fields.only("modalities", Json::array({"text"}));
  fields.only("service_tier", "auto");
  for (const char* name : {"audio", "prediction", "reasoning_effort", "verbosity",
                           "web_search_options", "parallel_tool_calls"})
    fields.only(name, nullptr);
}

}  // namespace

ApiRequest read_api_request(const Json& body, bool chat, const ApiLimits& limits) {
  if (!body.is_object())
    throw ApiError(400, cat("the body is ", shown(body), ", not a JSON object"));
  Fields fields(body);
  ApiRequest request;
  request.chat = chat;
  read_model(fields, limits);
  if (chat) {
    request.messages = read_messages(fields);
  } else {
    request.prompts = read_prompts(fields, limits);
    request.add_special_tokens = fields.flag("add_special_tokens", true);
  }
  const auto prompts = std::max<int64_t>(1, std::ssize(request.prompts));
  request.rollout.num_generations = fields.integer("n", 1, limits.choices).value_or(1);
  if (prompts * request.rollout.num_generations > limits.choices)
    refuse_field("n", cat(prompts, " prompts with n = ", request.rollout.num_generations,
                          " are more than the ", limits.choices,
                          " responses that run and wait here at once"));
  read_sampling(fields, limits, request.rollout.sampling);
  read_ending(fields, limits, request.rollout);
  read_length(fields, limits, request);
  read_logprobs(fields, request);
  read_stream(fields, request);
  if (const auto seed = fields.integer("seed", INT64_MIN, INT64_MAX))
    request.seed = static_cast<uint64_t>(*seed);
  request.return_token_ids = fields.flag("return_token_ids", false);
  read_the_rest(fields, request);
  fields.close();
  return request;
}

}  // namespace vernier
