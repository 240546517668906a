#include "rewards/outside/question.h"

namespace vernier {

Outcome failed(const std::string& cause, const std::string& detail) {
  Outcome out;
  out.cause = cause;
  out.score.abstain = cat(cause, ": ", detail);
  return out;
}

Question::Question(Asked asked, double deadline_s, Told told)
    : deadline_s_(deadline_s),
      deadline_(std::chrono::steady_clock::now() + as_duration(deadline_s)),
      size_(asked.responses.size()),
      told_(std::move(told)),
      asked_(std::make_shared<const Asked>(std::move(asked))) {}

std::shared_ptr<const Asked> Question::asked() const {
  const std::lock_guard hold(lock_);
  return asked_;
}

bool Question::answer(std::vector<Outcome> outcomes) {
  ensure(outcomes.size() == size_, "an outcome for each response");
  {
    const std::lock_guard hold(lock_);
    if (claimed_) return false;
    claimed_ = true;
    outcomes_ = std::move(outcomes);
    asked_.reset();
  }
  // Counted before anybody who waits goes on.
  if (told_) told_(outcomes_);
  {
    const std::lock_guard hold(lock_);
    answered_ = true;
  }
  changed_.notify_all();
  return true;
}

bool Question::fail(const std::string& cause, const std::string& detail) {
  return answer(std::vector<Outcome>(size_, failed(cause, detail)));
}

bool Question::answered() const {
  const std::lock_guard hold(lock_);
  return answered_;
}

bool Question::wait_until(Time end) const {
  std::unique_lock hold(lock_);
  return changed_.wait_until(hold, end, [this] { return answered_; });
}

}  // namespace vernier
