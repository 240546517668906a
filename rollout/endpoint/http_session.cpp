#include "rollout/endpoint/http_session.h"

#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/status.hpp>
#include <chrono>

#include "core/base/text.h"

namespace vernier {

namespace asio = boost::asio;
namespace http = boost::beast::http;

namespace {

// Hands calls over to the thread of the session.
class SessionExchange final : public Exchange {
 public:
  SessionExchange(const std::shared_ptr<HttpSession>& session, asio::any_io_executor executor,
                  uint64_t number)
      : session_(session), executor_(std::move(executor)), number_(number) {}

  void reply(HttpReply reply) override {
    post([reply = std::move(reply)](HttpSession& to, uint64_t number) { to.reply(number, reply); });
  }
  void begin(HttpReply head) override {
    post([head = std::move(head)](HttpSession& to, uint64_t number) { to.begin(number, head); });
  }
  void write(std::string part) override {
    post([part = std::move(part)](HttpSession& to, uint64_t number) { to.write(number, part); });
  }
  void end() override {
    post([](HttpSession& to, uint64_t number) { to.end(number); });
  }
  void when_left(std::function<void()> told) override {
    if (const auto session = session_.lock()) session->when_left(number_, std::move(told));
  }

 private:
  template <class Call>
  void post(Call call) {
    asio::post(executor_, [call = std::move(call), session = session_, number = number_] {
      if (const auto to = session.lock()) call(*to, number);
    });
  }

  std::weak_ptr<HttpSession> session_;
  asio::any_io_executor executor_;
  uint64_t number_;
};

}  // namespace

HttpSession::HttpSession(asio::ip::tcp::socket socket, SessionHost host)
    : socket_(std::move(socket)),
      host_(std::move(host)),
      read_timer_(socket_.get_executor()),
      write_timer_(socket_.get_executor()) {}

void HttpSession::start() { next_request(); }

void HttpSession::turn_away(HttpReply reply) {
  refuse(std::move(reply));
  read();
}

void HttpSession::stop() {
  if (phase_ == Phase::idle && !writing_) return close();
  keep_alive_ = false;
}

void HttpSession::give_up() {
  if (!answering_) return close();
  client_left();
  if (in_parts_) return close();
  refuse(host_.handlers.problem(503, "the server is stopping"));
}

// ---- Reading.

void HttpSession::read() {
  if (reading_ || at_end_ || phase_ == Phase::closed) return;
  reading_ = true;
  socket_.async_read_some(
      asio::buffer(in_),
      [self = shared_from_this()](ErrorCode error, size_t bytes) { self->on_read(error, bytes); });
}

void HttpSession::on_read(ErrorCode error, size_t bytes) {
  reading_ = false;
  if (phase_ == Phase::closed) return;
  buffer_.commit(asio::buffer_copy(buffer_.prepare(bytes), asio::buffer(in_, bytes)));
  if (error) return on_end(error == asio::error::eof);
  read_on();
}

// What to do with the bytes that are there.
void HttpSession::read_on() {
  switch (phase_) {
    case Phase::idle:
      return begin_request();
    case Phase::header:
      return parse_header();
    case Phase::body:
      return parse_body();
    case Phase::answer:
      // The next request waits in the buffer, which must not grow without end; and without a read
      // under way nobody would notice that the client has left.
      if (buffer_.size() < host_.limits.header_bytes) return read();
      return break_off(cat("more than ", host_.limits.header_bytes,
                           " bytes came after a request whose answer is not complete"));
    case Phase::linger:
      buffer_.consume(buffer_.size());
      return read();
    case Phase::closed:
      return;
  }
}

// The client sends no more. `in_order`: it said so; else the connection is lost.
void HttpSession::on_end(bool in_order) {
  at_end_ = true;
  if (!in_order) {
    client_left();
    return close();
  }
  switch (phase_) {
    case Phase::header:
    case Phase::body:
      return problem(400, "the connection ended in the middle of a request");
    case Phase::answer:
      // Whether it has left or only closed its half cannot be told apart before the answer is
      // written, and an answer for nobody costs a place.
      return break_off(
          "the client closed its half of the connection before the answer, which counts as "
          "leaving; keep it open until the answer has come");
    default:
      return close();
  }
}

// Gives up the answer that is in the making.
void HttpSession::break_off(const std::string& why) {
  if (!answering_ || !left_) return;  // the answer is on its way
  client_left();
  if (in_parts_) return close();
  problem(400, why);
}

void HttpSession::next_request() {
  if (host_.stopping) return close();
  phase_ = Phase::idle;
  parser_.reset();
  if (buffer_.size() > 0) return begin_request();
  if (at_end_) return close();
  set_timer(read_timer_, host_.limits.idle_s, &HttpSession::on_read_late);
  read();
}

void HttpSession::begin_request() {
  phase_ = Phase::header;
  parser_.emplace();
  parser_->header_limit(static_cast<std::uint32_t>(host_.limits.header_bytes));
  parser_->body_limit(host_.limits.body_bytes);
  parser_->eager(false);
  set_timer(read_timer_, host_.limits.header_s, &HttpSession::on_read_late);
  parse_header();
}

void HttpSession::parse_header() {
  while (!parser_->is_header_done()) {
    ErrorCode error;
    buffer_.consume(parser_->put(buffer_.data(), error));
    if (error == http::error::need_more) {
      if (at_end_) return problem(400, "the connection ended in the middle of a request");
      return read();
    }
    if (error) return on_parse_error(error);
  }
  const auto& head = parser_->get();
  const std::string target(head.target());
  const size_t mark = std::min(target.find('?'), target.size());
  request_ = {.method = std::string(head.method_string()),
              .path = target.substr(0, mark),
              .query = target.substr(std::min(mark + 1, target.size())),
              .authorization = std::string(head[http::field::authorization]),
              .host = std::string(head[http::field::host]),
              .cookie = std::string(head[http::field::cookie]),
              .last_event_id = std::string(head["Last-Event-ID"]),
              .fetch_site = std::string(head["Sec-Fetch-Site"]),
              .body = {}};
  http_1_0_ = head.version() < 11;
  keep_alive_ = parser_->keep_alive();
  if (host_.stopping) return refuse(host_.handlers.problem(503, "the server is stopping"));
  if (auto reply = host_.handlers.refuse(request_)) return refuse(*std::move(reply));
  phase_ = Phase::body;
  set_timer(read_timer_, host_.limits.body_s, &HttpSession::on_read_late);
  const bool waits = boost::beast::iequals(head[http::field::expect], "100-continue");
  if (waits && buffer_.size() == 0 && !parser_->is_done()) send("HTTP/1.1 100 Continue\r\n\r\n");
  parser_->eager(true);
  parse_body();
}

void HttpSession::parse_body() {
  while (!parser_->is_done()) {
    ErrorCode error;
    const size_t bytes = buffer_.size() > 0 ? parser_->put(buffer_.data(), error) : 0;
    buffer_.consume(bytes);
    if (error && error != http::error::need_more) return on_parse_error(error);
    if (parser_->is_done()) break;
    if (bytes > 0 && buffer_.size() > 0 && !error) continue;
    if (at_end_) return problem(400, "the connection ended in the middle of a request");
    // Bytes of the body are taken as they come; what stays is the head of a chunk, or a trailer.
    if (buffer_.size() > host_.limits.header_bytes)
      return problem(431, cat("the head of a chunk is larger than the ", host_.limits.header_bytes,
                              " bytes that are allowed"));
    return read();
  }
  request_.body = std::move(parser_->get().body());
  answer();
}

void HttpSession::on_parse_error(ErrorCode error) {
  if (error == http::error::body_limit)
    return problem(413, cat("the body is larger than the ", host_.limits.body_bytes,
                            " bytes that are allowed"));
  if (error == http::error::header_limit)
    return problem(431, cat("the header is larger than the ", host_.limits.header_bytes,
                            " bytes that are allowed"));
  problem(400, cat("not an HTTP request: ", error.message()));
}

// ---- Answering.

void HttpSession::answer() {
  phase_ = Phase::answer;
  read_timer_.cancel();
  answering_ = true;
  in_parts_ = false;
  const auto self = shared_from_this();
  host_.handlers.answer(std::move(request_), std::make_shared<SessionExchange>(
                                                 self, socket_.get_executor(), ++exchange_));
  if (at_end_) return on_end(true);
  read_on();
}

void HttpSession::reply(uint64_t exchange, const HttpReply& reply) {
  if (!answering_ || exchange != exchange_ || in_parts_) return;
  send_head(reply, reply.body.size());
  if (parser_->get().method() != http::verb::head) send(reply.body);
  finish_answer();
}

void HttpSession::begin(uint64_t exchange, const HttpReply& head) {
  if (!answering_ || exchange != exchange_ || in_parts_) return;
  in_parts_ = true;
  chunked_ = !http_1_0_;
  if (http_1_0_) keep_alive_ = false;  // the end of the connection is the end of the answer
  send_head(head, std::nullopt);
}

void HttpSession::write(uint64_t exchange, const std::string& part) {
  if (!answering_ || exchange != exchange_ || !in_parts_ || part.empty()) return;
  if (chunked_) {
    char size[20];
    const auto end = std::to_chars(size, size + sizeof size, part.size(), 16).ptr;
    send(cat(std::string_view(size, static_cast<size_t>(end - size)), "\r\n", part, "\r\n"));
  } else {
    send(part);
  }
  if (out_bytes_ <= host_.limits.unsent_bytes) return;
  client_left();
  close();
}

void HttpSession::end(uint64_t exchange) {
  if (!answering_ || exchange != exchange_ || !in_parts_) return;
  if (chunked_) send("0\r\n\r\n");
  finish_answer();
}

void HttpSession::when_left(uint64_t exchange, std::function<void()> told) {
  if (answering_ && exchange == exchange_) left_ = std::move(told);
}

void HttpSession::finish_answer() {
  answering_ = false;
  left_ = nullptr;
  if (!writing_) on_all_written();
}

// An answer of the server's own; what the client still sends is not read as a request.
void HttpSession::refuse(HttpReply reply) {
  if (phase_ == Phase::closed) return;
  phase_ = Phase::answer;
  read_timer_.cancel();
  keep_alive_ = false;
  answering_ = false;
  send_head(reply, reply.body.size());
  const bool head =
      parser_ && parser_->is_header_done() && parser_->get().method() == http::verb::head;
  if (!head) send(std::move(reply.body));
}

void HttpSession::problem(int status, const std::string& message) {
  refuse(host_.handlers.problem(status, message));
}

// The client no longer waits for the answer, or is not to have it.
void HttpSession::client_left() {
  answering_ = false;
  if (const auto told = std::exchange(left_, nullptr)) told();
}

// ---- Writing.

void HttpSession::send_head(const HttpReply& reply, std::optional<size_t> length) {
  if (host_.stopping) keep_alive_ = false;
  std::string head =
      cat("HTTP/1.1 ", reply.status, " ",
          std::string(http::obsolete_reason(static_cast<http::status>(reply.status))),
          "\r\nServer: vernier\r\nContent-Type: ", reply.type, "\r\n");
  for (const auto& [name, value] : reply.headers) head += cat(name, ": ", value, "\r\n");
  if (length)
    head += cat("Content-Length: ", *length, "\r\n");
  else if (chunked_)
    head += "Transfer-Encoding: chunked\r\n";
  head += cat("Connection: ", keep_alive_ ? "keep-alive" : "close", "\r\n\r\n");
  send(std::move(head));
}

void HttpSession::send(std::string bytes) {
  if (bytes.empty() || phase_ == Phase::closed) return;
  out_bytes_ += bytes.size();
  out_.push_back(std::move(bytes));
  if (!writing_) write_some();
}

void HttpSession::write_some() {
  writing_ = true;
  set_timer(write_timer_, host_.limits.write_s, &HttpSession::on_write_late);
  const std::string& first = out_.front();
  socket_.async_write_some(asio::buffer(first.data() + out_offset_, first.size() - out_offset_),
                           [self = shared_from_this()](ErrorCode error, size_t bytes) {
                             self->on_written(error, bytes);
                           });
}

void HttpSession::on_written(ErrorCode error, size_t bytes) {
  writing_ = false;
  write_timer_.cancel();
  if (phase_ == Phase::closed) return;
  if (error) {
    client_left();
    return close();
  }
  out_bytes_ -= bytes;
  out_offset_ += bytes;
  if (out_offset_ == out_.front().size()) {
    out_.pop_front();
    out_offset_ = 0;
  }
  if (!out_.empty()) return write_some();
  if (phase_ == Phase::answer && !answering_) on_all_written();
}

void HttpSession::on_all_written() {
  if (keep_alive_ && !host_.stopping) return next_request();
  // Closing while bytes of the client are unread would reset the connection, and the answer with
  // it.
  ErrorCode ignored;
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  if (at_end_) return close();
  phase_ = Phase::linger;
  set_timer(read_timer_, host_.limits.linger_s, &HttpSession::on_read_late);
  read_on();
}

void HttpSession::close() {
  if (phase_ == Phase::closed) return;
  phase_ = Phase::closed;
  const auto self = shared_from_this();
  read_timer_.cancel();
  write_timer_.cancel();
  ErrorCode ignored;
  socket_.close(ignored);
  client_left();
  host_.closed(*this);
}

// ---- Clocks.

void HttpSession::set_timer(asio::steady_timer& timer, double seconds,
                            void (HttpSession::*late)()) {
  using Seconds = std::chrono::duration<double>;
  timer.expires_after(std::chrono::duration_cast<std::chrono::milliseconds>(Seconds(seconds)));
  timer.async_wait([self = shared_from_this(), &timer, late](ErrorCode error) {
    // The timer may have been set anew after this call was on its way.
    if (!error && timer.expiry() <= std::chrono::steady_clock::now()) (self.get()->*late)();
  });
}

void HttpSession::on_read_late() {
  if (phase_ == Phase::header || phase_ == Phase::body)
    return problem(408, phase_ == Phase::header
                            ? cat("the header took longer than ", host_.limits.header_s, " s")
                            : cat("the body took longer than ", host_.limits.body_s, " s"));
  if (phase_ == Phase::idle || phase_ == Phase::linger) close();
}

void HttpSession::on_write_late() {
  client_left();
  close();
}

}  // namespace vernier
