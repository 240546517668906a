#include "rollout/endpoint/endpoint.h"

#include <algorithm>
#include <ctime>

#include "rollout/endpoint/access.h"
#include "rollout/endpoint/api_error.h"
#include "rollout/endpoint/job.h"

namespace vernier {
namespace {

constexpr std::string_view kModel = "/v1/models/";

// What a route is called in the counters, and the methods that it takes; "" where there is none.
struct Route {
  std::string name, methods;
};
Route route_of(const std::string& path) {
  for (const char* post : {"/v1/completions", "/v1/chat/completions"})
    if (path == post) return {path, "POST"};
  for (const char* get : {"/health", "/metrics", "/v1/models"})
    if (path == get) return {path, "GET, HEAD"};
  if (path.starts_with(kModel)) return {"/v1/models/{model}", "GET, HEAD"};
  return {"other", ""};
}

HttpReply error_reply(int status, const std::string& message, const std::string& code = "") {
  return {.status = status, .body = error_body(status, message, "", code)};
}

}  // namespace

Endpoint::Endpoint(EndpointConfig config, const Tokenizer& tokenizer, const ModelSpec& spec,
                   Service& service)
    : config_(std::move(config)),
      tokenizer_(tokenizer),
      spec_(spec),
      service_(service),
      created_(std::time(nullptr)),
      pieces_(tokenizer) {}

Endpoint::~Endpoint() {
  service_.stop();
  thread_.finish();
}

HttpHandlers Endpoint::handlers() {
  return {.refuse = [this](const HttpRequest& request) { return refuse(request); },
          .answer =
              [this](HttpRequest&& request, const std::shared_ptr<Exchange>& exchange) {
                answer(std::move(request), exchange);
              },
          .problem =
              [this](int status, const std::string& message) {
                return count("other", error_reply(status, message));
              }};
}

HttpReply Endpoint::count(const std::string& route, HttpReply reply) {
  counters_.answered(route, reply.status);
  return reply;
}

std::optional<HttpReply> Endpoint::refuse(const HttpRequest& request) {
  const auto [name, methods] = route_of(request.path);
  if (!config_.token.empty() && name != "/health") {
    const std::optional<std::string> given = bearer_token(request.authorization);
    if (!given || !same_secret(*given, config_.token)) {
      HttpReply reply = error_reply(
          401,
          given
              ? "Authorization: this token is not the one of --token-file"
              : "Authorization: is missing; it is \"Bearer TOKEN\", with the token of --token-file",
          "invalid_api_key");
      reply.headers.emplace_back("WWW-Authenticate", "Bearer");
      return count(name, std::move(reply));
    }
  }
  if (methods.empty())
    return count(name, error_reply(404, cat("no such route: ", to_valid_utf8(request.path),
                                            "; there are /v1/completions, /v1/chat/completions, "
                                            "/v1/models, /health and /metrics")));
  if (cat(", ", methods, ",").find(cat(" ", request.method, ",")) != std::string::npos)
    return std::nullopt;
  HttpReply reply = error_reply(
      405, cat(request.path, ": ", request.method, " is not allowed; allowed: ", methods));
  if (request.method == "OPTIONS") reply = {.status = 204, .body = {}};
  reply.headers.emplace_back("Allow", methods);
  return count(name, std::move(reply));
}

void Endpoint::answer(HttpRequest&& request, const std::shared_ptr<Exchange>& exchange) {
  const std::string name = route_of(request.path).name;
  if (name == "/v1/completions" || name == "/v1/chat/completions") {
    const auto job = std::make_shared<Job>(*this, name, exchange);
    exchange->when_left([this, job] { thread_.post([job] { job->leave(); }); });
    thread_.post([job, body = std::move(request.body)] { job->start(body); });
    return;
  }
  HttpReply reply;
  if (name == "/health") {
    reply.body = dump_json(Json{{"status", "ok"}, {"weight_version", config_.weight_version}});
  } else if (name == "/metrics") {
    reply.type = "text/plain; version=0.0.4; charset=utf-8";
    reply.body = counters_.text(service_.stats(), config_.weight_version);
  } else if (name == "/v1/models") {
    reply.body = cat(R"({"object":"list","data":[)", models(), "]}");
  } else if (request.path.substr(kModel.size()) == config_.model_name) {
    reply.body = models();
  } else {
    reply = error_reply(404,
                        cat("model: '", to_valid_utf8(request.path.substr(kModel.size())),
                            "' is not here; this endpoint serves '", config_.model_name, "'"),
                        "model_not_found");
  }
  exchange->reply(count(name, std::move(reply)));
}

// The one model, as OpenAI lists it; max_model_len is vLLM's word for the longest sequence.
std::string Endpoint::models() const {
  Json out;
  out["id"] = config_.model_name;
  out["object"] = "model";
  out["created"] = created_;
  out["owned_by"] = "vernier";
  out["max_model_len"] = spec_.longest();
  return dump_json(out);
}

}  // namespace vernier
