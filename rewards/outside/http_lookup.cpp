#include "rewards/outside/http_lookup.h"

#include <boost/asio/post.hpp>
#include <system_error>
#include <thread>

namespace vernier {

namespace asio = boost::asio;

HttpLookup::HttpLookup(asio::io_context& io) : io_(io), home_(std::make_shared<Home>()) {
  home_->lookup = this;
}

HttpLookup::~HttpLookup() {
  const std::lock_guard hold(home_->lock);
  home_->lookup = nullptr;
}

void HttpLookup::ask(const std::string& host, const std::string& port, Found found) {
  const Key key(host, port);
  std::vector<Found>& all = asking_[key];
  all.push_back(std::move(found));
  if (all.size() > 1) return;
  const auto look_up = [home = home_, key] {
    asio::io_context own;
    ErrorCode error;
    const Results places = asio::ip::tcp::resolver(own).resolve(key.first, key.second, error);
    const std::lock_guard hold(home->lock);
    if (HttpLookup* lookup = home->lookup)
      asio::post(lookup->io_, [=] { lookup->tell(key, error, places); });
  };
  try {
    std::thread(look_up).detach();
  } catch (const std::system_error&) {  // as many threads as there may be
    asio::post(io_, [this, key] { tell(key, asio::error::no_memory, {}); });
  }
}

void HttpLookup::tell(const Key& key, ErrorCode error, const Results& places) {
  const std::vector<Found> all = std::exchange(asking_[key], {});
  asking_.erase(key);
  for (const Found& found : all) found(error, places);
}

}  // namespace vernier
