#include "rewards/outside/http_client.h"

#include <algorithm>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <charconv>
#include <deque>
#include <thread>

#include "core/base/errors.h"
#include "rewards/outside/http_connection.h"
#include "rewards/outside/http_lookup.h"
#include "rewards/outside/question.h"

namespace vernier {

namespace asio = boost::asio;

HttpUrl parse_url(const std::string& text) {
  HttpUrl url;
  url.text = text;
  std::string_view rest = text;
  const auto bad = [&](std::string_view why) { fail("\"", text, "\" ", why); };
  if (std::any_of(text.begin(), text.end(),
                  [](char c) { return static_cast<unsigned char>(c) <= 0x20 || c == 0x7F; }))
    bad("has a space or a control character in it");
  url.tls = rest.starts_with("https://");
  if (!url.tls && !rest.starts_with("http://")) bad("does not begin with http:// or https://");
  rest.remove_prefix(url.tls ? 8 : 7);
  const size_t end = std::min(rest.find_first_of("/?#"), rest.size());
  std::string_view place = rest.substr(0, end);
  rest.remove_prefix(end);
  if (place.find('@') != std::string_view::npos)
    bad("holds a name or a password; use token_file or token_env");
  size_t colon = place.rfind(':');
  if (place.starts_with('[')) {
    const size_t close = place.find(']');
    if (close == std::string_view::npos) bad("has a [ without its ]");
    url.host = place.substr(1, close - 1);
    colon = close + 1 < place.size() ? close + 1 : std::string_view::npos;
    if (colon != std::string_view::npos && place[colon] != ':') bad("has a host that is none");
  } else {
    url.host = place.substr(0, colon);
  }
  if (url.host.empty()) bad("has no host");
  url.port = url.tls ? "443" : "80";
  if (colon != std::string_view::npos) {
    int port = 0;
    const std::string_view digits = place.substr(colon + 1);
    const auto [last, problem] =
        std::from_chars(digits.data(), digits.data() + digits.size(), port);
    if (problem != std::errc() || last != digits.data() + digits.size() || port < 1 || port > 65535)
      bad("has a port that is not 1 to 65535");
    url.port = cat(port);
  }
  const std::string_view target = rest.substr(0, rest.find('#'));
  url.target = target.starts_with('/') ? std::string(target) : cat("/", target);
  return url;
}

struct HttpClient::State {
  explicit State(HttpClientConfig with)
      : config(std::move(with)), lookup(io, config.lookup_s), idle(config.urls.size()) {}

  struct Idle {
    std::shared_ptr<HttpConnection> connection;  // of what is under way on it, when it is used
    Time since;
  };

  void post(size_t url, const std::shared_ptr<const std::string>& body, Time deadline,
            std::function<void(HttpResult)> done, bool fresh);
  void keep(size_t url, std::shared_ptr<HttpConnection> connection);
  void make_room();
  void drop_idle();

  const HttpClientConfig config;
  asio::io_context io{1};
  asio::executor_work_guard<asio::io_context::executor_type> work{io.get_executor()};
  asio::ssl::context tls{asio::ssl::context::tls_client};
  HttpLookup lookup;
  std::vector<std::deque<Idle>> idle;  // by url, the last used last
  int64_t in_use = 0;                  // connections
  asio::steady_timer next_drop{io};
  bool drops = false;  // the timer runs
  std::thread thread;
};

HttpClient::HttpClient(HttpClientConfig config)
    : state_(std::make_unique<State>(std::move(config))) {
  boost::system::error_code error;
  const std::string& ca_file = state_->config.ca_file;
  if (!ca_file.empty()) {
    state_->tls.load_verify_file(ca_file, error);
    if (error) fail(ca_file, ": no certificates that can be read: ", error.message());
  } else {
    state_->tls.set_default_verify_paths(error);
  }
  state_->thread = std::thread([state = state_.get()] { state->io.run(); });
}

HttpClient::~HttpClient() {
  state_->io.stop();
  state_->thread.join();
}

void HttpClient::call(std::function<void()> what) { asio::post(state_->io, std::move(what)); }

void HttpClient::call_at(Time when, std::function<void()> what) {
  // Lives as long as it waits.
  const auto timer = std::make_shared<asio::steady_timer>(state_->io, when);
  timer->async_wait([timer, what = std::move(what)](boost::system::error_code error) {
    if (!error) what();
  });
}

void HttpClient::post(size_t url, std::string body, Time deadline,
                      std::function<void(HttpResult)> done) {
  ++state_->in_use;
  state_->post(url, std::make_shared<const std::string>(std::move(body)), deadline, std::move(done),
               false);
}

void HttpClient::State::post(size_t url, const std::shared_ptr<const std::string>& body,
                             Time deadline, std::function<void(HttpResult)> done, bool fresh) {
  auto& kept = idle.at(url);
  std::shared_ptr<HttpConnection> connection;
  if (!fresh && !kept.empty()) {
    connection = std::move(kept.back().connection);
    kept.pop_back();
  } else {
    make_room();
    connection = std::make_shared<HttpConnection>(io, tls, lookup, config.urls[url], config);
  }
  connection->post(*body, deadline,
                   [this, url, body, deadline, connection = std::weak_ptr(connection),
                    done = std::move(done)](HttpResult result, bool stale) {
                     if (stale) return post(url, body, deadline, done, true);
                     --in_use;
                     if (const auto open = connection.lock(); open && open->stays_open())
                       keep(url, open);
                     done(std::move(result));
                   });
}

void HttpClient::State::keep(size_t url, std::shared_ptr<HttpConnection> connection) {
  idle[url].push_back({std::move(connection), std::chrono::steady_clock::now()});
  if (!drops) drop_idle();
}

// For a connection, which is in use already.
void HttpClient::State::make_room() {
  int64_t open = in_use;
  for (const auto& kept : idle) open += std::ssize(kept);
  for (; open > config.connections; --open) {
    const auto last_used = [](const std::deque<Idle>& kept) {
      return kept.empty() ? Time::max() : kept.front().since;
    };
    const auto oldest = std::ranges::min_element(idle, {}, last_used);
    if (oldest->empty()) return;
    oldest->pop_front();
  }
}

void HttpClient::State::drop_idle() {
  const Time oldest = std::chrono::steady_clock::now() - as_duration(config.idle_s);
  Time next = Time::max();
  for (auto& kept : idle) {
    while (!kept.empty() && kept.front().since <= oldest) kept.pop_front();
    if (!kept.empty()) next = std::min(next, kept.front().since + as_duration(config.idle_s));
  }
  drops = next != Time::max();
  if (!drops) return;
  next_drop.expires_at(next);
  next_drop.async_wait([this](boost::system::error_code error) {
    if (!error) drop_idle();
  });
}

}  // namespace vernier
