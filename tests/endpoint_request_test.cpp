// Requests in OpenAI's shape: every field, what is wrong with it, and what is said then.
#include <doctest/doctest.h>

#include "rollout/endpoint/api_error.h"
#include "rollout/endpoint/request.h"
#include "tests/testing.h"

namespace vernier {
namespace {

const ApiLimits kLimits = {
    .model = "tiny", .vocabulary = 100, .max_completion_length = 50, .choices = 8};

ApiRequest read(const std::string& body, bool chat = false) {
  return read_api_request(parse_json(body, "body"), chat, kLimits);
}

// The body of a request with `fields` beside what it must have.
std::string body_of(bool chat, const std::string& fields) {
  const char* asked = chat ? R"("messages":[{"role":"user","content":"1"}])" : R"("prompt":"1")";
  return cat("{", asked, fields.empty() ? "" : ",", fields, "}");
}

// Field and message of the error.
std::string refusal(const std::string& body, bool chat = false) {
  try {
    read(body, chat);
  } catch (const ApiError& problem) {
    return cat(problem.status, " ", problem.param, " | ", problem.what());
  }
  return "";
}

TEST_CASE("a completion request with nothing but a prompt has OpenAI's defaults") {
  const ApiRequest request = read(R"({"prompt":"1+2=","model":"tiny"})");
  CHECK(request.prompts.size() == 1);
  CHECK(request.prompts[0].text == "1+2=");
  CHECK(*request.max_tokens == 16);
  CHECK(!request.seed);
  CHECK(!request.stream);
  CHECK(!request.logprobs);
  CHECK(request.rollout.num_generations == 1);
  CHECK(request.rollout.sampling.temperature == 1);
  CHECK(request.rollout.sampling.top_p == 1);
  CHECK(read(body_of(true, ""), true).max_tokens == std::nullopt);
}

TEST_CASE("every field of a completion request arrives") {
  const ApiRequest request = read(R"({"prompt":[[1,2],"a",[99]],"max_tokens":20,"temperature":0.5,
    "top_p":0.9,"top_k":5,"min_p":0.1,"repetition_penalty":1.2,"n":2,"stream":true,
    "stream_options":{"include_usage":true},"stop":["x","yz"],"seed":-3,"logprobs":4,
    "logit_bias":{"7":-100,"8":1.5},"stop_token_ids":[3],"ignore_eos":true,
    "return_token_ids":true,"add_special_tokens":false,"think_start":"<","think_end":">",
    "thinking_budget":9})");
  REQUIRE(request.prompts.size() == 3);
  CHECK(request.prompts[0].ids == std::vector<int32_t>{1, 2});
  CHECK(request.prompts[1].is_text);
  CHECK(!request.prompts[2].is_text);
  CHECK(*request.max_tokens == 20);
  CHECK(request.rollout.sampling.temperature == 0.5);
  CHECK(request.rollout.sampling.top_p == 0.9);
  CHECK(request.rollout.sampling.top_k == 5);
  CHECK(request.rollout.sampling.min_p == 0.1);
  CHECK(request.rollout.sampling.repetition_penalty == 1.2);
  CHECK(request.rollout.sampling.logit_bias == std::map<int64_t, double>{{7, -100}, {8, 1.5}});
  CHECK(request.rollout.num_generations == 2);
  CHECK(request.stream);
  CHECK(request.include_usage);
  CHECK(request.rollout.ending.stop == std::vector<std::string>{"x", "yz"});
  CHECK(*request.seed == static_cast<uint64_t>(-3));
  CHECK(request.logprobs);
  CHECK(request.rollout.top_logprobs == 4);
  CHECK(request.rollout.ending.stop_token_ids == std::vector<int64_t>{3});
  CHECK(request.rollout.ignore_eos);
  CHECK(request.return_token_ids);
  CHECK(!request.add_special_tokens);
  CHECK(request.rollout.think_start == "<");
  CHECK(request.rollout.think_end == ">");
  CHECK(request.rollout.ending.thinking_budget == 9);
}

TEST_CASE("messages are texts, or lists of parts that are texts") {
  const ApiRequest request =
      read(R"({"messages":[{"role":"system","content":"a"},{"role":"user","content":
      [{"type":"text","text":"b"},{"type":"text","text":"c"}],"tool_calls":[],"name":null}],
      "max_completion_tokens":5,"logprobs":true,"top_logprobs":3})",
           true);
  REQUIRE(request.messages.size() == 2);
  CHECK(request.messages[0].role == "system");
  CHECK(request.messages[1].content == "bc");
  CHECK(*request.max_tokens == 5);
  CHECK(request.logprobs);
  CHECK(request.rollout.top_logprobs == 3);
}

TEST_CASE("fields that ask for nothing are taken") {
  const std::string both = R"("presence_penalty":0,"frequency_penalty":0.0,"user":"me",
    "metadata":{"a":"b"},"seed":null,"stop":null,"top_k":-1,"logit_bias":{},"max_tokens":5.0)";
  CHECK(refusal(body_of(false, cat(both, R"(,"echo":false,"suffix":null,"best_of":1)"))) == "");
  CHECK(refusal(body_of(true, cat(both, R"(,"store":false,"tools":[],"tool_choice":"none",
    "response_format":{"type":"text"},"audio":null,"max_completion_tokens":5)")),
                true) == "");
}

TEST_CASE("what is wrong with a field names it, what was found and what is allowed") {
  const auto check = [](bool chat, const std::string& fields, const std::string& wanted) {
    CAPTURE(fields);
    CHECK(refusal(body_of(chat, fields), chat) == "400 " + wanted);
  };
  check(false, R"("max_tokens":0)",
        "max_tokens | max_tokens: 0 is outside the allowed range, 1 to 50");
  check(false, R"("max_tokens":51)",
        "max_tokens | max_tokens: 51 is outside the allowed range, 1 to 50");
  check(false, R"("max_tokens":1.5)", "max_tokens | max_tokens: 1.5 is not a whole number");
  check(false, R"("seed":18446744073709551615)",
        "seed | seed: 18446744073709551615 is outside the allowed range, -9223372036854775808 to "
        "9223372036854775807");
  check(false, R"("temperature":"hot")", "temperature | temperature: \"hot\" is not a number");
  check(false, R"("temperature":-1)",
        "temperature | temperature: -1 is outside the allowed range, 0 to 100");
  check(false, R"("temperature":1e-9)",
        "temperature | temperature: 1e-09 is neither 0 (the most probable token) nor at least "
        "0.001");
  check(false, R"("top_p":0)", "top_p | top_p: 0 is outside the allowed range, 1e-06 to 1");
  check(false, R"("n":9)", "n | n: 9 is outside the allowed range, 1 to 8");
  check(false, R"("stream":1)", "stream | stream: 1 is neither true nor false");
  check(false, R"("stream_options":{})",
        "stream_options | stream_options: has no effect without stream = true");
  check(false, R"("stream":true,"stream_options":{"include_usge":true})",
        "include_usge | include_usge: unknown field (did you mean include_usage?)");
  check(false, R"("stop":["a",""])",
        "stop | stop: \"\" is empty; allowed are texts of one byte or more");
  check(false, R"("stop":[1])", "stop | stop: 1 is not a text; it is one text, or a list of them");
  check(false, R"("logprobs":21)", "logprobs | logprobs: 21 is outside the allowed range, 0 to 20");
  check(false, R"("logprobs":true)", "logprobs | logprobs: true is not a whole number");
  check(true, R"("logprobs":1)", "logprobs | logprobs: 1 is neither true nor false");
  check(true, R"("top_logprobs":2)",
        "top_logprobs | top_logprobs: 2 has no effect without logprobs = true");
  check(false, R"("logit_bias":{"x":1})",
        "logit_bias | logit_bias: 'x' is not a token id, 0 to 99");
  check(false, R"("logit_bias":{"100":1})",
        "logit_bias | logit_bias: '100' is not a token id, 0 to 99");
  check(false, R"("logit_bias":{"1":101})",
        "logit_bias | logit_bias: of 1: 101 is outside the allowed range, -100 to 100");
  check(false, R"("stop_token_ids":[100])",
        "stop_token_ids | stop_token_ids: 100 is outside the allowed range, 0 to 99");
  check(false, R"("thinking_budget":3)",
        "thinking_budget | thinking_budget: has no effect without think_end");
  check(true, R"("max_tokens":3,"max_completion_tokens":4)",
        "max_completion_tokens | max_completion_tokens: 4 contradicts 3 of another name of the "
        "same limit");
  check(false, R"("max_tokns":3)",
        "max_tokns | max_tokns: unknown field (did you mean max_tokens?)");
  check(false, R"("messages":[])", "messages | messages: unknown field");
}

TEST_CASE("what Vernier does not have is refused, not ignored") {
  const auto check = [](bool chat, const std::string& field, const std::string& value) {
    CAPTURE(field);
    const std::string found = refusal(body_of(chat, cat("\"", field, "\":", value)), chat);
    CHECK(found.starts_with(cat("400 ", field, " | ", field, ": ")));
    CHECK(found.find("is not supported; allowed is ") != std::string::npos);
  };
  check(false, "echo", "true");
  check(false, "suffix", "\"x\"");
  check(false, "best_of", "2");
  check(false, "presence_penalty", "0.5");
  check(true, "frequency_penalty", "-0.5");
  check(true, "tools", R"([{"type":"function"}])");
  check(true, "response_format", R"({"type":"json_object"})");
  check(true, "store", "true");
  check(true, "audio", "{}");
  check(true, "modalities", R"(["text","audio"])");
  check(true, "reasoning_effort", "\"low\"");
}

TEST_CASE("prompts and messages that are none") {
  const auto check = [](bool chat, const std::string& body, const std::string& wanted) {
    CAPTURE(body);
    CHECK(refusal(body, chat).find(wanted) != std::string::npos);
  };
  check(false, "[]", "400  | the body is [], not a JSON object");
  check(false, "{}", "prompt: is missing");
  for (const char* bad : {"7", "[]", "{}", "true"})
    check(false, cat("{\"prompt\":", bad, "}"), "is not a text, a list of token ids");
  check(false, R"({"prompt":""})", "prompt: is empty");
  check(false, R"({"prompt":["a",[]]})", "prompt: entry 1 is empty");
  check(false, R"({"prompt":[1,"a"]})", "prompt: \"a\" is not a whole number");
  check(false, R"({"prompt":[1,100]})", "prompt: 100 is outside the allowed range, 0 to 99");
  check(false, R"({"prompt":["a",{}]})", "prompt: entry 1, {}, is neither");
  check(false, R"({"prompt":["a","b","c"],"n":3})", "n: 3 prompts with n = 3 are more than the 8");
  check(false, R"({"prompt":"a","model":"other"})",
        "404 model | model: 'other' is not here; this endpoint serves 'tiny'");
  check(true, "{}", "messages: is missing");
  check(true, R"({"messages":[]})", "messages: [] is not such a list");
  check(true, R"({"messages":[{"role":"user"}]})", "messages[0]: content is missing");
  check(true, R"({"messages":[{"content":"a"}]})", "messages[0]: role is missing");
  check(true, R"({"messages":[{"role":"user","content":[{"type":"image_url","image_url":{}}]}]})",
        "messages[0].content: {\"type\":\"image_url\",\"image_url\":{}} is not supported");
  check(true, R"({"messages":[{"role":"user","content":"a","nme":"b"}]})",
        "messages[0].nme: unknown field (did you mean name?)");
}

}  // namespace
}  // namespace vernier
