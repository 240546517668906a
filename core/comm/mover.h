// A thread that moves buffers between processes beside what the main thread computes.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <mutex>
#include <thread>

namespace vernier {

class Mover {
 public:
  Mover();
  /// Waits for all that it was given.
  ~Mover();
  Mover(const Mover&) = delete;
  Mover& operator=(const Mover&) = delete;

  /// Runs `work` behind what it was given before; what that throws, get() does.
  std::future<void> give(std::function<void()> work);

 private:
  void run();

  std::mutex lock_;
  std::condition_variable changed_;
  std::deque<std::packaged_task<void()>> waiting_;
  bool over_ = false;
  std::thread thread_;  // last: it sees all of the above
};

}  // namespace vernier
