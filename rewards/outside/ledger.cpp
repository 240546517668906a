#include "rewards/outside/ledger.h"

#include "core/base/errors.h"

namespace vernier {

void Ledger::add(const std::vector<Outcome>& outcomes) {
  const std::lock_guard hold(lock_);
  for (const Outcome& one : outcomes) {
    ++total_["asked"];
    if (!one.cause.empty()) {
      ++total_[cat("failed/", one.cause)];
      ++recent_[one.cause];
      example_ = one.score.abstain;
    }
    last_.push_back(one.cause);
    if (std::ssize(last_) <= window_) continue;
    if (!last_.front().empty() && --recent_[last_.front()] == 0) recent_.erase(last_.front());
    last_.pop_front();
  }
}

void Ledger::check() const {
  const std::lock_guard hold(lock_);
  int64_t count = 0;
  std::string causes;
  for (const auto& [cause, times] : recent_) {
    count += times;
    causes += cat(causes.empty() ? "" : ", ", cause, " ", times);
  }
  if (static_cast<double>(count) <= max_share_ * static_cast<double>(window_)) return;
  fail_run(name_, ": ", count, " of the last ", last_.size(),
           " responses could not be scored, more than max_failed_share = ", max_share_, " of ",
           window_, " (", causes, "); the last one: ", example_);
}

std::map<std::string, int64_t> Ledger::counters() const {
  const std::lock_guard hold(lock_);
  return total_;
}

}  // namespace vernier
