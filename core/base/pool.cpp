#include "core/base/pool.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace vernier {

struct Pool::Shared {
  std::mutex lock;
  std::condition_variable wake, finished;
  // Written under the lock; a call is a new generation.
  uint64_t generation = 0;
  const std::function<void(int64_t)>* body = nullptr;
  int64_t tasks = 0;
  int busy = 0;
  bool stop = false;
  std::exception_ptr problem;

  std::atomic<int64_t> next{0};
  std::atomic<uint64_t> published{0};  // generation, readable without the lock while spinning
  std::vector<std::thread> threads;

  void work(const std::function<void(int64_t)>& run_one, int64_t count) {
    try {
      for (int64_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) run_one(i);
    } catch (...) {
      const std::lock_guard hold(lock);
      if (!problem) problem = std::current_exception();
      next.store(count);
    }
  }

  void serve() {
    uint64_t seen = 0;
    while (true) {
      // A kernel is often followed by the next one at once: look for it a moment before sleeping.
      for (int spin = 0; spin < 2000 && published.load(std::memory_order_acquire) == seen; ++spin)
        __builtin_ia32_pause();
      std::unique_lock hold(lock);
      wake.wait(hold, [&] { return stop || generation != seen; });
      if (stop) return;
      seen = generation;
      const auto* run_one = body;
      const int64_t count = tasks;
      hold.unlock();
      work(*run_one, count);
      hold.lock();
      if (--busy == 0) finished.notify_one();
    }
  }
};

Pool::Pool(int threads) : threads_(std::max(threads, 1)), shared_(std::make_unique<Shared>()) {
  for (int i = 1; i < threads_; ++i) shared_->threads.emplace_back([this] { shared_->serve(); });
}

Pool::~Pool() {
  {
    const std::lock_guard hold(shared_->lock);
    shared_->stop = true;
    shared_->published.fetch_add(1, std::memory_order_release);
  }
  shared_->wake.notify_all();
  for (std::thread& thread : shared_->threads) thread.join();
}

void Pool::run(int64_t tasks, const std::function<void(int64_t)>& body) {
  if (threads_ == 1 || tasks <= 1) {
    for (int64_t i = 0; i < tasks; ++i) body(i);
    return;
  }
  Shared& shared = *shared_;
  {
    const std::lock_guard hold(shared.lock);
    shared.body = &body;
    shared.tasks = tasks;
    shared.busy = threads_ - 1;
    shared.problem = nullptr;
    shared.next.store(0);
    ++shared.generation;
    shared.published.store(shared.generation, std::memory_order_release);
  }
  shared.wake.notify_all();
  shared.work(body, tasks);
  std::unique_lock hold(shared.lock);
  shared.finished.wait(hold, [&] { return shared.busy == 0; });
  if (shared.problem) std::rethrow_exception(shared.problem);
}

namespace {
std::unique_ptr<Pool>& kernel_pool_slot() {
  static auto instance = std::make_unique<Pool>(1);
  return instance;
}
}  // namespace

Pool& kernel_pool() { return *kernel_pool_slot(); }

void set_kernel_threads(int threads) {
  if (kernel_pool().threads() != threads) kernel_pool_slot() = std::make_unique<Pool>(threads);
}

}  // namespace vernier
