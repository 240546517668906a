#include "core/base/task_thread.h"

#include <utility>

namespace vernier {

TaskThread::TaskThread() : thread_([this] { run(); }) {}

TaskThread::~TaskThread() { finish(); }

void TaskThread::post(std::function<void()> task) {
  const std::lock_guard hold(lock_);
  if (finishing_) return;
  tasks_.push_back(std::move(task));
  arrived_.notify_one();
}

void TaskThread::finish() {
  {
    const std::lock_guard hold(lock_);
    finishing_ = true;
    arrived_.notify_one();
  }
  if (thread_.joinable()) thread_.join();
}

void TaskThread::run() {
  std::unique_lock hold(lock_);
  while (true) {
    arrived_.wait(hold, [this] { return finishing_ || !tasks_.empty(); });
    if (tasks_.empty()) return;
    std::function<void()> task = std::move(tasks_.front());
    tasks_.pop_front();
    hold.unlock();
    task();
    task = nullptr;  // what it holds may take its time to go
    hold.lock();
  }
}

}  // namespace vernier
