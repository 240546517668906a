// The endpoint with a small model, over real sockets.
#include "rollout/endpoint/endpoint.h"

#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <thread>

#include "rollout/endpoint/http_server.h"
#include "rollout/engine.h"
#include "tests/socket_client.h"
#include "tests/testing.h"
#include "tests/tiny_model.h"

namespace vernier {
namespace {

using testing::comes_true;
using testing::post;
using testing::SocketClient;
using testing::tiny_model;

struct Asked {
  int64_t positions = 512, max_running = 4, max_queue = 4;
  std::string token = {};
};

class TestEndpoint {
 public:
  explicit TestEndpoint(const Asked& asked = {})
      : model(tiny_model(false, 3, asked.positions)),
        server_({}),
        service_(*model.decoder, *model.tokenizer, config_of(asked)),
        endpoint_({.model_name = "tiny",
                   .token = asked.token,
                   .chat_format = {.name = "none"},
                   .max_completion_length = asked.positions - 1,
                   .weight_version = 6},
                  *model.tokenizer, model.decoder->spec(), service_),
        port(server_.listen("127.0.0.1", 0)),
        thread_([this] { server_.run(endpoint_.handlers(), false); }) {}
  ~TestEndpoint() {
    server_.stop();
    thread_.join();
  }

  static ServiceConfig config_of(const Asked& asked) {
    ServiceConfig config{.engine = {}, .max_queue = asked.max_queue, .weight_version = 6};
    config.engine.max_running = asked.max_running;
    config.engine.max_completion_length = asked.positions - 1;
    return config;
  }
  std::string ask(const std::string& request) const {
    SocketClient client(port);
    client.send(request);
    return client.receive();
  }
  // The body of a completion, as JSON.
  Json complete(const std::string& fields, const std::string& route = "/v1/completions") const {
    const std::string found = ask(post(route, cat("{", fields, "}"), "Connection: close\r\n"));
    return Json::parse(found.substr(found.find("\r\n\r\n") + 4));
  }
  int64_t metric(const std::string& name) const {
    const std::string text = ask("GET /metrics HTTP/1.1\r\nConnection: close\r\n\r\n");
    const size_t at = text.find(cat("\n", name, " "));
    REQUIRE(at != std::string::npos);
    return std::stoll(text.substr(at + name.size() + 2));
  }

  Model model;

 private:
  HttpServer server_;
  Service service_;
  Endpoint endpoint_;

 public:
  const int port;

 private:
  std::thread thread_;
};

// The chunks of a stream.
std::vector<Json> chunks_of(const std::string& answer) {
  std::vector<Json> out;
  for (size_t at = answer.find("data: {"); at != std::string::npos;
       at = answer.find("data: {", at + 1))
    out.push_back(Json::parse(answer.substr(at + 6, answer.find("\n\n", at) - at - 6)));
  return out;
}

TEST_CASE("the endpoint answers what the engine draws, alone or in a crowd, whole or streamed") {
  const TestEndpoint endpoint({.max_running = 16, .max_queue = 100});
  const std::string fields =
      R"("prompt":"1+2=","max_tokens":40,"seed":9,"logprobs":2,"return_token_ids":true,"n":2)";
  const Json alone = endpoint.complete(fields);
  CHECK(alone["weight_version"] == 6);
  CHECK(alone["seed"] == 9);
  REQUIRE(alone["choices"].size() == 2);
  // The same by the engine itself.
  Engine engine(*endpoint.model.decoder, *endpoint.model.tokenizer);
  RolloutConfig config;
  config.num_generations = 2;
  config.max_completion_length = 40;
  Prompt prompt;
  prompt.ids = endpoint.model.tokenizer->encode("1+2=");
  engine.generate({prompt}, config, {.seed = 9, .step = 0}, 6, nullptr, [&](Group&& group) {
    for (size_t i = 0; i < 2; ++i) {
      const Response& want = group.responses[i];
      const Json& found = alone["choices"][i];
      CHECK(found["token_ids"] == Json(want.ids));
      CHECK(found["logprobs"]["token_logprobs"] == Json(want.logprobs));
      const bool stopped = want.finish_reason == FinishReason::stop;
      CHECK(found["text"].get<std::string>() + (stopped ? "." : "") == want.text);
      CHECK(found["finish_reason"] == name_of(want.finish_reason));
    }
  });
  std::vector<std::thread> crowd;
  std::vector<Json> found(24);
  for (size_t i = 0; i < found.size(); ++i)
    crowd.emplace_back([&, i] {
      found[i] = endpoint.complete(i % 3 > 0 ? R"("prompt":"7","max_tokens":60)" : fields);
    });
  for (std::thread& one : crowd) one.join();
  for (size_t i = 0; i < found.size(); ++i)
    if (i % 3 == 0) CHECK(found[i]["choices"] == alone["choices"]);
  std::array<std::string, 2> texts;
  std::array<Json, 2> ids = {Json::array(), Json::array()}, logprobs = ids;
  const std::string streamed = endpoint.ask(
      post("/v1/completions", cat("{", fields, R"(,"stream":true})"), "Connection: close\r\n"));
  CHECK(streamed.find("Content-Type: text/event-stream\r\n") != std::string::npos);
  CHECK(streamed.find("data: [DONE]\n\n") != std::string::npos);
  for (const Json& chunk : chunks_of(streamed))
    for (const Json& choice : chunk["choices"]) {
      const auto i = choice["index"].get<size_t>();
      texts[i] += choice["text"].get<std::string>();
      ids[i].insert(ids[i].end(), choice["token_ids"].begin(), choice["token_ids"].end());
      const Json& values = choice["logprobs"]["token_logprobs"];
      logprobs[i].insert(logprobs[i].end(), values.begin(), values.end());
    }
  for (size_t i = 0; i < 2; ++i) {
    CHECK(texts[i] == alone["choices"][i]["text"]);
    CHECK(ids[i] == alone["choices"][i]["token_ids"]);
    CHECK(logprobs[i] == alone["choices"][i]["logprobs"]["token_logprobs"]);
  }
  CHECK(endpoint.metric("vernier_responses_open") == 0);
}

TEST_CASE("several prompts, chat, and what is refused") {
  const TestEndpoint endpoint({.max_queue = 20});
  const Json many =
      endpoint.complete(R"("prompt":["1","2"],"n":2,"max_tokens":2,"ignore_eos":true)");
  REQUIRE(many["choices"].size() == 4);
  for (size_t i = 0; i < 4; ++i) CHECK(many["choices"][i]["index"] == i);
  CHECK(many["usage"]["completion_tokens"] == 8);
  const Json chat = endpoint.complete(
      R"("messages":[{"role":"user","content":"1+1="}],"max_tokens":3)", "/v1/chat/completions");
  CHECK(chat["choices"][0]["message"]["role"] == "assistant");
  const Json thought = endpoint.complete(
      R"("prompt":"1+1=","max_tokens":8,"think_end":"#","thinking_budget":2,"return_token_ids":true,)"
      R"("ignore_eos":true,"logit_bias":{"20":-100})");
  INFO(thought.dump());
  const Json& choice = thought["choices"][0];
  CHECK(choice["flags"] == Json::array({"thinking_budget"}));
  CHECK(choice["forced"] == Json::array({2}));
  CHECK(choice["token_ids"][2] == *endpoint.model.tokenizer->id_of("#"));
  const auto message = [&](const std::string& fields) {
    return endpoint.complete(fields)["error"]["message"].get<std::string>();
  };
  CHECK(message(R"("prompt":"1","max_tokens":512)") ==
        "max_tokens: 512 is outside the allowed range, 1 to 511");
  CHECK(message(cat(R"("prompt":")", std::string(500, '1'), "\"")) ==
        "prompt: its 500 tokens and max_tokens = 16 do not fit the model's 512 positions");
  CHECK(message(R"("prompt":"1","think_end":"#","thinking_budget":16)") ==
        "thinking_budget: 16 has no effect: the response has room for 16 tokens");
  CHECK(message(R"("prompt":"é")").starts_with("prompt: "));
  CHECK(message(R"("prompt":"1","think_end":"nope","thinking_budget":3)").find("think_end") !=
        std::string::npos);
  CHECK(message(R"("prompt":"1)").starts_with("body: not JSON: "));
  CHECK(message("\"prompt\":\"\xff\"").starts_with("body: not JSON: "));
  CHECK(endpoint.ask("GET /v1/completions HTTP/1.1\r\n\r\n").find("405") != std::string::npos);
  CHECK(endpoint.ask("OPTIONS /v1/completions HTTP/1.1\r\n\r\n").find("Allow: POST") !=
        std::string::npos);
  CHECK(endpoint.ask("GET /nothing HTTP/1.1\r\n\r\n").find("no such route: /nothing") !=
        std::string::npos);
  const std::string models = endpoint.ask("GET /v1/models/tiny HTTP/1.0\r\n\r\n");
  CHECK(models.find(R"("id":"tiny","object":"model")") != std::string::npos);
  CHECK(endpoint.ask("GET /v1/models/big HTTP/1.0\r\n\r\n").find("404") != std::string::npos);
}

TEST_CASE("a full queue is said so, and who leaves makes room") {
  const TestEndpoint endpoint({.positions = 30'000, .max_running = 2, .max_queue = 2});
  const auto request = [](bool stream) {
    return post(
        "/v1/completions",
        cat(R"({"prompt":"1","max_tokens":29000,"ignore_eos":true,"stream":)", stream, "}"));
  };
  std::vector<std::unique_ptr<SocketClient>> clients;
  for (int i = 0; i < 4; ++i) {
    clients.push_back(std::make_unique<SocketClient>(endpoint.port));
    clients.back()->send(request(i % 2 == 0));
  }
  CHECK(comes_true([&] { return endpoint.metric("vernier_responses_running") == 2; }));
  CHECK(comes_true([&] { return endpoint.metric("vernier_responses_open") == 4; }));
  SocketClient fifth(endpoint.port);
  fifth.send(request(false));
  const std::string full = fifth.receive("}}");
  CHECK(full.find("429 Too Many Requests") != std::string::npos);
  CHECK(full.find("Retry-After: 1") != std::string::npos);
  CHECK(full.find("the queue is full: 4 responses run and wait already") != std::string::npos);
  for (const auto& client : clients) client->close();
  CHECK(comes_true([&] { return endpoint.metric("vernier_responses_open") == 0; }));
  CHECK(comes_true([&] { return endpoint.metric("vernier_responses_running") == 0; }));
  CHECK(endpoint.metric("vernier_cancelled_total") == 4);
  CHECK(endpoint.complete(R"("prompt":"1","max_tokens":3)")["choices"].size() == 1);
}

TEST_CASE("with a token, every route but /health asks for it") {
  const TestEndpoint endpoint({.token = "secret"});
  const auto with = [&](const std::string& route, const std::string& header) {
    const std::string found =
        endpoint.ask(cat("GET ", route, " HTTP/1.1\r\n", header, header.empty() ? "" : "\r\n",
                         "Connection: close\r\n\r\n"));
    return std::stoi(found.substr(9, 3));
  };
  CHECK(with("/health", "") == 200);
  for (const char* route :
       {"/metrics", "/v1/models", "/v1/completions", "/v1/chat/completions", "/no"}) {
    CAPTURE(route);
    CHECK(with(route, "") == 401);
    for (const char* wrong : {"secre", "secret2", "Secret", ""})
      CHECK(with(route, cat("Authorization: Bearer ", wrong)) == 401);
    CHECK(with(route, "Authorization: Basic secret") == 401);
  }
  CHECK(with("/metrics", "Authorization: Bearer secret") == 200);
  CHECK(with("/v1/models", "authorization: bearer secret") == 200);
  CHECK(with("/no", "Authorization: Bearer secret") == 404);
}

TEST_CASE("weights that give no numbers fail the requests, not the endpoint") {
  TestEndpoint endpoint;
  endpoint.model.decoder->weights().mul_(std::nan(""));
  endpoint.model.decoder->weights_changed();
  for (int i = 0; i < 2; ++i)
    CHECK(endpoint.complete(R"("prompt":"1")")["error"]["message"].get<std::string>().find(
              "logits are not finite") != std::string::npos);
  CHECK(endpoint.metric("vernier_responses_open") == 0);
}

}  // namespace
}  // namespace vernier
