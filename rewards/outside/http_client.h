// Sends requests over HTTP/1.1 and TLS and keeps connections, all on one thread.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace vernier {

struct HttpUrl {
  std::string text;  // as it was given
  bool tls = false;
  std::string host;  // without brackets
  std::string port;
  std::string target;  // path and query
};

/// Throws UsageError where it is not http://HOST[:PORT][/PATH] or https://….
HttpUrl parse_url(const std::string& text);

struct HttpClientConfig {
  std::vector<HttpUrl> urls;
  std::string token;    // sent as a bearer token; "" for none
  std::string ca_file;  // that signed the server's certificate; "": those of the system
  bool verify_tls = true;
  double connect_s = 10;  // that the lookup of the host may take, and then the connection
  double lookup_s = 30;  // after which a host is looked up again beside a lookup that has not ended
  double idle_s = 60;    // after which a connection that nobody uses is closed
  // Kept open at a time, to all URLs together: beyond it those that nobody uses are closed.
  int64_t connections = 256;
  size_t header_bytes = 64 << 10, body_bytes = 64 << 20;  // of a reply
};

/// What came of a request.
struct HttpResult {
  int status = 0;
  std::string body;
  double retry_after_s = 0;  // what the reply asks for
  std::string problem;       // why no reply came; then there is no status
};

class HttpClient {
 public:
  using Time = std::chrono::steady_clock::time_point;

  /// Throws UsageError where ca_file cannot be used.
  explicit HttpClient(HttpClientConfig config);
  /// Gives up what is under way, without telling; what was posted is let go.
  ~HttpClient();

  /// Runs `call` on the thread of the client, soon or at a time. From any thread.
  void call(std::function<void()> what);
  void call_at(Time when, std::function<void()> what);

  /// On the client's thread: posts `body` to urls[url]; `done` is called there too.
  void post(size_t url, std::string body, Time deadline, std::function<void(HttpResult)> done);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace vernier
