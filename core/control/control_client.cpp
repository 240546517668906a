#include "core/control/control_client.h"

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

#include "core/base/errors.h"
#include "core/control/channel.h"

namespace vernier::control {

namespace asio = boost::asio;
using asio::ip::tcp;
using ErrorCode = boost::system::error_code;

struct ControlClient::State {
  State(std::string at, Limits most) : limits(most), where(std::move(at)) {}

  template <class Start>
  void within(const char* what, const Start& start);
  void connect(const std::string& host, int port);
  std::string receive(size_t count, const char* what);
  void open(Frames out, Frames in, std::function<std::string()> beat);
  void take(Message&& message);
  void run();

  Limits limits;  // of the thread, once it runs
  const std::string where;
  asio::io_context io{1};
  tcp::socket socket{io};
  std::shared_ptr<Channel> channel;

  std::mutex lock;  // of what follows
  std::condition_variable happened;
  std::vector<Message> messages;
  size_t waiting_bytes = 0;
  std::string ended;
  std::thread thread;
};

// One step of the greeting within its time; RunError where it fails.
template <class Start>
void ControlClient::State::within(const char* what, const Start& start) {
  ErrorCode error = asio::error::timed_out;
  bool done = false;
  start([&](ErrorCode with) {
    error = with;
    done = true;
  });
  io.restart();
  io.run_for(std::chrono::milliseconds(static_cast<int64_t>(limits.hello_s * 1e3)));
  if (!done) {
    ErrorCode ignored;
    socket.close(ignored);
    io.restart();
    io.run();
    error = asio::error::timed_out;
  }
  if (error) fail_run(where, ": ", what, ": ", error.message());
}

void ControlClient::State::connect(const std::string& host, int port) {
  tcp::resolver resolver(io);
  ErrorCode error;
  const auto places = resolver.resolve(host, cat(port), error);
  if (error) fail_run(where, ": is not known here: ", error.message());
  within("the job cannot be reached", [&](auto done) {
    asio::async_connect(socket, places, [done](ErrorCode one, const tcp::endpoint&) { done(one); });
  });
}

std::string ControlClient::State::receive(size_t count, const char* what) {
  std::string bytes(count, '\0');
  within(what, [&](auto done) {
    asio::async_read(socket, asio::buffer(bytes), [done](ErrorCode one, size_t) { done(one); });
  });
  return bytes;
}

void ControlClient::State::take(Message&& message) {
  if (message.type == kBeat) return;
  const std::lock_guard hold(lock);
  waiting_bytes += message.payload.size();
  messages.push_back(std::move(message));
  happened.notify_one();
}

void ControlClient::State::open(Frames out, Frames in, std::function<std::string()> beat) {
  channel = std::make_shared<Channel>(
      std::move(socket), out, in,
      Channel::Host{.limits = limits,
                    .take = [this](Message&& message) { take(std::move(message)); },
                    .full =
                        [this] {
                          const std::lock_guard hold(lock);
                          return waiting_bytes > limits.in_bytes;
                        },
                    .beat = beat ? std::move(beat) : [] { return std::string(); },
                    .ended =
                        [this](const std::string& why) {
                          const std::lock_guard hold(lock);
                          ended = why;
                          happened.notify_one();
                        }});
  channel->start();
  io.restart();
  thread = std::thread([this] { run(); });
}

void ControlClient::State::run() {
  try {
    io.run();
  } catch (const std::exception& problem) {
    const std::lock_guard hold(lock);
    ended = problem.what();
    happened.notify_one();
  }
}

ControlClient::ControlClient(const std::string& host, int port, const std::string& secret,
                             Limits limits, std::function<std::string()> beat)
    : state_(std::make_unique<State>(cat(host, ":", port), limits)) {
  State& state = *state_;
  state.connect(host, port);
  const std::string theirs = state.receive(kHelloBytes, "no job of Vernier greets there");
  if (const std::string problem = hello_problem(theirs, "a job"); !problem.empty())
    fail_run(state.where, ": is no job to join: ", problem);
  std::string answer = hello(random_nonce());
  const std::string job_nonce(nonce_of(theirs)), worker_nonce(nonce_of(answer));
  const Mac mine = proof(secret, Side::worker, job_nonce, worker_nonce);
  answer.append(mine.begin(), mine.end());
  state.within("the job left in the middle of the greeting", [&](auto done) {
    asio::async_write(state.socket, asio::buffer(answer),
                      [done](ErrorCode one, size_t) { done(one); });
  });
  const std::string known =
      state.receive(kMacBytes, "the job refuses this worker; is the secret the job's?");
  if (!equal(proof(secret, Side::job, job_nonce, worker_nonce), known))
    fail_run(state.where, ": does not know the secret, so it is not the job to join");
  state.open(Frames(secret, Side::worker, job_nonce, worker_nonce),
             Frames(secret, Side::job, job_nonce, worker_nonce), std::move(beat));
}

ControlClient::~ControlClient() {
  asio::post(state_->io, [state = state_.get()] { state->io.stop(); });
  if (state_->thread.joinable()) state_->thread.join();
}

void ControlClient::set_deadline(double seconds) {
  asio::post(state_->io, [state = state_.get(), seconds] { state->limits.deadline_s = seconds; });
}

std::vector<Message> ControlClient::poll(double seconds) {
  State& state = *state_;
  std::unique_lock hold(state.lock);
  if (seconds > 0)
    state.happened.wait_for(hold, std::chrono::duration<double>(seconds),
                            [&] { return !state.messages.empty() || !state.ended.empty(); });
  if (state.messages.empty() && !state.ended.empty())
    fail_run(state.where, ": the job is gone: ", state.ended);
  state.waiting_bytes = 0;
  return std::exchange(state.messages, {});
}

void ControlClient::send(uint16_t type, std::string payload) {
  check_size(payload);
  asio::post(state_->io, [state = state_.get(), type, payload = std::move(payload)]() mutable {
    state->channel->send(type, std::move(payload));
  });
}

void ControlClient::finish() {
  asio::post(state_->io, [state = state_.get()] { state->channel->finish(); });
  std::unique_lock hold(state_->lock);
  state_->happened.wait_for(hold, std::chrono::duration<double>(state_->limits.hello_s),
                            [&] { return !state_->ended.empty(); });
}

}  // namespace vernier::control
