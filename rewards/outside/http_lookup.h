// Looks up hosts for the HTTP client.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/system/error_code.hpp>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace vernier {

/// The system looks hosts up in its own time and cannot be told to stop. So each is looked up on a
/// thread that nobody waits for, not even the destructor: whoever asks sets a time for himself.
class HttpLookup {
 public:
  using ErrorCode = boost::system::error_code;
  using Results = boost::asio::ip::tcp::resolver::results_type;
  using Found = std::function<void(ErrorCode, const Results&)>;

  explicit HttpLookup(boost::asio::io_context& io);
  ~HttpLookup();
  HttpLookup(const HttpLookup&) = delete;
  HttpLookup& operator=(const HttpLookup&) = delete;

  /// On the thread of `io`, where `found` is called too. Those who ask for the same at a time are
  /// told together.
  void ask(const std::string& host, const std::string& port, Found found);

 private:
  using Key = std::pair<std::string, std::string>;
  struct Home {
    std::mutex lock;
    HttpLookup* lookup = nullptr;  // null once it is gone
  };

  void tell(const Key& key, ErrorCode error, const Results& places);

  boost::asio::io_context& io_;
  std::map<Key, std::vector<Found>> asking_;
  std::shared_ptr<Home> home_;  // of the threads too, which may outlive the rest
};

}  // namespace vernier
