#include "core/control/control_server.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <condition_variable>
#include <exception>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "core/base/errors.h"
#include "core/base/log.h"
#include "core/control/channel.h"

namespace vernier::control {

namespace asio = boost::asio;
using asio::ip::tcp;
using ErrorCode = boost::system::error_code;

namespace {

constexpr int64_t kMostPeers = 4096, kMostGreetings = 256;
constexpr int64_t kToldRefusals = 20;  // one by one; then every hundredth

auto into(ErrorCode& error) { return asio::redirect_error(asio::use_awaitable, error); }

asio::ip::address address_of(const std::string& host) {
  if (host == "localhost") return asio::ip::address_v4::loopback();
  ErrorCode error;
  const auto address = asio::ip::make_address(host, error);
  if (error)
    fail("cluster.workers.listen: '", host,
         "' is neither localhost nor an address, as 127.0.0.1 or ::1");
  return address;
}

std::string text_of(const tcp::endpoint& where) {
  const bool six = where.address().is_v6();
  return cat(six ? "[" : "", where.address().to_string(), six ? "]:" : ":", where.port());
}

}  // namespace

namespace {

// Who says nothing is cut off. The timer's handler may be on its way when the greeting is over.
struct Greeting {
  Greeting(tcp::socket from, int64_t& open) : socket(std::move(from)), count(open) { ++count; }
  ~Greeting() { --count; }
  Greeting(const Greeting&) = delete;
  Greeting& operator=(const Greeting&) = delete;

  tcp::socket socket;
  int64_t& count;
  bool late = false, over = false;
};

}  // namespace

struct ControlServer::State {
  State(std::string with, Limits most) : secret(std::move(with)), limits(most) {}

  asio::awaitable<void> accept();
  asio::awaitable<void> greet(std::shared_ptr<Greeting> one, std::string from);
  void admit(tcp::socket socket, const std::string& from, const std::string& job_nonce,
             const std::string& worker_nonce);
  void refuse(const std::string& from, const std::string& why);
  void push(PeerEvent&& event);

  const std::string secret;
  const Limits limits;
  asio::io_context io{1};
  tcp::acceptor acceptor{io};
  int64_t greetings = 0, refused = 0, next_peer = 1;
  std::map<int64_t, std::shared_ptr<Channel>> peers;

  std::mutex lock;  // of what follows
  std::condition_variable happened;
  std::vector<PeerEvent> events;
  size_t waiting_bytes = 0;
  std::exception_ptr failure;  // of the thread
  std::thread thread;
};

void ControlServer::State::push(PeerEvent&& event) {
  const std::lock_guard hold(lock);
  waiting_bytes += event.message.payload.size();
  events.push_back(std::move(event));
  happened.notify_one();
}

// A flood of strangers must not fill the log.
void ControlServer::State::refuse(const std::string& from, const std::string& why) {
  if (++refused > kToldRefusals && refused % 100 != 0) return;
  log::warn(cat("workers: ", from, " is refused: ", why,
                refused >= kToldRefusals
                    ? cat(" (", refused, " so far; only some are told of from here on)")
                    : ""));
}

asio::awaitable<void> ControlServer::State::accept() {
  while (acceptor.is_open()) {
    ErrorCode error;
    tcp::socket socket = co_await acceptor.async_accept(into(error));
    if (!acceptor.is_open()) co_return;
    if (error) {  // no file handles are left, mostly: those that close give some back
      asio::steady_timer pause(io, std::chrono::milliseconds(100));
      co_await pause.async_wait(into(error));
      continue;
    }
    const tcp::endpoint where = socket.remote_endpoint(error);
    if (error) continue;
    if (std::ssize(peers) >= kMostPeers || greetings >= kMostGreetings) {
      refuse(text_of(where), cat("there are ", peers.size(), " workers and ", greetings,
                                 " that have not greeted yet"));
      continue;
    }
    asio::co_spawn(io,
                   greet(std::make_shared<Greeting>(std::move(socket), greetings), text_of(where)),
                   asio::detached);
  }
}

asio::awaitable<void> ControlServer::State::greet(std::shared_ptr<Greeting> one, std::string from) {
  asio::steady_timer timer(io,
                           std::chrono::milliseconds(static_cast<int64_t>(limits.hello_s * 1e3)));
  timer.async_wait([one](ErrorCode stopped) {
    if (stopped || one->over) return;
    one->late = true;
    ErrorCode ignored;
    one->socket.close(ignored);
  });
  std::string answer(kAnswerBytes, '\0');
  const std::string own = hello(random_nonce());
  ErrorCode error;
  co_await asio::async_write(one->socket, asio::buffer(own), into(error));
  // The beginning says what a stranger is, however little it sends.
  size_t count = 0;
  if (!error)
    count = co_await asio::async_read(one->socket, asio::buffer(answer.data(), kHelloBytes),
                                      into(error));
  std::string problem = hello_problem(std::string_view(answer).substr(0, count), "a worker");
  if (count == 0) problem = one->late ? "it said nothing" : "it left without a word";
  const std::string job_nonce(nonce_of(own)), worker_nonce(nonce_of(answer));
  if (problem.empty()) {
    co_await asio::async_read(one->socket, asio::buffer(answer.data() + kHelloBytes, kMacBytes),
                              into(error));
    if (error)
      problem = one->late ? "it took too long to greet" : "it left in the middle of the greeting";
    else if (!equal(proof(secret, Side::worker, job_nonce, worker_nonce),
                    std::string_view(answer).substr(kHelloBytes)))
      problem = "its secret is another one";
  }
  if (problem.empty()) {
    const Mac mine = proof(secret, Side::job, job_nonce, worker_nonce);
    co_await asio::async_write(one->socket, asio::buffer(mine), into(error));
    if (error || one->late) problem = "it left in the middle of the greeting";
  }
  one->over = true;
  timer.cancel();
  if (problem.empty())
    admit(std::move(one->socket), from, job_nonce, worker_nonce);
  else
    refuse(from, problem);
}

void ControlServer::State::admit(tcp::socket socket, const std::string& from,
                                 const std::string& job_nonce, const std::string& worker_nonce) {
  const int64_t peer = next_peer++;
  const auto channel = std::make_shared<Channel>(
      std::move(socket), Frames(secret, Side::job, job_nonce, worker_nonce),
      Frames(secret, Side::worker, job_nonce, worker_nonce),
      Channel::Host{
          .limits = limits,
          .take =
              [this, peer](Message&& message) {
                if (message.type == kBeat) return;
                push({.kind = PeerEvent::Kind::message,
                      .peer = peer,
                      .message = std::move(message),
                      .text = ""});
              },
          .full =
              [this] {
                const std::lock_guard hold(lock);
                return waiting_bytes > limits.in_bytes;
              },
          .beat = [] { return std::string(); },
          .ended =
              [this, peer](const std::string& why) {
                peers.erase(peer);
                push({.kind = PeerEvent::Kind::left, .peer = peer, .message = {}, .text = why});
              }});
  peers[peer] = channel;
  push({.kind = PeerEvent::Kind::joined, .peer = peer, .message = {}, .text = from});
  channel->start();
}

ControlServer::ControlServer(const std::string& host, int port, std::string secret, Limits limits)
    : state_(std::make_unique<State>(std::move(secret), limits)) {
  const tcp::endpoint where(address_of(host), static_cast<uint16_t>(port));
  tcp::acceptor& acceptor = state_->acceptor;
  ErrorCode error;
  acceptor.open(where.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(where, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error)
    fail("cluster.workers.listen: ", host, ":", port, " cannot be listened on: ", error.message());
  asio::co_spawn(state_->io, state_->accept(), [](const std::exception_ptr& failure) {
    if (failure) std::rethrow_exception(failure);
  });
  state_->thread = std::thread([state = state_.get()] {
    try {
      state->io.run();
    } catch (...) {
      const std::lock_guard hold(state->lock);
      state->failure = std::current_exception();
      state->happened.notify_one();
    }
  });
}

ControlServer::~ControlServer() {
  asio::post(state_->io, [state = state_.get()] {
    ErrorCode ignored;
    state->acceptor.close(ignored);
    state->io.stop();
  });
  state_->thread.join();
}

int ControlServer::port() const { return state_->acceptor.local_endpoint().port(); }

std::vector<PeerEvent> ControlServer::poll(double seconds) {
  std::unique_lock hold(state_->lock);
  if (state_->events.empty() && seconds > 0)
    state_->happened.wait_for(hold, std::chrono::duration<double>(seconds),
                              [&] { return !state_->events.empty() || state_->failure; });
  if (state_->failure) std::rethrow_exception(state_->failure);
  state_->waiting_bytes = 0;
  return std::exchange(state_->events, {});
}

void ControlServer::send(int64_t peer, uint16_t type, std::string payload) {
  check_size(payload);
  asio::post(state_->io,
             [state = state_.get(), peer, type, payload = std::move(payload)]() mutable {
               if (const auto found = state->peers.find(peer); found != state->peers.end())
                 std::shared_ptr(found->second)->send(type, std::move(payload));
             });
}

void ControlServer::finish(int64_t peer) {
  asio::post(state_->io, [state = state_.get(), peer] {
    if (const auto found = state->peers.find(peer); found != state->peers.end())
      std::shared_ptr(found->second)->finish();
  });
}

void ControlServer::drop(int64_t peer, const std::string& why) {
  asio::post(state_->io, [state = state_.get(), peer, why] {
    if (const auto found = state->peers.find(peer); found != state->peers.end())
      std::shared_ptr(found->second)->end(why);
  });
}

}  // namespace vernier::control
