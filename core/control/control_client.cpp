#include "core/control/control_client.h"

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "core/base/errors.h"

namespace vernier::control {

namespace asio = boost::asio;
using asio::ip::tcp;
using ErrorCode = boost::system::error_code;

struct ControlClient::State {
  explicit State(Limits most) : limits(most) {}

  const Limits limits;
  std::string where;
  asio::io_context io{1};
  std::shared_ptr<Channel> channel;

  std::mutex lock;  // of what follows
  std::condition_variable happened;
  std::vector<Message> messages;
  size_t waiting_bytes = 0;
  std::string ended;
  std::thread thread;
};

namespace {

// One step of the greeting within its time.
template <class Start>
ErrorCode within(asio::io_context& io, double seconds, tcp::socket& socket, const Start& start) {
  ErrorCode out = asio::error::timed_out;
  bool done = false;
  start([&](ErrorCode error) {
    out = error;
    done = true;
  });
  io.restart();
  io.run_for(std::chrono::milliseconds(static_cast<int64_t>(seconds * 1e3)));
  if (!done) {
    ErrorCode ignored;
    socket.close(ignored);
    io.restart();
    io.run();
    out = asio::error::timed_out;
  }
  return out;
}

}  // namespace

ControlClient::ControlClient(const std::string& host, int port, const std::string& secret,
                             Limits limits, std::function<std::string()> beat)
    : state_(std::make_unique<State>(limits)) {
  State& state = *state_;
  state.where = cat(host, ":", port);
  const auto check = [&](const char* what, ErrorCode error) {
    if (error) fail_run(state.where, ": ", what, ": ", error.message());
  };
  tcp::resolver resolver(state.io);
  ErrorCode error;
  const auto places = resolver.resolve(host, cat(port), error);
  check("is not known here", error);
  tcp::socket socket(state.io);
  check("the job cannot be reached", within(state.io, limits.hello_s, socket, [&](auto done) {
          asio::async_connect(socket, places,
                              [done](ErrorCode one, const tcp::endpoint&) { done(one); });
        }));
  const auto receive = [&](std::string& bytes, const char* what) {
    check(what, within(state.io, limits.hello_s, socket, [&](auto done) {
            asio::async_read(socket, asio::buffer(bytes),
                             [done](ErrorCode one, size_t) { done(one); });
          }));
  };
  std::string theirs(kHelloBytes, '\0');
  receive(theirs, "no job of Vernier greets there");
  if (const std::string problem = hello_problem(theirs, "a job"); !problem.empty())
    fail_run(state.where, ": is no job to join: ", problem);
  std::string answer = hello(random_nonce());
  const std::string job_nonce(nonce_of(theirs)), worker_nonce(nonce_of(answer));
  const Mac mine = proof(secret, Side::worker, job_nonce, worker_nonce);
  answer.append(mine.begin(), mine.end());
  check("the job left in the middle of the greeting",
        within(state.io, limits.hello_s, socket, [&](auto done) {
          asio::async_write(socket, asio::buffer(answer),
                            [done](ErrorCode one, size_t) { done(one); });
        }));
  std::string known(kMacBytes, '\0');
  receive(known, "the job refuses this worker; is the secret the job's?");
  if (!equal(proof(secret, Side::job, job_nonce, worker_nonce), known))
    fail_run(state.where, ": does not know the secret, so it is not the job to join");
  state.channel = std::make_shared<Channel>(
      std::move(socket), Frames(secret, Side::worker, job_nonce, worker_nonce),
      Frames(secret, Side::job, job_nonce, worker_nonce),
      Channel::Host{.limits = state.limits,
                    .take =
                        [&state](Message&& message) {
                          if (message.type == kBeat) return;
                          const std::lock_guard hold(state.lock);
                          state.waiting_bytes += message.payload.size();
                          state.messages.push_back(std::move(message));
                          state.happened.notify_one();
                        },
                    .full =
                        [&state] {
                          const std::lock_guard hold(state.lock);
                          return state.waiting_bytes > state.limits.in_bytes;
                        },
                    .beat = beat ? std::move(beat) : [] { return std::string(); },
                    .ended =
                        [&state](const std::string& why) {
                          const std::lock_guard hold(state.lock);
                          state.ended = why;
                          state.happened.notify_one();
                        }});
  state.channel->start();
  state.io.restart();
  state.thread = std::thread([&state] { state.io.run(); });
}

ControlClient::~ControlClient() {
  asio::post(state_->io, [state = state_.get()] { state->io.stop(); });
  state_->thread.join();
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
