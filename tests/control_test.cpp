// The control plane: greetings, frames, peers that are wrong, slow, silent or gone.
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <thread>

#include "core/base/files.h"
#include "core/control/control_client.h"
#include "core/control/control_server.h"
#include "core/control/frame.h"
#include "tests/testing.h"

namespace vernier::control {
namespace {

using Kind = PeerEvent::Kind;
using vernier::testing::TemporaryFolder;
using vernier::testing::usage_error;

const std::string kSecret = "sixteen bytes or more of it";

// Events until one of `kind`, with those before it.
std::vector<PeerEvent> wait_for(ControlServer& server, Kind kind, double seconds = 10) {
  std::vector<PeerEvent> out;
  const auto begin = std::chrono::steady_clock::now();
  while (std::chrono::steady_clock::now() - begin < std::chrono::duration<double>(seconds)) {
    for (PeerEvent& event : server.poll(0.05)) out.push_back(std::move(event));
    for (const PeerEvent& event : out)
      if (event.kind == kind) return out;
  }
  FAIL("the event did not come");
  return out;
}

std::string run_error(const std::function<void()>& body) {
  try {
    body();
  } catch (const RunError& error) {
    return error.what();
  }
  return "";
}

// A socket of somebody who speaks as they like.
class Stranger {
 public:
  explicit Stranger(int port) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<uint16_t>(port));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(::connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0);
  }
  ~Stranger() { ::close(fd_); }
  void say(const std::string& bytes) const {
    (void)::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }
  std::string hear(size_t count) const {
    std::string out(count, '\0');
    const ssize_t got = ::recv(fd_, out.data(), count, MSG_WAITALL);
    out.resize(static_cast<size_t>(std::max<ssize_t>(0, got)));
    return out;
  }
  // An answer that knows the secret; the frames that may follow.
  Frames greet(const std::string& secret, uint16_t version = kVersion) const {
    const std::string theirs = hear(kHelloBytes), own = hello(random_nonce(), version);
    const Mac mac = proof(secret, Side::worker, nonce_of(theirs), nonce_of(own));
    say(own + std::string(mac.begin(), mac.end()));
    return Frames(secret, Side::worker, nonce_of(theirs), nonce_of(own));
  }
  bool closed() const { return hear(1).empty(); }

 private:
  int fd_;
};

TEST_CASE("messages go both ways, in order, and whoever leaves is told of") {
  ControlServer server("127.0.0.1", 0, kSecret, {});
  auto client = std::make_unique<ControlClient>("localhost", server.port(), kSecret, Limits{});
  const int64_t peer = wait_for(server, Kind::joined).front().peer;
  CHECK(peer == 1);
  for (int i = 0; i < 300; ++i) {
    client->send(7, cat(i));
    server.send(peer, 8, std::string(static_cast<size_t>(i * 100), 'x'));
  }
  std::vector<PeerEvent> events;
  while (events.size() < 300)
    for (PeerEvent& event : server.poll(1)) events.push_back(std::move(event));
  for (size_t i = 0; i < 300; ++i) {
    CHECK(events[i].message.type == 7);
    CHECK(events[i].message.payload == cat(i));
  }
  size_t heard = 0;
  while (heard < 300)
    for (const Message& message : client->poll(1)) {
      CHECK(message.type == 8);
      CHECK(message.payload.size() == heard++ * 100);
    }
  client->finish();
  const auto left = wait_for(server, Kind::left);
  CHECK(left.back().peer == peer);
  // The job ends: what it sent before arrives.
  client = std::make_unique<ControlClient>("127.0.0.1", server.port(), kSecret, Limits{});
  const int64_t other = wait_for(server, Kind::joined).front().peer;
  CHECK(other == 2);
  server.send(other, 9, "goodbye");
  server.finish(other);
  std::vector<Message> last;
  while (last.empty()) last = client->poll(1);
  CHECK(last.front().payload == "goodbye");
  CHECK(run_error([&] {
          while (true) client->poll(1);
        }).find("the job is gone") != std::string::npos);
}

TEST_CASE("strangers are refused, and the others go on") {
  Limits limits;
  limits.hello_s = 0.5;
  ControlServer server("127.0.0.1", 0, kSecret, limits);
  const int port = server.port();
  ControlClient client("127.0.0.1", port, kSecret, {});
  const int64_t peer = wait_for(server, Kind::joined).front().peer;
  CHECK(run_error([&] {
          ControlClient("127.0.0.1", port, "another secret of 16", {});
        }).find("is the secret the job's?") != std::string::npos);
  {
    const Stranger web(port), silent(port), old(port), short_one(port);
    web.say(
        "GET / HTTP/1.1\r\nHost: localhost\r\n\r\nand more bytes than a greeting has, which are "
        "not looked at");
    CHECK(web.hear(kHelloBytes).size() == kHelloBytes);
    CHECK(web.closed());
    old.greet(kSecret, 0);
    CHECK(old.closed());
    short_one.say("VERNI");
    CHECK(short_one.hear(kHelloBytes).size() == kHelloBytes);
    CHECK(short_one.closed());  // after hello_s
    CHECK(silent.hear(kHelloBytes).size() == kHelloBytes);
    CHECK(silent.closed());
  }
  for (int i = 0; i < 300; ++i) Stranger(port).say("garbage");
  client.send(3, "still here");
  const auto events = wait_for(server, Kind::message);
  CHECK(events.size() == 1);  // nobody else has joined
  CHECK(events.front().peer == peer);
  CHECK(hello_problem(hello(random_nonce(), 0), "a worker") ==
        "it speaks version 0 of the protocol, this program version 2: take the same Vernier on "
        "both sides");
}

TEST_CASE("a frame that is changed, repeated, too long or of another secret ends the connection") {
  ControlServer server("127.0.0.1", 0, kSecret, {});
  const auto hit = [&](const std::function<std::string(Frames&)>& make) {
    const Stranger peer(server.port());
    Frames frames = peer.greet(kSecret);
    CHECK(peer.hear(kMacBytes).size() == kMacBytes);
    peer.say(make(frames));
    const auto events = wait_for(server, Kind::left);
    for (const PeerEvent& event : events) CHECK(event.message.payload != "evil");
    return events.back().text;
  };
  const std::string unsealed =
      "it sent a frame that was not made with its secret, or not in this order";
  CHECK(hit([](Frames& frames) {
          std::string frame = frames.write(4, "good");
          return frame.replace(frame.size() - 4, 4, "evil");
        }) == unsealed);
  CHECK(hit([](Frames& frames) {
          std::string frame = frames.write(4, "evil");
          frame[0] ^= 1;  // its type
          return frame;
        }) == unsealed);
  CHECK(hit([](Frames& frames) {
          const std::string frame = frames.write(4, "good");
          return frame + frame;
        }) == unsealed);
  CHECK(hit([](Frames& frames) {
          frames.write(4, "left out");
          return frames.write(4, "evil");
        }) == unsealed);
  CHECK(hit([](Frames&) {
          Frames other("another secret of 16", Side::worker, std::string(32, 'a'),
                       std::string(32, 'b'));
          return other.write(4, "evil");
        }) == unsealed);
  CHECK(hit([](Frames& frames) {
          std::string frame = frames.write(4, "evil");
          return frame.replace(4, 4, "\xff\xff\xff\x7f");
        }).find("a frame of 2147483647 bytes, of which 536870912 are allowed") !=
        std::string::npos);
  CHECK(hit([](Frames& frames) {
          std::string frame = frames.write(4, "evil");
          return frame.replace(2, 2, std::string("\x07\x00", 2));
        }).find("a frame of version 7 of the protocol") != std::string::npos);
}

TEST_CASE("who reads nothing, or says nothing, is given up") {
  Limits limits;
  limits.deadline_s = 0.6;
  limits.out_bytes = 8 << 20;
  ControlServer server("127.0.0.1", 0, kSecret, limits);
  {
    const Stranger slow(server.port());
    slow.greet(kSecret);
    const int64_t peer = wait_for(server, Kind::joined).back().peer;
    for (int i = 0; i < 40; ++i) server.send(peer, 5, std::string(1 << 20, 'x'));
    CHECK(wait_for(server, Kind::left).back().text.find("it is too slow: ") == 0);
  }
  {
    const Stranger silent(server.port());
    silent.greet(kSecret);
    wait_for(server, Kind::joined);
    CHECK(wait_for(server, Kind::left).back().text.find("it has not been heard of for 0.6 s") == 0);
  }
  // Who beats stays, though it has nothing to say; and though nobody looks.
  const ControlClient client("127.0.0.1", server.port(), kSecret, limits);
  wait_for(server, Kind::joined);
  std::this_thread::sleep_for(std::chrono::milliseconds(1500));
  CHECK(server.poll().empty());
}

TEST_CASE("what nobody takes in stays with its sender, and nothing of it is lost") {
  Limits limits;
  limits.in_bytes = 1 << 20;
  limits.deadline_s = 5;
  ControlServer server("127.0.0.1", 0, kSecret, limits);
  ControlClient client("127.0.0.1", server.port(), kSecret, {});
  wait_for(server, Kind::joined);
  for (int i = 0; i < 400; ++i) client.send(6, std::string(100'000, static_cast<char>(i)));
  int64_t received = 0, most = 0;
  while (received < 400) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    int64_t bytes = 0;
    for (const PeerEvent& event : server.poll()) {
      REQUIRE(event.kind == Kind::message);
      CHECK(event.message.payload.front() == static_cast<char>(received++));
      bytes += std::ssize(event.message.payload);
    }
    most = std::max(most, bytes);
  }
  CHECK(most <= (1 << 20) + 2 * 100'000);
}

TEST_CASE("the secret is in a file of its owner's, and long enough") {
  const TemporaryFolder folder;
  const auto path = folder.path() / "secret";
  const auto write = [&](const std::string& text, fs::perms mode) {
    std::ofstream(path) << text;
    fs::permissions(path, mode);
  };
  const auto own = fs::perms::owner_read | fs::perms::owner_write;
  CHECK(usage_error([&] { read_secret(path.string()); }).find("cannot be read") !=
        std::string::npos);
  write("0123456789abcdef\n", own);
  CHECK(read_secret(path.string()) == "0123456789abcdef");
  write("0123456789abcde\n", own);
  CHECK(usage_error([&] { read_secret(path.string()); }).find("15 bytes") != std::string::npos);
  write("0123456789abcdef", own | fs::perms::group_read);
  CHECK(usage_error([&] { read_secret(path.string()); }).find("chmod 600") != std::string::npos);
  CHECK(usage_error([&] { ControlServer("example.org", 0, kSecret, {}); }).find("neither") !=
        std::string::npos);
}

}  // namespace
}  // namespace vernier::control
