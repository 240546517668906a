// A server that speaks no HTTP of its own.
#pragma once

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <string>
#include <thread>

#include "core/base/errors.h"

namespace vernier::testing {

/// Says `bytes` to every connection, and closes it; `waits`: once the other side has.
class RawServer {
 public:
  explicit RawServer(std::string bytes, bool waits = false)
      : bytes_(std::move(bytes)), waits_(waits) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* plain = reinterpret_cast<sockaddr*>(&address);
    if (::bind(listener_, plain, size) != 0 || ::listen(listener_, 64) != 0)
      fail_run("no port for a server");
    ::getsockname(listener_, plain, &size);
    port = ntohs(address.sin_port);
    thread_ = std::thread([this] { run(); });
  }
  ~RawServer() {
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    ::close(listener_);
  }
  int port = 0;
  std::atomic<int> left = 0;  // connections that the other side closed while this one waited

 private:
  void run() {
    for (int one; (one = ::accept(listener_, nullptr, nullptr)) >= 0;) {
      std::array<char, 4096> ignored;
      ::recv(one, ignored.data(), ignored.size(), 0);
      ::send(one, bytes_.data(), bytes_.size(), MSG_NOSIGNAL);
      pollfd wait = {.fd = one, .events = POLLRDHUP, .revents = 0};
      if (waits_ && ::poll(&wait, 1, 3000) > 0) ++left;
      ::close(one);
    }
  }
  std::string bytes_;
  bool waits_;
  int listener_ = -1;
  std::thread thread_;
};

}  // namespace vernier::testing
