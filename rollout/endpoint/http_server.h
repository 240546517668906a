// An HTTP/1.1 server on one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "rollout/endpoint/http.h"

namespace vernier {

struct HttpLimits {
  size_t header_bytes = 16 << 10;
  size_t body_bytes = 4 << 20;
  size_t connections = 512;
  size_t unsent_bytes =
      1 << 20;  // of an answer in parts; a reader that is further behind is dropped
  int send_buffer_bytes = 256 << 10;  // of the system, beside those
  double idle_s = 75;                 // between two requests
  double header_s = 10, body_s = 60;  // a request must have come by then
  double write_s = 30;                // without the client taking a byte
  double linger_s = 10;               // what still comes after a refusal is read and thrown away
  double grace_s = 10;                // what is under way when the server stops
};

/// Throws UsageError where `host` is no address, and where it is one that others reach while there
/// is no token that they would need.
void check_listening(const std::string& host, bool has_token);

class HttpServer {
 public:
  explicit HttpServer(const HttpLimits& limits);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  /// Binds. `port` 0: one that is free. Returns the port. UsageError where it is taken.
  int listen(const std::string& host, int port);
  /// Answers until stop(), or SIGINT or SIGTERM where `signals`: then takes no new connection, lets
  /// what is under way come to its end for grace_s, and returns. A second signal ends it at once.
  void run(HttpHandlers handlers, bool signals);
  /// From any thread.
  void stop();

  struct State;

 private:
  std::unique_ptr<State> state_;
};

}  // namespace vernier
