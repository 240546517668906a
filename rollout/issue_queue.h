// Which group is drawn next, by whom, and for which step.
//
// With max_staleness = k a step takes the groups that were issued first, never those that ended
// first: which groups a step has does not depend on how long their responses are, so their lengths
// are those of the policy. The group at place p (from 0) behind the first one of the coming step
// belongs to the p / step_groups-th step after it, and may be begun once k steps, and no more, are
// left until then. One whose drawer is lost is issued again, at its place: with the same random
// numbers, so that long responses, which are lost more often, do not make room for short ones.
#pragma once

#include <cstdint>
#include <functional>
#include <iterator>
#include <map>
#include <set>
#include <string>

namespace vernier {

class IssueQueue {
 public:
  /// Numbers from 0 on, each to one of the ranks that ask for it by the same epoch; empty where
  /// this process issues alone.
  using Claim = std::function<int64_t(int64_t epoch)>;

  /// Nothing is issued for steps after `last_step`.
  IssueQueue(int64_t step_groups, int64_t max_staleness, int64_t last_step, Claim claim = {});

  /// The weights that are drawn with have so many steps in them now.
  void new_weights(int64_t version) { version_ = version; }
  /// A step begins: `done` are behind it; its groups begin at place `first`.
  void begin_step(int64_t done, int64_t first);
  /// Places before `end` are wanted now.
  void want(int64_t end);
  /// The step has its groups; those of the next begin at place `first`.
  void end_step(int64_t first);
  /// All that is open is dropped, and issued again from place `first` on.
  void clear(int64_t first);

  /// The place that is to be begun next, the oldest; -1: none may be begun now. It stays so until
  /// begun(). `claim`: whether to ask for a new one where none is at hand.
  int64_t next(bool claim = true);
  /// Somebody draws that place.
  void begin(int64_t place, int64_t drawer);
  /// A group has come from its drawer. False: the place is not that drawer's (any more), and what
  /// has come is to be dropped.
  bool finish(int64_t place, int64_t drawer);
  /// The places of a drawer that is gone are issued again.
  std::set<int64_t> lose(int64_t drawer);

  bool wanted(int64_t place) const { return place < end_; }
  /// All wanted places are finished, or another rank's.
  bool done() const;
  /// Whether a place that is wanted is in the making.
  bool wanted_is_open() const { return !open_.empty() && open_.begin()->first < end_; }
  int64_t limit() const;  // places before it may be begun with the weights as they are
  int64_t first() const { return first_; }
  int64_t end() const { return end_; }
  /// The step that a place is for.
  int64_t step_of(int64_t place) const {
    return wanted(place) ? step_ : step_ + (place - first_) / step_groups_;
  }
  int64_t open() const { return std::ssize(open_); }

  /// Groups of all time. issued - reissued = finished + dropped + those that are open or to be
  /// issued again.
  struct Counts {
    int64_t issued = 0, reissued = 0, finished = 0, dropped = 0, late = 0;
  };
  const Counts& counts() const { return counts_; }
  /// Whether they are so: nothing is lost, nothing doubled.
  bool balanced() const {
    return counts_.issued - counts_.reissued ==
           counts_.finished + counts_.dropped + std::ssize(open_) + std::ssize(again_);
  }

 private:
  int64_t step_groups_, max_staleness_, last_step_;
  Claim claim_;
  int64_t version_ = 0;           // steps that are in the weights
  int64_t step_ = 1, first_ = 0;  // the step whose groups come next, and the place of the first
  int64_t end_ = 0;
  int64_t base_ = 0, epoch_ = 0;     // of claims
  int64_t claimed_ = -1;             // a place that is this rank's and not begun; -1: none
  int64_t next_ = 0;                 // where one issues alone: the next place
  std::set<int64_t> again_;          // places that were lost
  std::map<int64_t, int64_t> open_;  // drawers by place
  Counts counts_;
};

}  // namespace vernier
