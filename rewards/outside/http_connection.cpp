#include "rewards/outside/http_connection.h"

#include <algorithm>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/beast/core/error.hpp>
#include <boost/beast/http/read.hpp>
#include <charconv>
#include <chrono>

#include "core/base/errors.h"
#include "rewards/outside/question.h"

namespace vernier {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;

namespace {

constexpr double kMaxRetryAfterS = 86400;

bool is_address(const std::string& host) {
  boost::system::error_code error;
  asio::ip::make_address(host, error);
  return !error;
}

// Seconds; the other form, a date, is left to our own delays.
double retry_after(std::string_view text) {
  double seconds = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  const bool whole = problem == std::errc() && end == text.data() + text.size();
  // No header makes a time that cannot be counted.
  return whole && seconds > 0 ? std::min(seconds, kMaxRetryAfterS) : 0;
}

}  // namespace

HttpConnection::HttpConnection(asio::io_context& io, asio::ssl::context& tls, HttpLookup& lookup,
                               const HttpUrl& url, const HttpClientConfig& config)
    : url_(url), config_(config), lookup_(lookup), lookup_ends_(io) {
  if (!url.tls) {
    plain_.emplace(io);
  } else {
    tls_.emplace(beast::tcp_stream(io), tls);
    if (config.verify_tls) {
      tls_->set_verify_mode(asio::ssl::verify_peer);
      tls_->set_verify_callback(asio::ssl::host_name_verification(url.host));
    }
    // An address is no name, and servers refuse it as one.
    if (!is_address(url.host)) ::SSL_set_tlsext_host_name(tls_->native_handle(), url.host.c_str());
  }
  const bool usual = url.port == (url.tls ? "443" : "80");
  const bool brackets = url.host.find(':') != std::string::npos;
  request_.version(11);
  request_.method(http::verb::post);
  request_.target(url.target);
  request_.set(http::field::host, cat(brackets ? "[" : "", url.host, brackets ? "]" : "",
                                      usual ? "" : ":", usual ? "" : url.port));
  request_.set(http::field::user_agent, "vernier");
  request_.set(http::field::content_type, "application/json");
  request_.set(http::field::accept, "application/json");
  if (!config.token.empty()) request_.set(http::field::authorization, cat("Bearer ", config.token));
}

beast::tcp_stream& HttpConnection::socket() { return tls_ ? tls_->next_layer() : *plain_; }

template <class Call>
void HttpConnection::on_stream(const Call& call) {
  if (tls_)
    call(*tls_);
  else
    call(*plain_);
}

void HttpConnection::post(const std::string& body, HttpClient::Time deadline, Done done) {
  deadline_ = deadline;
  done_ = std::move(done);
  parser_.reset();  // what the last reply brought says nothing about this request
  request_.body() = body;
  request_.prepare_payload();
  kept_ = connected_;
  if (connected_) return write();
  resolve();
}

void HttpConnection::resolve() {
  boost::system::error_code error;
  const auto address = asio::ip::make_address(url_.host, error);
  if (!error) {  // nothing to look up, and no thread for it
    const tcp::endpoint place(address, static_cast<uint16_t>(std::stoi(url_.port)));
    return connect(Results::create(place, url_.host, url_.port));
  }
  look_up();
}

void HttpConnection::look_up() {
  looking_up_ = true;
  lookup_ends_.expires_at(latest_connect());
  lookup_ends_.async_wait([self = shared_from_this()](ErrorCode) {
    if (!std::exchange(self->looking_up_, false)) return;
    self->give_up("the host is not found", beast::error::timeout);
  });
  // Kept alive by the timer alone: a lookup may never end.
  lookup_.ask(url_.host, url_.port, weak_from_this(),
              [weak = weak_from_this()](ErrorCode error, const Results& places) {
                const auto self = weak.lock();
                if (!self || !std::exchange(self->looking_up_, false)) return;
                self->lookup_ends_.cancel();
                if (error) return self->give_up("the host is not found", error);
                self->connect(places);
              });
}

// Of the lookup and of the connection by itself.
HttpClient::Time HttpConnection::latest_connect() const {
  return std::min(std::chrono::steady_clock::now() + as_duration(config_.connect_s), deadline_);
}

void HttpConnection::connect(const Results& places) {
  socket().expires_at(latest_connect());
  socket().async_connect(places,
                         [self = shared_from_this()](ErrorCode error, const tcp::endpoint&) {
                           if (error) return self->give_up("no connection", error);
                           ErrorCode ignored;
                           self->socket().socket().set_option(tcp::no_delay(true), ignored);
                           self->shake_hands();
                         });
}

void HttpConnection::shake_hands() {
  if (!tls_) return write();
  tls_->async_handshake(asio::ssl::stream_base::client,
                        [self = shared_from_this()](ErrorCode error) {
                          if (error) return self->give_up("no TLS", error);
                          self->write();
                        });
}

void HttpConnection::write() {
  socket().expires_at(deadline_);
  on_stream([this](auto& stream) {
    http::async_write(stream, request_, [self = shared_from_this()](ErrorCode error, size_t) {
      if (error) return self->give_up("the request could not be sent", error);
      self->read();
    });
  });
}

void HttpConnection::read() {
  parser_.emplace();
  parser_->header_limit(static_cast<std::uint32_t>(config_.header_bytes));
  parser_->body_limit(config_.body_bytes);
  on_stream([this](auto& stream) {
    http::async_read(stream, buffer_, *parser_,
                     [self = shared_from_this()](ErrorCode error, size_t) {
                       if (error) return self->give_up("no reply", error);
                       const unsigned status = self->parser_->get().result_int();
                       // 100 and 103 come before the reply; 101 would be another protocol.
                       if (status >= 200 || status == 101) return self->finish();
                       self->kept_ = false;  // the request has been seen
                       self->read();
                     });
  });
}

void HttpConnection::finish() {
  auto& reply = parser_->get();
  // What came behind the reply would be taken for the next one's.
  connected_ = parser_->keep_alive() && buffer_.size() == 0;
  HttpResult result;
  result.status = static_cast<int>(reply.result_int());
  result.body = std::move(reply.body());
  result.retry_after_s = retry_after(reply[http::field::retry_after]);
  const auto encoding = reply[http::field::content_encoding];
  if (!encoding.empty() && encoding != "identity") {
    // Nobody asked for it, and what it unpacks to could be of any size.
    result.body = cat("the reply is encoded as ", std::string_view(encoding));
  }
  release();
  std::exchange(done_, nullptr)(std::move(result), false);
}

// A connection that waits for its next request holds nothing of the last one.
void HttpConnection::release() {
  std::string().swap(request_.body());  // clear() and an assignment keep the memory
  parser_.reset();
  buffer_.shrink_to_fit();
}

void HttpConnection::give_up(const char* what, ErrorCode error) {
  const bool begun = parser_ && parser_->got_some();
  connected_ = false;
  ErrorCode ignored;
  socket().socket().close(ignored);
  HttpResult result;
  result.problem = error == beast::error::timeout && std::chrono::steady_clock::now() >= deadline_
                       ? "timeout"
                       : cat(what, ": ", error.message());
  const bool stale = kept_ && !begun && error != beast::error::timeout;
  std::exchange(done_, nullptr)(std::move(result), stale);
}

}  // namespace vernier
