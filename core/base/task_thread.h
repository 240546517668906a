// A thread that does one thing after the other.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace vernier {

class TaskThread {
 public:
  TaskThread();
  ~TaskThread();
  TaskThread(const TaskThread&) = delete;
  TaskThread& operator=(const TaskThread&) = delete;

  /// Runs `task` after those that were posted before. From any thread; after finish() it is
  /// forgotten.
  void post(std::function<void()> task);
  /// Ends the thread once everything that was posted is done.
  void finish();

 private:
  void run();

  std::mutex lock_;
  std::condition_variable arrived_;
  std::deque<std::function<void()>> tasks_;
  bool finishing_ = false;
  std::thread thread_;
};

}  // namespace vernier
