// Threads that share the work of one call and sleep between calls.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace vernier {

/// A fixed set of threads. Waiting threads sleep after some tens of microseconds, so that two jobs
/// on one machine do not starve each other (OpenMP's spinning threads do).
class Pool {
 public:
  /// `threads` counts the caller; 1 runs everything on the calling thread.
  explicit Pool(int threads);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int threads() const { return threads_; }

  /// Calls `body(i)` for every i in [0, tasks), each once, on any thread; returns when all are
  /// done. The first exception is thrown here. A body must not call run() with more than one task;
  /// a single task runs on the calling thread wherever it is, as when a row of a shared batch calls
  /// a kernel for itself.
  void run(int64_t tasks, const std::function<void(int64_t)>& body);

 private:
  struct Shared;
  int threads_;
  std::unique_ptr<Shared> shared_;
};

/// The pool of the CPU kernels. One thread until set_kernel_threads() is called.
Pool& kernel_pool();
void set_kernel_threads(int threads);

}  // namespace vernier
