#include "rollout/endpoint/http_server.h"

#include <boost/asio/ip/address.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <chrono>
#include <csignal>
#include <set>

#include "core/base/errors.h"
#include "core/base/log.h"
#include "rollout/endpoint/http_session.h"

namespace vernier {

namespace asio = boost::asio;
using asio::ip::tcp;
using ErrorCode = boost::system::error_code;

namespace {

asio::ip::address address_of(const std::string& host) {
  if (host == "localhost") return asio::ip::address_v4::loopback();
  ErrorCode error;
  const auto address = asio::ip::make_address(host, error);
  if (error) fail("--host: '", host, "' is neither localhost nor an address, as 127.0.0.1 or ::1");
  return address;
}

}  // namespace

void check_listening(const std::string& host, bool has_token) {
  if (address_of(host).is_loopback() || has_token) return;
  fail("--host: ", host,
       " is reached from other machines, and no --token-file says who may ask; "
       "give one, or listen on 127.0.0.1");
}

struct HttpServer::State {
  explicit State(const HttpLimits& with) : limits(with) {}

  void accept();
  void take(tcp::socket socket);
  void wait_for_signal();
  void stop();
  void give_up();

  const HttpLimits limits;
  asio::io_context io{1};
  tcp::acceptor acceptor{io};
  asio::steady_timer pause{io}, grace{io};
  asio::signal_set signals{io};
  HttpHandlers handlers;
  std::set<std::shared_ptr<HttpSession>> sessions;
  bool stopping = false;
};

HttpServer::HttpServer(const HttpLimits& limits) : state_(std::make_unique<State>(limits)) {}
HttpServer::~HttpServer() = default;

int HttpServer::listen(const std::string& host, int port) {
  const tcp::endpoint where(address_of(host), static_cast<uint16_t>(port));
  tcp::acceptor& acceptor = state_->acceptor;
  ErrorCode error;
  acceptor.open(where.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(where, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) fail("--port: ", port, " of ", host, " cannot be listened on: ", error.message());
  return acceptor.local_endpoint().port();
}

void HttpServer::run(HttpHandlers handlers, bool signals) {
  state_->handlers = std::move(handlers);
  if (signals) {
    state_->signals.add(SIGINT);
    state_->signals.add(SIGTERM);
    state_->wait_for_signal();
  }
  state_->accept();
  state_->io.run();
}

void HttpServer::stop() {
  asio::post(state_->io, [state = state_.get()] { state->stop(); });
}

void HttpServer::State::accept() {
  acceptor.async_accept([this](ErrorCode error, tcp::socket socket) {
    if (!acceptor.is_open()) return;
    if (!error) {
      take(std::move(socket));
      return accept();
    }
    // No file handles are left, mostly: those that close give some back.
    pause.expires_after(std::chrono::milliseconds(100));
    pause.async_wait([this](ErrorCode stopped) {
      if (!stopped && acceptor.is_open()) accept();
    });
  });
}

void HttpServer::State::take(tcp::socket socket) {
  // Those who are turned away hold a socket for a while too.
  if (sessions.size() >= 2 * limits.connections) return;
  ErrorCode ignored;
  socket.set_option(tcp::no_delay(true), ignored);
  socket.set_option(asio::socket_base::send_buffer_size(limits.send_buffer_bytes), ignored);
  const bool full = sessions.size() >= limits.connections;
  const auto session = std::make_shared<HttpSession>(
      std::move(socket),
      SessionHost{.limits = limits,
                  .handlers = handlers,
                  .stopping = stopping,
                  .closed = [this](const HttpSession& one) {
                    std::erase_if(sessions, [&](const auto& held) { return held.get() == &one; });
                    if (stopping && sessions.empty()) grace.cancel();
                  }});
  sessions.insert(session);
  if (!full) return session->start();
  HttpReply reply = handlers.problem(
      503, cat("all ", limits.connections, " connections that are allowed are taken"));
  reply.headers.emplace_back("Retry-After", "1");
  session->turn_away(std::move(reply));
}

void HttpServer::State::wait_for_signal() {
  signals.async_wait([this](ErrorCode error, int) {
    if (error) return;
    if (stopping) return give_up();
    log::info("stopping: what is under way may end; another signal ends it at once");
    wait_for_signal();
    stop();
  });
}

void HttpServer::State::stop() {
  if (stopping) return;
  stopping = true;
  ErrorCode ignored;
  acceptor.close(ignored);
  pause.cancel();
  for (const auto& session : std::set(sessions)) session->stop();
  if (sessions.empty()) {
    signals.cancel(ignored);
    return;
  }
  using Seconds = std::chrono::duration<double>;
  grace.expires_after(
      std::chrono::duration_cast<std::chrono::milliseconds>(Seconds(limits.grace_s)));
  grace.async_wait([this](ErrorCode) {
    // In time or not, nobody waits for a signal any more.
    ErrorCode unused;
    signals.cancel(unused);
    give_up();
  });
}

void HttpServer::State::give_up() {
  for (const auto& session : std::set(sessions)) session->give_up();
}

}  // namespace vernier
