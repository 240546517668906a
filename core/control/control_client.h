// The worker's side of the control plane.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/control/message.h"

namespace vernier::control {

class ControlClient {
 public:
  /// Connects and shakes hands. Throws RunError where nobody answers there, the job's secret is
  /// another, or it speaks another version. `beat` (may be empty), which tells the job how this
  /// side is, is called on another thread.
  ControlClient(const std::string& host, int port, const std::string& secret, Limits limits,
                std::function<std::string()> beat = {});
  ~ControlClient();
  ControlClient(const ControlClient&) = delete;
  ControlClient& operator=(const ControlClient&) = delete;

  /// Messages that have come since the last call, in order; waits up to `seconds` for the first.
  /// Throws RunError where the connection has ended and none is left.
  std::vector<Message> poll(double seconds = 0);
  /// RunError where it is too long.
  void send(uint16_t type, std::string payload);
  /// Limits::deadline_s from now on.
  void set_deadline(double seconds);
  /// Sends what waits and ends the connection.
  void finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace vernier::control
