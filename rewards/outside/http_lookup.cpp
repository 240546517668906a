#include "rewards/outside/http_lookup.h"

#include <boost/asio/post.hpp>
#include <system_error>
#include <thread>

#include "rewards/outside/question.h"

namespace vernier {

namespace asio = boost::asio;

namespace {

constexpr size_t kMaxThreads = 4;  // at one host

}  // namespace

HttpLookup::HttpLookup(asio::io_context& io, double patience_s)
    : io_(io), patience_s_(patience_s), home_(std::make_shared<Home>()) {
  home_->lookup = this;
}

HttpLookup::~HttpLookup() {
  const std::lock_guard hold(home_->lock);
  home_->lookup = nullptr;
}

void HttpLookup::ask(const std::string& host, const std::string& port,
                     std::weak_ptr<const void> asker, Found found) {
  const Key key(host, port);
  Asking& asking = asking_[key];
  // Whoever gave up is let go; all give up after much the same time.
  std::deque<Waiter>& waiters = asking.waiters;
  while (!waiters.empty() && waiters.front().asker.expired()) waiters.pop_front();
  waiters.push_back({std::move(asker), std::move(found)});
  const auto& since = asking.since;
  const auto fresh = std::chrono::steady_clock::now() - as_duration(patience_s_);
  const bool under_way = !since.empty() && since.rbegin()->second > fresh;
  if (!under_way && since.size() < kMaxThreads) look_up(key, asking);
}

void HttpLookup::look_up(const Key& key, Asking& asking) {
  const int64_t number = ++started_;
  asking.since[number] = std::chrono::steady_clock::now();
  const auto run = [home = home_, key, number] {
    asio::io_context own;
    ErrorCode error;
    const Results places = asio::ip::tcp::resolver(own).resolve(key.first, key.second, error);
    const std::lock_guard hold(home->lock);
    if (HttpLookup* lookup = home->lookup)
      asio::post(lookup->io_, [=] { lookup->tell(key, number, error, places); });
  };
  try {
    std::thread(run).detach();
  } catch (const std::system_error&) {  // as many threads as there may be
    asio::post(io_, [=, this] { tell(key, number, asio::error::no_memory, {}); });
  }
}

// Whichever thread ends first tells all who wait.
void HttpLookup::tell(const Key& key, int64_t number, ErrorCode error, const Results& places) {
  Asking& asking = asking_[key];
  asking.since.erase(number);
  const std::deque<Waiter> waiters = std::exchange(asking.waiters, {});
  if (asking.since.empty()) asking_.erase(key);
  for (const Waiter& waiter : waiters)
    if (!waiter.asker.expired()) waiter.found(error, places);
}

}  // namespace vernier
