#include "rollout/issue_queue.h"

#include <algorithm>
#include <utility>

#include "core/base/errors.h"

namespace vernier {

IssueQueue::IssueQueue(int64_t step_groups, int64_t max_staleness, int64_t last_step, Claim claim)
    : step_groups_(step_groups),
      max_staleness_(max_staleness),
      last_step_(last_step),
      claim_(std::move(claim)) {}

void IssueQueue::begin_step(int64_t done, int64_t first) {
  step_ = done + 1;
  if (epoch_ == 0) clear(first);
  ensure(first >= end_, "groups of a step behind those before it");
  first_ = end_ = first;
}

void IssueQueue::want(int64_t end) {
  ensure(end >= end_, "places in their order");
  end_ = end;
}

void IssueQueue::end_step(int64_t first) {
  ensure(first >= end_, "groups of the next step behind those of this one");
  ++step_;
  first_ = end_ = first;
}

void IssueQueue::clear(int64_t first) {
  counts_.dropped += std::ssize(open_) + std::ssize(again_);
  open_.clear();
  again_.clear();
  base_ = next_ = first_ = end_ = first;
  claimed_ = -1;
  ++epoch_;
}

int64_t IssueQueue::limit() const {
  if (max_staleness_ == 0) return end_;  // a filter may want fewer than a step's worth
  const int64_t last = std::min(version_ + 1 + max_staleness_, last_step_);
  return std::max(end_, first_ + (last - step_ + 1) * step_groups_);
}

int64_t IssueQueue::next(bool claim) {
  if (!again_.empty()) return *again_.begin();
  if (claimed_ < 0 && claim) claimed_ = claim_ ? base_ + claim_(epoch_) : next_++;
  return claimed_ < limit() ? claimed_ : -1;
}

void IssueQueue::begin(int64_t place, int64_t drawer) {
  ensure(place >= 0 && place == next(false), "the place that is next");
  ++counts_.issued;
  if (again_.erase(place) > 0)
    ++counts_.reissued;
  else
    claimed_ = -1;
  open_[place] = drawer;
}

bool IssueQueue::finish(int64_t place, int64_t drawer) {
  const auto found = open_.find(place);
  if (found == open_.end() || found->second != drawer) {
    ++counts_.late;
    return false;
  }
  open_.erase(found);
  ++counts_.finished;
  return true;
}

std::set<int64_t> IssueQueue::lose(int64_t drawer) {
  std::set<int64_t> out;
  for (auto one = open_.begin(); one != open_.end();) {
    if (one->second != drawer) {
      ++one;
      continue;
    }
    out.insert(one->first);
    one = open_.erase(one);
  }
  again_.insert(out.begin(), out.end());
  return out;
}

bool IssueQueue::done() const {
  if (wanted_is_open() || (!again_.empty() && *again_.begin() < end_)) return false;
  return claimed_ >= end_ || (!claim_ && claimed_ < 0 && next_ >= end_);
}

}  // namespace vernier
