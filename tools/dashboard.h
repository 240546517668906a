// What `vernier serve` answers: the page of `vernier report`, that follows its runs.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "core/base/clock.h"
#include "core/base/task_thread.h"
#include "rollout/endpoint/http.h"

namespace vernier {

struct DashboardConfig {
  std::vector<std::string> folders;  // runs, or folders of runs
  std::string token;                 // that everything asks for; "": none
  std::vector<std::string> hosts;    // names that a request may call this server by, beside
                                     // localhost, this machine's, and addresses
};

/// Reads the runs again when they have grown, on a thread of its own that does so at most a tenth
/// of the time. A run that cannot be read is left out with a note; where none can, as when the
/// folder is moved, what was read last stays, with the problem. Nothing is ever written.
class Dashboard {
 public:
  /// Throws UsageError where a folder is not there, or a host is no name.
  explicit Dashboard(DashboardConfig config);
  ~Dashboard();
  Dashboard(const Dashboard&) = delete;
  Dashboard& operator=(const Dashboard&) = delete;

  HttpHandlers handlers();

 private:
  // What was read last.
  struct Page {
    std::string version;                       // "": nothing yet
    std::shared_ptr<const std::string> body;   // of report.json, less version, problem and when
    std::map<std::string, std::string> paths;  // of runs, by name
    std::string problem, seen;
  };

  std::optional<HttpReply> refuse(const HttpRequest& request) const;
  void answer(const HttpRequest& request, const std::shared_ptr<Exchange>& exchange);
  HttpReply enter(const HttpRequest& request) const;
  HttpReply report() const;
  HttpReply samples(const HttpRequest& request) const;
  void stream(const HttpRequest& request, const std::shared_ptr<Exchange>& exchange);

  void watch();
  bool wait(double seconds);
  /// Whether there is no need to try again before something changes.
  bool read_runs(const std::vector<std::string>& runs);
  void tell(const std::string& event);

  const DashboardConfig config_;
  const std::string cookie_, cookie_name_;  // made from the token
  mutable std::mutex lock_;                 // of what follows
  Page page_;
  std::map<int64_t, std::shared_ptr<Exchange>> streams_;
  int64_t next_stream_ = 0;
  std::atomic<bool> stopping_ = false;
  std::condition_variable stop_;
  Clock beat_;        // of the watcher: since it told the streams something
  TaskThread tasks_;  // reads samples
  std::thread watcher_;
};

}  // namespace vernier
