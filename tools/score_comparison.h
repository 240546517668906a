// Two configurations on the same responses: where do they pay, and push, otherwise?
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "core/base/json.h"
#include "core/types.h"

namespace vernier {

/// Takes the responses of both in the same order, each when its advantage is known.
class ScoreComparison {
 public:
  void add_first(const Group& group, const Response& response) { add(0, group, response); }
  void add_second(const Group& group, const Response& response) { add(1, group, response); }

  /// To be called when there is no more.
  ///
  ///   responses, rewarded (by each, by both), reward (means over both), different (share of both
  ///   whose rewards differ), advantage_correlation (Pearson, over those with both rewards),
  ///   opposite (share of those whose advantages have opposite signs), right_pushed_down (share of
  ///   the right ones with an advantage below 0, of each), length_push (mean over groups of the
  ///   correlation of advantage and length, of each: below 0 it shortens). Null: not defined.
  Json json();
  /// The same as lines for people, under the names of the two.
  std::string text(const std::string& first, const std::string& second);

 private:
  struct Side {
    bool rewarded = false, right = false;
    double reward = 0, advantage = 0, length = 0;
    int64_t step = 0, group = 0;
  };
  struct Pair {
    Side first, second;
  };
  void add(size_t which, const Group& group, const Response& response);
  void end_group();

  std::deque<Side> waiting_[2];
  std::vector<Pair> group_;  // that is being read
  int64_t responses_ = 0, rewarded_[2] = {0, 0}, both_ = 0, different_ = 0, opposite_ = 0;
  int64_t right_[2] = {0, 0}, pushed_down_[2] = {0, 0}, groups_[2] = {0, 0};
  double rewards_[2] = {0, 0}, push_[2] = {0, 0};
  double x_ = 0, y_ = 0, xx_ = 0, yy_ = 0, xy_ = 0;  // sums of the advantages of both
};

}  // namespace vernier
