// One authenticated connection of the control plane: messages go out and come in, each in order.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>

#include "core/control/frame.h"
#include "core/control/message.h"

namespace vernier::control {

/// Belongs to the thread of its executor. Ends by itself where the peer is gone, silent for longer
/// than the deadline, so slow that too much waits to be read by it, or sends what is not a frame.
/// Both sides beat, so a peer that nobody takes messages from is not silent.
class Channel : public std::enable_shared_from_this<Channel> {
 public:
  struct Host {
    const Limits& limits;
    std::function<void(Message&&)> take;
    std::function<bool()> full;  // nothing more is taken in for now
    std::function<std::string()> beat;
    std::function<void(const std::string& why)> ended;  // once
  };
  Channel(boost::asio::ip::tcp::socket socket, Frames out, Frames in, Host host);

  void start();
  /// Dropped where the connection has ended.
  void send(uint16_t type, std::string payload);
  /// Sends what waits, and ends.
  void finish();
  void end(const std::string& why);

 private:
  boost::asio::awaitable<bool> receive(std::string& bytes, size_t count);
  boost::asio::awaitable<void> read();
  boost::asio::awaitable<void> write();
  boost::asio::awaitable<void> watch();

  boost::asio::ip::tcp::socket socket_;
  Frames out_frames_, in_frames_;
  Host host_;
  boost::asio::steady_timer writable_, watching_, pause_;
  std::deque<std::string> out_;
  size_t out_bytes_ = 0;
  std::chrono::steady_clock::time_point heard_;
  bool ended_ = false, finishing_ = false;
};

}  // namespace vernier::control
