// Looks up hosts for the HTTP client.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/system/error_code.hpp>
#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

namespace vernier {

/// The system looks hosts up in its own time and cannot be told to stop. So each is looked up on a
/// thread that nobody waits for, not even the destructor: whoever asks sets a time for himself.
class HttpLookup {
 public:
  using ErrorCode = boost::system::error_code;
  using Results = boost::asio::ip::tcp::resolver::results_type;
  using Found = std::function<void(ErrorCode, const Results&)>;

  /// `patience_s`: after which a lookup that has not ended is taken for one that never will, and
  /// the next one who asks has the host looked up again beside it.
  HttpLookup(boost::asio::io_context& io, double patience_s);
  ~HttpLookup();
  HttpLookup(const HttpLookup&) = delete;
  HttpLookup& operator=(const HttpLookup&) = delete;

  /// On the thread of `io`, where `found` is called too, if `asker` is still there. Those who ask
  /// for the same at a time are told together.
  void ask(const std::string& host, const std::string& port, std::weak_ptr<const void> asker,
           Found found);

 private:
  using Key = std::pair<std::string, std::string>;
  struct Waiter {
    std::weak_ptr<const void> asker;
    Found found;
  };
  struct Asking {
    std::map<int64_t, std::chrono::steady_clock::time_point> since;  // of each thread, by number
    std::deque<Waiter> waiters;
  };
  struct Home {
    std::mutex lock;
    HttpLookup* lookup = nullptr;  // null once it is gone
  };

  void look_up(const Key& key, Asking& asking);
  void tell(const Key& key, int64_t number, ErrorCode error, const Results& places);

  boost::asio::io_context& io_;
  const double patience_s_;
  int64_t started_ = 0;  // threads
  std::map<Key, Asking> asking_;
  std::shared_ptr<Home> home_;  // of the threads too, which may outlive the rest
};

}  // namespace vernier
