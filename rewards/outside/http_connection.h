// One connection of the HTTP client: one request at a time.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <boost/beast/ssl/ssl_stream.hpp>
#include <functional>
#include <memory>
#include <optional>

#include "rewards/outside/http_client.h"
#include "rewards/outside/http_lookup.h"

namespace vernier {

/// Keeps itself alive while something is under way.
class HttpConnection : public std::enable_shared_from_this<HttpConnection> {
 public:
  /// `stale`: a kept connection that the other side had closed before it saw the request.
  using Done = std::function<void(HttpResult, bool stale)>;

  HttpConnection(boost::asio::io_context& io, boost::asio::ssl::context& tls, HttpLookup& lookup,
                 const HttpUrl& url, const HttpClientConfig& config);

  void post(const std::string& body, HttpClient::Time deadline, Done done);
  /// Whether it may be used again.
  bool stays_open() const { return connected_; }

 private:
  using ErrorCode = boost::system::error_code;
  using Results = HttpLookup::Results;

  template <class Call>
  void on_stream(const Call& call);
  boost::beast::tcp_stream& socket();
  HttpClient::Time latest_connect() const;
  void resolve();
  void look_up();
  void connect(const Results& places);
  void shake_hands();
  void write();
  void read();
  void finish();
  void release();
  void give_up(const char* what, ErrorCode error);

  const HttpUrl& url_;
  const HttpClientConfig& config_;
  HttpLookup& lookup_;
  boost::asio::steady_timer lookup_ends_;
  std::optional<boost::beast::tcp_stream> plain_;
  std::optional<boost::beast::ssl_stream<boost::beast::tcp_stream>> tls_;
  boost::beast::http::request<boost::beast::http::string_body> request_;
  boost::beast::flat_buffer buffer_;
  std::optional<boost::beast::http::response_parser<boost::beast::http::string_body>> parser_;
  HttpClient::Time deadline_;
  Done done_;
  bool connected_ = false, looking_up_ = false;
  bool kept_ = false;  // connected before this request
};

}  // namespace vernier
