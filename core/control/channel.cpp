#include "core/control/channel.h"

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <utility>

#include "core/base/errors.h"

namespace vernier::control {

namespace asio = boost::asio;
using std::chrono::steady_clock;
using ErrorCode = boost::system::error_code;

namespace {

steady_clock::duration seconds(double s) {
  return std::chrono::duration_cast<steady_clock::duration>(std::chrono::duration<double>(s));
}

auto into(ErrorCode& error) { return asio::redirect_error(asio::use_awaitable, error); }

}  // namespace

Channel::Channel(asio::ip::tcp::socket socket, Frames out, Frames in, Host host)
    : socket_(std::move(socket)),
      out_frames_(out),
      in_frames_(in),
      host_(std::move(host)),
      writable_(socket_.get_executor()),
      watching_(socket_.get_executor()),
      pause_(socket_.get_executor()),
      heard_(steady_clock::now()) {
  ErrorCode ignored;
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
}

void Channel::start() {
  const auto self = shared_from_this();
  // Each holds the channel as long as it runs.
  const auto spawn = [&](asio::awaitable<void> (Channel::*body)()) {
    asio::co_spawn(
        socket_.get_executor(), [self, body] { return ((*self).*body)(); }, asio::detached);
  };
  spawn(&Channel::read);
  spawn(&Channel::write);
  spawn(&Channel::watch);
}

void Channel::send(uint16_t type, std::string payload) {
  if (ended_) return;
  out_.push_back(out_frames_.write(type, payload));
  out_bytes_ += out_.back().size();
  if (out_bytes_ > host_.limits.out_bytes)
    return end(cat("it is too slow: ", out_bytes_, " bytes wait to be read by it"));
  writable_.cancel();
}

void Channel::finish() {
  finishing_ = true;
  if (out_.empty()) end("finished");
}

void Channel::end(const std::string& why) {
  if (std::exchange(ended_, true)) return;
  ErrorCode ignored;
  socket_.shutdown(asio::ip::tcp::socket::shutdown_both, ignored);
  socket_.close(ignored);
  for (auto* timer : {&writable_, &watching_, &pause_}) timer->cancel();
  host_.ended(why);
}

// As it comes: a long frame on a slow line is a sign of life all the time, and takes the memory of
// what has arrived.
asio::awaitable<bool> Channel::receive(std::string& bytes, size_t count) {
  constexpr size_t kPiece = size_t{1} << 20;
  bytes.clear();
  for (size_t have = 0; have < count;) {
    bytes.resize(std::min(count, have + kPiece));
    ErrorCode error;
    have += co_await socket_.async_read_some(asio::buffer(bytes.data() + have, bytes.size() - have),
                                             into(error));
    if (error || ended_) {
      end(cat("the connection ended: ", error.message()));
      co_return false;
    }
    heard_ = steady_clock::now();
  }
  co_return true;
}

asio::awaitable<void> Channel::read() {
  std::string head;
  while (!ended_) {
    while (!ended_ && host_.full()) {  // its bytes stay in the network until there is room
      ErrorCode ignored;
      pause_.expires_after(std::chrono::milliseconds(5));
      co_await pause_.async_wait(into(ignored));
      heard_ = steady_clock::now();
    }
    if (ended_ || !co_await receive(head, kHeaderBytes)) co_return;
    const Frames::Header header = Frames::header(head);
    if (!header.problem.empty()) co_return end(cat("it sent ", header.problem));
    Message message{.type = header.type, .payload = ""};
    if (!co_await receive(message.payload, header.length)) co_return;
    if (!in_frames_.check(head, message.payload))
      co_return end("it sent a frame that was not made with its secret, or not in this order");
    host_.take(std::move(message));
  }
}

asio::awaitable<void> Channel::write() {
  while (!ended_) {
    if (out_.empty()) {
      if (finishing_) co_return end("finished");
      ErrorCode ignored;
      writable_.expires_at(steady_clock::time_point::max());
      co_await writable_.async_wait(into(ignored));
      continue;
    }
    ErrorCode error;
    co_await asio::async_write(socket_, asio::buffer(out_.front()), into(error));
    if (error || ended_) co_return end(cat("the connection ended: ", error.message()));
    out_bytes_ -= out_.front().size();
    out_.pop_front();
  }
}

// Beats, and looks for those of the peer. The peer's deadline may be another than this side's.
asio::awaitable<void> Channel::watch() {
  while (!ended_) {
    ErrorCode ignored;
    watching_.expires_after(seconds(std::min(0.25, host_.limits.deadline_s / 6)));
    co_await watching_.async_wait(into(ignored));
    if (ended_) co_return;
    if (steady_clock::now() - heard_ > seconds(host_.limits.deadline_s))
      co_return end(
          cat("it has not been heard of for ", host_.limits.deadline_s, " s (cluster.deadline_s)"));
    if (out_.empty()) send(kBeat, host_.beat());
  }
}

}  // namespace vernier::control
