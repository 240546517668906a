// Scores groups as they end: at once, or beside sampling where a reward waits for somebody else.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "rewards/reward.h"

namespace vernier {

/// Groups go in and come out scored, one after the other, in the order in which they came.
class GroupScorer {
 public:
  using Numbers = std::vector<std::pair<std::string, double>>;
  /// `done` is called with each scored group and the numbers of its transforms, on the scorer's
  /// thread where there is one, in take() elsewhere. `stop` may be null.
  GroupScorer(const ScoringChain& chain, std::function<void(Group&&, Numbers)> done,
              const std::atomic<bool>* stop = nullptr);
  /// Waits for the group that is being scored, as long as its rewards may take, and for nothing
  /// else that is open: the chain is not to change under it.
  ~GroupScorer();
  GroupScorer(const GroupScorer&) = delete;
  GroupScorer& operator=(const GroupScorer&) = delete;

  /// A response has ended whose group is not whole yet.
  void ended(const Group& group, size_t response) const { chain_.expect(group, response); }
  /// A group is whole. Throws what scoring an earlier one threw.
  void take(Group&& group);
  /// Waits for all of them. Throws what scoring one threw, and Interrupted soon after `stop`
  /// becomes true.
  void finish();
  /// Of scoring; what was waited for somebody else counts.
  double seconds() const { return seconds_; }

 private:
  void score(Group&& group);
  void work();
  void check();
  bool stopped() const;

  const ScoringChain& chain_;
  std::function<void(Group&&, Numbers)> done_;
  const std::atomic<bool>* stop_;
  double seconds_ = 0;
  std::mutex lock_;
  std::condition_variable changed_;
  std::deque<Group> waiting_;
  bool over_ = false, busy_ = false;
  std::exception_ptr failure_;
  std::thread thread_;  // last: it sees all of the above
};

}  // namespace vernier
