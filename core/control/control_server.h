// The job's side of the control plane: workers join, are heard, and leave.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/control/message.h"

namespace vernier::control {

/// What has happened to a peer; peers have numbers from 1 on, which are not used again.
struct PeerEvent {
  enum class Kind { joined, message, left } kind = Kind::message;
  int64_t peer = 0;
  Message message;
  std::string text;  // joined: its address; left: why
};

/// Listens on a thread of its own. Whoever does not know the secret, speaks another version or
/// something else is refused, and told of in the log, as far as that is not flooded.
class ControlServer {
 public:
  /// UsageError where the address cannot be listened on. `host` is an address or "localhost".
  ControlServer(const std::string& host, int port, std::string secret, Limits limits);
  ~ControlServer();
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;

  int port() const;
  /// What has happened since the last call, in order; waits up to `seconds` for the first of it.
  std::vector<PeerEvent> poll(double seconds = 0);
  /// Dropped where the peer is gone: then poll() tells, or has told. RunError where it is too long.
  void send(int64_t peer, uint16_t type, std::string payload);
  /// Ends the connection once everything is sent.
  void finish(int64_t peer);
  /// Ends it now; poll() tells that it has left.
  void drop(int64_t peer, const std::string& why);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace vernier::control
