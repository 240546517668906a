#include "core/base/pool.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace vernier {

// A call is open while it has tasks to give; who joins it counts as inside, and the caller waits
// for those alone: a thread that wakes too late has missed a call, or joins the one that is open
// then, and holds up nobody.
struct Pool::Shared {
  static constexpr uint32_t kOpen = uint32_t{1} << 31, kInside = kOpen - 1;
  static constexpr int kSpins = 2000;  // some tens of microseconds

  std::atomic<uint32_t> state{0};  // kOpen, threads inside
  // Of the open call; body changes only while nobody is inside.
  const std::function<void(int64_t)>* body = nullptr;
  std::atomic<int64_t> tasks{0}, next{0};

  std::mutex lock;  // of who sleeps, and of `problem`
  std::condition_variable wake, finished;
  std::atomic<int> sleepers{0};
  std::atomic<bool> caller_sleeps{false}, stop{false};
  std::exception_ptr problem;
  std::vector<std::thread> threads;

  void work() {
    const int64_t count = tasks.load();
    try {
      for (int64_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) (*body)(i);
    } catch (...) {
      const std::lock_guard hold(lock);
      if (!problem) problem = std::current_exception();
      next.store(count);
    }
  }

  // Whether it comes true in a moment that is not worth sleeping for.
  template <class Condition>
  static bool soon(const Condition& condition) {
    for (int spin = 0; spin < kSpins; ++spin) {
      if (condition()) return true;
      __builtin_ia32_pause();
    }
    return false;
  }

  // Joins the open call, if there is one.
  bool join() {
    uint32_t now = state.load();
    while ((now & kOpen) != 0)
      if (state.compare_exchange_weak(now, now + 1)) return true;
    return false;
  }

  void leave() {
    const uint32_t before = state.fetch_sub(1);
    if (before != 1 || !caller_sleeps.load()) return;
    const std::lock_guard hold(lock);
    finished.notify_one();
  }

  // Waits for a call that is open and still has tasks. False where the pool ends.
  bool look() {
    const auto ready = [&] {
      return stop.load() || ((state.load() & kOpen) != 0 && next.load() < tasks.load());
    };
    // A kernel is often followed by the next one at once: look for it a moment before sleeping.
    if (soon(ready)) return !stop.load();
    std::unique_lock hold(lock);
    sleepers.fetch_add(1);
    wake.wait(hold, ready);
    sleepers.fetch_sub(1);
    return !stop.load();
  }

  void serve() {
    while (look()) {
      if (!join()) continue;
      work();
      leave();
    }
  }

  void open(int64_t count, const std::function<void(int64_t)>& run_one) {
    body = &run_one;
    tasks.store(count);
    problem = nullptr;
    next.store(0);
    state.store(kOpen);
    if (sleepers.load() == 0) return;
    const std::lock_guard hold(lock);
    wake.notify_all();
  }

  void close() {
    state.fetch_and(~kOpen);
    const auto alone = [&] { return (state.load() & kInside) == 0; };
    if (soon(alone)) return;
    std::unique_lock hold(lock);
    caller_sleeps.store(true);
    finished.wait(hold, alone);
    caller_sleeps.store(false);
  }
};

Pool::Pool(int threads) : threads_(std::max(threads, 1)), shared_(std::make_unique<Shared>()) {
  for (int i = 1; i < threads_; ++i) shared_->threads.emplace_back([this] { shared_->serve(); });
}

Pool::~Pool() {
  {
    const std::lock_guard hold(shared_->lock);
    shared_->stop.store(true);
  }
  shared_->wake.notify_all();
  for (std::thread& thread : shared_->threads) thread.join();
}

void Pool::run(int64_t tasks, const std::function<void(int64_t)>& body) {
  if (threads_ == 1 || tasks <= 1) {
    for (int64_t i = 0; i < tasks; ++i) body(i);
    return;
  }
  shared_->open(tasks, body);
  shared_->work();
  shared_->close();
  if (shared_->problem) std::rethrow_exception(std::exchange(shared_->problem, nullptr));
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
