// The routes of `vernier endpoint`: HTTP requests to generations, and back.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "core/base/task_thread.h"
#include "core/model/spec.h"
#include "core/text/chat_format.h"
#include "core/text/pieces.h"
#include "core/text/tokenizer.h"
#include "rollout/endpoint/counters.h"
#include "rollout/endpoint/http.h"
#include "rollout/endpoint/request.h"
#include "rollout/service.h"

namespace vernier {

struct EndpointConfig {
  std::string model_name;
  std::string token;  // that every route but /health asks for; "": none
  ChatFormat chat_format;
  int64_t max_completion_length = 0;
  int64_t weight_version = 0;
};

/// Requests are read and answers are written on a thread of its own, so that neither the sockets
/// nor the model wait for JSON.
class Endpoint {
 public:
  /// All of them must outlive it. UsageError where the text of this tokenizer cannot be followed
  /// token by token.
  Endpoint(EndpointConfig config, const Tokenizer& tokenizer, const ModelSpec& spec,
           Service& service);
  /// Stops the service.
  ~Endpoint();

  HttpHandlers handlers();

 private:
  friend class Job;

  std::optional<HttpReply> refuse(const HttpRequest& request);
  void answer(HttpRequest&& request, const std::shared_ptr<Exchange>& exchange);
  HttpReply count(const std::string& route, HttpReply reply);
  std::string models() const;

  const EndpointConfig config_;
  const Tokenizer& tokenizer_;
  const ModelSpec& spec_;
  Service& service_;
  const int64_t created_;  // seconds since 1970
  TokenPieces pieces_;
  Counters counters_;
  TaskThread thread_;
};

}  // namespace vernier
