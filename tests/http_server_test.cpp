// The HTTP server against clients that err, leave, dawdle and flood, over real sockets.
#include "rollout/endpoint/http_server.h"

#include <doctest/doctest.h>

#include <atomic>
#include <mutex>
#include <thread>

#include "core/base/rng.h"
#include "tests/socket_client.h"
#include "tests/testing.h"

namespace vernier {
namespace {

using testing::comes_true;
using testing::post;
using testing::SocketClient;
using testing::usage_error;

// Answers on a thread of its own where it takes time, as an engine would.
class TestServer {
 public:
  explicit TestServer(HttpLimits limits = {}) : server_(limits) {
    port = server_.listen("127.0.0.1", 0);
    thread_ = std::thread([this] { server_.run(handlers(), false); });
  }
  ~TestServer() {
    stop();
    if (flood_.joinable()) flood_.join();
  }
  void begin_to_stop() { server_.stop(); }
  void stop() {
    server_.stop();
    if (thread_.joinable()) thread_.join();
  }
  void answer_the_waiting() {
    const std::lock_guard hold(lock_);
    waiting_->reply({.status = 200, .body = "at last"});
  }
  bool up() {
    SocketClient client(port);
    client.send(post("/echo", "still here"));
    return client.receive("still here").find("200 OK") != std::string::npos;
  }

  int port = 0;
  std::atomic<int> left{0}, waits{0};

 private:
  HttpHandlers handlers() {
    return {.refuse = [](const HttpRequest& request) -> std::optional<HttpReply> {
              if (request.path != "/none") return std::nullopt;
              return HttpReply{.status = 404, .body = "none"};
            },
            .answer =
                [this](HttpRequest&& request, const std::shared_ptr<Exchange>& exchange) {
                  answer(std::move(request), exchange);
                },
            .problem =
                [](int status, const std::string& message) {
                  return HttpReply{.status = status, .body = message};
                }};
  }
  void answer(HttpRequest&& request, const std::shared_ptr<Exchange>& exchange) {
    if (request.path == "/echo") {
      exchange->reply({.status = 200, .body = request.body});
    } else if (request.path == "/large") {
      exchange->reply({.status = 200, .body = std::string(16 << 20, 'x')});
    } else if (request.path == "/parts") {
      exchange->begin({.status = 200, .body = {}, .type = "text/plain"});
      for (const char* part : {"one ", "", "two ", "three"}) exchange->write(part);
      exchange->end();
    } else {
      exchange->when_left([this] { ++left; });
      const std::lock_guard hold(lock_);
      waiting_ = exchange;
      ++waits;
      if (request.path == "/flood") flood_ = std::thread([this, exchange] { flood(exchange); });
    }
  }
  void flood(const std::shared_ptr<Exchange>& exchange) {
    exchange->begin({.status = 200, .body = {}, .type = "text/plain"});
    for (int i = 0; i < 100'000 && left == 0; ++i) {
      exchange->write(std::string(1 << 14, 'x'));
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  }

  HttpServer server_;
  std::mutex lock_;
  std::shared_ptr<Exchange> waiting_;
  std::thread thread_, flood_;
};

// The answer to the bytes, up to the end of the connection.
std::string answer_to(int port, const std::string& bytes) {
  SocketClient client(port);
  client.send(bytes);
  return client.receive();
}

TEST_CASE("requests on one connection: one after the other, several at once, in parts") {
  TestServer server;
  SocketClient client(server.port);
  client.send(post("/echo", "first"));
  CHECK(client.receive("first").find("Connection: keep-alive") != std::string::npos);
  client.send(post("/echo", "second") + post("/parts", "") + post("/echo", "third"));
  const std::string found = client.receive("third");
  CHECK(found.find("second") < found.find("4\r\none \r\n4\r\ntwo \r\n5\r\nthree\r\n0\r\n\r\n"));
  CHECK(found.find("0\r\n\r\n") <
        found.find("Content-Length: 5\r\nConnection: keep-alive\r\n\r\nthird"));
  // A body in chunks, byte after byte.
  for (const char byte : std::string("POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
                                     "3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n"))
    client.send(std::string(1, byte));
  CHECK(client.receive("abcdefg").find("Content-Length: 7\r\n") != std::string::npos);
  client.send("POST /echo HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
  CHECK(client.receive("\r\n\r\n") == "HTTP/1.1 100 Continue\r\n\r\n");
  client.send("abc");
  CHECK(client.receive("abc").find("200 OK") != std::string::npos);
  client.send("HEAD /echo HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc" +
              post("/echo", "last", "Connection: close\r\n"));
  const std::string head = client.receive();
  CHECK(head.find("Content-Length: 3\r\nConnection: keep-alive\r\n\r\nHTTP/1.1 200 OK") !=
        std::string::npos);
  CHECK(head.ends_with("Connection: close\r\n\r\nlast"));
}

TEST_CASE("HTTP/1.0: the connection ends the answer, unless it is to stay") {
  TestServer server;
  CHECK(answer_to(server.port, "GET /parts HTTP/1.0\r\n\r\n")
            .ends_with("close\r\n\r\none two three"));
  CHECK(answer_to(server.port, "POST /echo HTTP/1.0\r\nContent-Length: 2\r\n\r\nab")
            .ends_with("close\r\n\r\nab"));
  SocketClient client(server.port);
  for (int i = 0; i < 2; ++i) {
    client.send("POST /echo HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nab");
    CHECK(client.receive("\r\n\r\nab").find("keep-alive") != std::string::npos);
  }
}

TEST_CASE("garbage and what is too large get an error each, and the server stays up") {
  TestServer server;
  const auto says = [&](const std::string& bytes, const std::string& wanted) {
    CAPTURE(bytes.substr(0, 60));
    const std::string found = answer_to(server.port, bytes);
    CAPTURE(found);
    CHECK(found.find(wanted) != std::string::npos);
    CHECK(found.find("Connection: close") != std::string::npos);
  };
  says("GET\r\n\r\n", "HTTP/1.1 400 Bad Request");
  says("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello of TLS\r\n\r\n", "not an HTTP request");
  says(std::string(100, '\0') + "\r\n\r\n", "400");
  says("GET /echo HTTP/3.7\r\n\r\n", "400");
  says("POST /echo HTTP/1.1\r\nContent-Length: -5\r\n\r\n", "400");
  says("POST /echo HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", "400");
  says("POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "400");
  says("GET /none HTTP/1.1\r\n\r\n", "404 Not Found");
  says(cat("GET /", std::string(20'000, 'a'), " HTTP/1.1\r\n\r\n"),
       "431 Request Header Fields Too Large");
  says(cat("GET / HTTP/1.1\r\nX: ", std::string(20'000, 'a'), "\r\n\r\n"), "16384 bytes");
  const std::string large(10 << 20, 'x');
  says(post("/echo", large), "413 Payload Too Large");
  says(post("/none", large.substr(0, 4 << 20)), "404 Not Found");
  says(cat("POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\na00000\r\n", large,
           "\r\n0\r\n\r\n"),
       "the body is larger than the 4194304 bytes");
  says(cat("POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;", large), "431");
  says(cat("POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nx: ", large), "431");
  Rng rng(5, Stream::init);
  for (int i = 0; i < 200; ++i) {
    std::string noise(1 + static_cast<size_t>(rng.next_uniform() * 300), ' ');
    for (char& byte : noise) byte = static_cast<char>(rng.next_uniform() * 256);
    SocketClient client(server.port);
    client.send(i % 2 == 0 ? noise : "POST /echo HTTP/1.1\r\n" + noise);
    if (i % 3 == 0) client.half_close();
    if (i % 3 == 1) client.send("\r\n\r\n");
  }
  CHECK(server.up());
}

TEST_CASE("who is too slow is told so") {
  HttpLimits limits;
  limits.header_s = 0.1;
  limits.body_s = 0.2;
  limits.idle_s = 0.3;
  TestServer server(limits);
  const std::string header = answer_to(server.port, "POST /echo HTTP/1.1\r\nHos");
  CHECK(header.find("408 Request Timeout") != std::string::npos);
  CHECK(header.find("the header took longer than 0.1 s") != std::string::npos);
  const std::string body =
      answer_to(server.port, "POST /echo HTTP/1.1\r\nContent-Length: 9\r\n\r\nab");
  CHECK(body.find("the body took longer than 0.2 s") != std::string::npos);
  CHECK(answer_to(server.port, "") == "");
  CHECK(server.up());
}

TEST_CASE(
    "a client that leaves, or closes its half, is noticed while its answer is in the making") {
  TestServer server;
  const std::string cut = [&] {
    SocketClient client(server.port);
    client.send("POST /echo HTTP/1.1\r\nContent-Length: 9\r\n\r\nab");
    client.half_close();
    return client.receive();
  }();
  CHECK(cut.find("the connection ended in the middle of a request") != std::string::npos);
  SocketClient gone(server.port);
  gone.send(post("/wait", ""));
  CHECK(comes_true([&] { return server.waits == 1; }));
  CHECK(server.left == 0);
  gone.close();
  CHECK(comes_true([&] { return server.left == 1; }));
  SocketClient half(server.port);
  half.send(post("/wait", ""));
  CHECK(comes_true([&] { return server.waits == 2; }));
  half.half_close();
  CHECK(half.receive().find("closed its half of the connection before the answer") !=
        std::string::npos);
  CHECK(server.left == 2);
  server.answer_the_waiting();  // nobody is there
  // What needs no waiting is answered all the same.
  SocketClient quick(server.port);
  quick.send(post("/echo", "quick"));
  quick.half_close();
  CHECK(quick.receive().ends_with("quick"));
  CHECK(server.up());
}

TEST_CASE("who sends on while an answer is in the making is noticed too when it leaves") {
  TestServer server;
  SocketClient client(server.port);
  client.send(post("/wait", ""));
  CHECK(comes_true([&] { return server.waits == 1; }));
  std::string more;
  while (more.size() <= HttpLimits{}.header_bytes) more += post("/echo", "more");
  client.send(more);
  CHECK(client.receive().find("400 Bad Request") != std::string::npos);
  CHECK(comes_true([&] { return server.left == 1; }));
  CHECK(server.up());
}

TEST_CASE("a reader that is too slow is dropped, and holds no memory") {
  HttpLimits limits;
  limits.unsent_bytes = 1 << 18;
  limits.write_s = 0.2;
  TestServer server(limits);
  SocketClient flooded(server.port, 4096);
  flooded.send(post("/flood", ""));
  CHECK(comes_true([&] { return server.left == 1; }));
  SocketClient idle(server.port, 4096);
  idle.send(post("/large", ""));
  std::this_thread::sleep_for(std::chrono::milliseconds(600));
  CHECK(idle.receive().size() < 16 << 20);
  CHECK(server.up());
}

TEST_CASE("more connections than are allowed are turned away, until one ends") {
  HttpLimits limits;
  limits.connections = 2;
  TestServer server(limits);
  SocketClient first(server.port), second(server.port);
  first.send(post("/echo", "a"));
  second.send(post("/echo", "a"));
  first.receive("\r\n\r\na");
  second.receive("\r\n\r\na");
  const std::string found = answer_to(server.port, post("/echo", "b"));
  CHECK(found.find("503 Service Unavailable") != std::string::npos);
  CHECK(found.find("Retry-After: 1") != std::string::npos);
  first.close();
  CHECK(comes_true([&] { return server.up(); }));
}

TEST_CASE("a server that stops lets answers end, for as long as the grace lasts") {
  HttpLimits limits;
  limits.grace_s = 0.3;
  {
    TestServer server(limits);
    SocketClient idle(server.port), waiting(server.port);
    idle.send(post("/echo", "a"));
    idle.receive("\r\n\r\na");
    waiting.send(post("/wait", ""));
    CHECK(comes_true([&] { return server.waits == 1; }));
    server.begin_to_stop();
    CHECK(idle.receive() == "");
    server.answer_the_waiting();
    CHECK(waiting.receive().ends_with("Connection: close\r\n\r\nat last"));
    server.stop();
  }
  TestServer server(limits);
  SocketClient waiting(server.port);
  waiting.send(post("/wait", ""));
  CHECK(comes_true([&] { return server.waits == 1; }));
  server.begin_to_stop();
  CHECK(waiting.receive().find("the server is stopping") != std::string::npos);
  CHECK(server.left == 1);
  waiting.close();
  server.stop();
}

TEST_CASE("what others can reach is listened on with a token only") {
  CHECK_NOTHROW(check_listening("127.0.0.1", false));
  CHECK_NOTHROW(check_listening("localhost", false));
  CHECK_NOTHROW(check_listening("::1", false));
  CHECK_NOTHROW(check_listening("0.0.0.0", true));
  for (const char* host : {"0.0.0.0", "::", "10.0.0.1"})
    CHECK(usage_error([&] {
            check_listening(host, false);
          }).find("no --token-file says who may ask") != std::string::npos);
  CHECK(usage_error([] { check_listening("example", true); }) ==
        "--host: 'example' is neither localhost nor an address, as 127.0.0.1 or ::1");
  HttpServer first({}), second({});
  const int port = first.listen("127.0.0.1", 0);
  CHECK(usage_error([&] { second.listen("127.0.0.1", port); }).find("cannot be listened on") !=
        std::string::npos);
}

}  // namespace
}  // namespace vernier
