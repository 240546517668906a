// What an HTTP server and those who answer for it say to each other.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace vernier {

struct HttpRequest {
  std::string method, path;  // the path without a query
  std::string query;         // what follows "?", as it came
  // Headers, "" where there is none.
  std::string authorization, host, cookie, last_event_id, fetch_site;
  std::string body;
};

struct HttpReply {
  int status = 200;
  std::string body;
  std::string type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers = {};
};

/// The answer to one request. From any thread; after the client has left, calls do nothing.
class Exchange {
 public:
  virtual ~Exchange() = default;
  /// The whole answer.
  virtual void reply(HttpReply reply) = 0;
  /// The head of an answer that comes in parts: its body is left out.
  virtual void begin(HttpReply head) = 0;
  virtual void write(std::string part) = 0;
  virtual void end() = 0;
  /// Who is told, once and on the server's thread, that nobody waits for the answer any more. To be
  /// called from HttpHandlers::answer() itself.
  virtual void when_left(std::function<void()> told) = 0;
};

/// Called on the server's thread: they must not take long.
struct HttpHandlers {
  /// Once the header has come, before its body is read: a reply, where the request is refused.
  std::function<std::optional<HttpReply>(const HttpRequest&)> refuse;
  std::function<void(HttpRequest&&, std::shared_ptr<Exchange>)> answer;
  /// The reply that says what the server itself found wrong.
  std::function<HttpReply(int status, const std::string& message)> problem;
};

}  // namespace vernier
