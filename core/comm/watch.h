// Tells the other ranks that this one lives, and ends the process when one of them does not.
//
// A thread of its own on each rank writes into the store what its main thread does
// (core/base/pulse.h). Rank 0 reads that of all and gives the verdict; the others watch rank 0 and
// read its verdict, so that a job of a thousand ranks costs the store a thousand writes a tick. A
// second thread watches the first, which waits for ever for a store whose process is stopped.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <vector>

#include "core/comm/identity.h"

namespace vernier {

/// Ends the process where it is still there after so many seconds: for calls that wait for ever.
class Deadline {
 public:
  /// `what` says what did not happen; `code` is the process's then.
  Deadline(double seconds, std::string what, int code = 1);
  ~Deadline();
  Deadline(const Deadline&) = delete;
  Deadline& operator=(const Deadline&) = delete;

 private:
  std::mutex lock_;
  std::condition_variable changed_;
  bool met_ = false;
  std::thread thread_;
};

class Watch {
 public:
  /// `stop` (may be null) becomes true soon after that of any rank has.
  Watch(c10::intrusive_ptr<c10d::Store> store, const Identity& identity, double deadline_s,
        double start_deadline_s, std::atomic<bool>* stop);
  ~Watch();
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  /// Remembers an operation, for the list of the last ones.
  void note(std::string operation);

  /// An operation failed: somebody is gone. Waits for the verdict, which ends the process; returns
  /// where there is none.
  void lost(const std::string& operation, const std::string& why);

  /// Called before the process ends for others, for what only the log wants to know.
  void set_last_words(std::function<std::string()> words);

  /// From now on nobody's silence means anything.
  void leave();
  /// Tells the others why this rank ends, and with which exit code they end too; gives them the
  /// time to read it.
  void fail(const std::string& why, int code) noexcept;

 private:
  struct Seen {  // of another rank
    uint64_t ticks = 0;
    double since = 0;  // when that last changed, by our clock
    double stuck = 0;  // seconds without a sign of its main thread, at its last word
    std::string host, phase, operation;
    bool slow = true, waiting = false, left = false;
  };

  void work();
  void guard();
  void tick();
  void say();
  void look_at(const std::vector<int64_t>& ranks);
  std::string verdict() const;
  bool silent();
  void linger() const;
  void settle(const std::string& verdict, int code);
  [[noreturn]] void end(const std::string& verdict, int code = 1);
  std::string key(int64_t rank) const;

  c10::intrusive_ptr<c10d::Store> store_;
  const Identity identity_;
  const double deadline_s_, start_deadline_s_;
  std::atomic<bool>* stop_;
  std::string host_;
  uint64_t ticks_ = 0;
  double ticked_at_ = 0;  // when the last tick began
  std::map<int64_t, Seen> seen_;
  bool told_stop_ = false;
  std::mutex lock_;
  std::condition_variable changed_;
  std::deque<std::string> last_;  // operations
  std::function<std::string()> last_words_;
  bool over_ = false, left_ = false;
  double ticked_;  // when the last tick was over
  std::thread thread_, guard_;
};

}  // namespace vernier
