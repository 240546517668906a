// One connection of the HTTP server.
#pragma once

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "rollout/endpoint/http_server.h"

namespace vernier {

/// What a session needs of its server.
struct SessionHost {
  const HttpLimits& limits;
  const HttpHandlers& handlers;
  const bool& stopping;
  std::function<void(const class HttpSession&)> closed;
};

/// Reads requests one after the other and writes their answers. It always has a read under way, for
/// the end of the connection is how it notices that the client has left. All of it belongs to the
/// thread of the io_context; a call from another thread comes by way of SessionExchange.
class HttpSession : public std::enable_shared_from_this<HttpSession> {
 public:
  HttpSession(boost::asio::ip::tcp::socket socket, SessionHost host);

  void start();
  /// Says only this, and closes.
  void turn_away(HttpReply reply);
  /// Of a server that stops: closes where nothing is under way, else with the end of the answer.
  void stop();
  /// Gives up the answer that is under way.
  void give_up();

  // Of the exchange number `exchange`; where another one is under way they do nothing.
  void reply(uint64_t exchange, const HttpReply& reply);
  void begin(uint64_t exchange, const HttpReply& head);
  void write(uint64_t exchange, const std::string& part);
  void end(uint64_t exchange);
  void when_left(uint64_t exchange, std::function<void()> told);

 private:
  enum class Phase { idle, header, body, answer, linger, closed };
  using ErrorCode = boost::system::error_code;

  void read();
  void on_read(ErrorCode error, size_t bytes);
  void on_end(bool in_order);
  void read_on();
  void break_off(const std::string& why);
  void begin_request();
  void parse_header();
  void parse_body();
  void on_parse_error(ErrorCode error);
  void answer();
  void refuse(HttpReply reply);
  void problem(int status, const std::string& message);
  void finish_answer();
  void next_request();

  void send(std::string bytes);
  void send_head(const HttpReply& reply, std::optional<size_t> length);
  void write_some();
  void on_written(ErrorCode error, size_t bytes);
  void on_all_written();
  void close();
  void client_left();

  void set_timer(boost::asio::steady_timer& timer, double seconds, void (HttpSession::*late)());
  void on_read_late();
  void on_write_late();

  boost::asio::ip::tcp::socket socket_;
  SessionHost host_;
  boost::asio::steady_timer read_timer_, write_timer_;
  std::array<char, 16 << 10> in_;     // what a read brings
  boost::beast::flat_buffer buffer_;  // what has not been parsed
  std::optional<boost::beast::http::request_parser<boost::beast::http::string_body>> parser_;
  Phase phase_ = Phase::idle;
  bool reading_ = false, writing_ = false;
  bool at_end_ = false;  // the client sends no more
  HttpRequest request_;
  bool keep_alive_ = false, http_1_0_ = false;

  uint64_t exchange_ = 0;
  bool answering_ = false;  // an exchange is open
  bool in_parts_ = false, chunked_ = false;
  std::function<void()> left_;

  std::deque<std::string> out_;
  size_t out_bytes_ = 0, out_offset_ = 0;  // of all, and those of the first that are gone
};

}  // namespace vernier
