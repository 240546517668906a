#include "trainer/group_scorer.h"

#include <chrono>

#include "core/base/clock.h"
#include "core/base/errors.h"
#include "core/base/log.h"
#include "core/base/pulse.h"

namespace vernier {
namespace {

constexpr std::chrono::milliseconds kLookEvery{100};  // for a stop, which wakes nobody

}  // namespace

GroupScorer::GroupScorer(const ScoringChain& chain, std::function<void(Group&&, Numbers)> done,
                         const std::atomic<bool>* stop)
    : chain_(chain), done_(std::move(done)), stop_(stop) {
  if (chain.asks_outside()) thread_ = std::thread([this] { work(); });
}

GroupScorer::~GroupScorer() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard hold(lock_);
    waiting_.clear();
    over_ = true;
    if (busy_ && stopped())
      log::info(
          "stopping: waits for the rewards of one group, until the deadline of what they asked "
          "outside; a second signal ends the run without saving");
  }
  changed_.notify_all();
  const pulse::Slow slow("waiting for rewards");
  thread_.join();
}

void GroupScorer::take(Group&& group) {
  if (!thread_.joinable()) return score(std::move(group));
  chain_.expect(group);
  {
    const std::lock_guard hold(lock_);
    check();
    waiting_.push_back(std::move(group));
  }
  changed_.notify_all();
}

void GroupScorer::finish() {
  if (!thread_.joinable()) return;
  std::unique_lock hold(lock_);
  const auto done = [this] { return failure_ || (waiting_.empty() && !busy_); };
  while (!changed_.wait_for(hold, kLookEvery, done)) {
    pulse::beat();  // those who are asked have deadlines of their own
    if (stopped()) throw Interrupted();
  }
  check();
}

bool GroupScorer::stopped() const {
  return stop_ != nullptr && stop_->load(std::memory_order_relaxed);
}

void GroupScorer::check() {
  if (failure_) std::rethrow_exception(failure_);
}

void GroupScorer::score(Group&& group) {
  if (!thread_.joinable()) pulse::beat();
  const Clock clock;
  Numbers numbers = chain_.score(group, false);
  seconds_ += clock.seconds();
  done_(std::move(group), std::move(numbers));
}

void GroupScorer::work() {
  std::unique_lock hold(lock_);
  while (true) {
    changed_.wait(hold, [this] { return over_ || !waiting_.empty(); });
    if (waiting_.empty() || failure_) return;
    Group group = std::move(waiting_.front());
    waiting_.pop_front();
    busy_ = true;
    hold.unlock();
    std::exception_ptr failure;
    try {
      score(std::move(group));
    } catch (...) {
      failure = std::current_exception();
    }
    hold.lock();
    busy_ = false;
    failure_ = failure;
    changed_.notify_all();
  }
}

}  // namespace vernier
