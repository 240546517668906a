// A reward behind a URL, in this process: answers each request after a while.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>

#include "core/base/json.h"
#include "rollout/endpoint/http_server.h"

namespace vernier::testing {

struct TimedReply {
  HttpReply reply;
  double after_s = 0;
};

class RewardServer {
 public:
  using Answer = std::function<TimedReply(const HttpRequest&)>;

  /// `answer` is called on the server's thread.
  explicit RewardServer(Answer answer, int at_port = 0)
      : answer_(std::move(answer)), server_(limits()) {
    port = server_.listen("127.0.0.1", at_port);
    timer_ = std::thread([this] { send_in_time(); });
    thread_ = std::thread([this] { server_.run(handlers(), false); });
  }
  ~RewardServer() {
    server_.stop();
    thread_.join();
    {
      const std::lock_guard hold(lock_);
      stopping_ = true;
    }
    changed_.notify_all();
    timer_.join();
  }
  RewardServer(const RewardServer&) = delete;
  RewardServer& operator=(const RewardServer&) = delete;

  std::string url(const std::string& path = "/") const {
    return cat("http://127.0.0.1:", port, path);
  }

  int port = 0;
  std::atomic<int> requests{0}, under_way{0}, most_under_way{0};

 private:
  using Time = std::chrono::steady_clock::time_point;
  struct Waiting {
    std::shared_ptr<Exchange> exchange;  // the session's too
    HttpReply reply;
  };

  static HttpLimits limits() {
    HttpLimits limits;
    limits.connections = 4096;
    limits.grace_s = 0.1;
    return limits;
  }

  HttpHandlers handlers() {
    return {.refuse = [](const HttpRequest&) { return std::optional<HttpReply>(); },
            .answer =
                [this](HttpRequest&& request, const std::shared_ptr<Exchange>& exchange) {
                  ++requests;
                  most_under_way = std::max<int>(most_under_way, ++under_way);
                  TimedReply timed = answer_(request);
                  const auto after = std::chrono::duration_cast<Time::duration>(
                      std::chrono::duration<double>(timed.after_s));
                  const std::lock_guard hold(lock_);
                  waiting_.emplace(std::chrono::steady_clock::now() + after,
                                   Waiting{exchange, std::move(timed.reply)});
                  changed_.notify_all();
                },
            .problem =
                [](int status, const std::string& message) {
                  return HttpReply{.status = status, .body = message};
                }};
  }

  void send_in_time() {
    std::unique_lock hold(lock_);
    while (!stopping_) {
      if (waiting_.empty()) {
        changed_.wait(hold);
      } else if (const Time next = waiting_.begin()->first;
                 next > std::chrono::steady_clock::now()) {
        changed_.wait_until(hold, next);
      } else {
        Waiting first = std::move(waiting_.begin()->second);
        waiting_.erase(waiting_.begin());
        --under_way;
        first.exchange->reply(std::move(first.reply));
      }
    }
  }

  Answer answer_;
  HttpServer server_;
  std::mutex lock_;
  std::condition_variable changed_;
  std::multimap<Time, Waiting> waiting_;
  bool stopping_ = false;
  std::thread thread_, timer_;
};

/// The reply to a request of our own shape: the length of each text.
inline Json lengths_reply(const Json& request) {
  Json rewards = Json::array();
  for (const Json& response : request["responses"])
    rewards.push_back({{"score", response["text"].get<std::string>().size()}});
  return {{"id", request["id"]}, {"rewards", rewards}};
}

inline TimedReply lengths(const HttpRequest& request, double after_s = 0) {
  return {{.status = 200, .body = dump_json(lengths_reply(Json::parse(request.body)))}, after_s};
}

}  // namespace vernier::testing
