#include "core/comm/mover.h"

#include <ATen/core/grad_mode.h>
#include <c10/util/ParallelGuard.h>

#include <utility>

namespace vernier {

Mover::Mover() : thread_([this] { run(); }) {}

Mover::~Mover() {
  {
    const std::lock_guard hold(lock_);
    over_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

std::future<void> Mover::give(std::function<void()> work) {
  std::packaged_task<void()> task(std::move(work));
  std::future<void> out = task.get_future();
  {
    const std::lock_guard hold(lock_);
    waiting_.push_back(std::move(task));
  }
  changed_.notify_all();
  return out;
}

void Mover::run() {
  // What it copies and adds up takes one thread: the others belong to who computes.
  const c10::ParallelGuard alone(true);
  const at::NoGradGuard no_grad;
  std::unique_lock hold(lock_);
  while (true) {
    changed_.wait(hold, [this] { return over_ || !waiting_.empty(); });
    if (waiting_.empty()) return;
    std::packaged_task<void()> task = std::move(waiting_.front());
    waiting_.pop_front();
    hold.unlock();
    task();
    hold.lock();
  }
}

}  // namespace vernier
