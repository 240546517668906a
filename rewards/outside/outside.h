// The reward that asks somebody outside the tree: what library, program and url share.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>

#include "rewards/outside/ledger.h"
#include "rewards/outside/question.h"
#include "rewards/reward.h"

namespace vernier {

/// The keys that every reward from outside has.
struct OutsideConfig {
  std::string name;        // "reward.judge", for messages
  double deadline_s = 60;  // from the question to its answer
  bool needs_group = false;
  bool depends_on_length = false;
  double max_failed_share = 0.2;
  int64_t failure_window = 256;

  void bind(Binder& config);
};

class OutsideReward final : public Reward {
 public:
  /// `service`: null where nothing will be scored (ScoringContext::only_read).
  OutsideReward(OutsideConfig config, std::unique_ptr<Answerer> service);

  bool needs_group() const override { return config_.needs_group; }
  bool depends_on_length() const override { return config_.depends_on_length; }
  bool asks_outside() const override { return true; }
  void expect(const Group& group, size_t response) const override;
  /// Ends at the deadline of its last question and kGraceS at the latest. Throws RunError where
  /// more failed than max_failed_share allows.
  void score(const Group& group, std::span<Score> scores) const override;
  std::map<std::string, int64_t> counters() const override;

 private:
  // Step, group, sample (-1: the whole group), hash of what is asked.
  using Key = std::tuple<int64_t, int64_t, int64_t, std::string>;

  struct Kept {
    QuestionPtr question;
    bool taken = false;  // its answer was asked for
  };

  QuestionPtr question_of(const Group& group, size_t first, size_t count, bool take) const;
  void forget(int64_t step) const;
  void collect(const QuestionPtr& question, std::span<Score> scores) const;

  OutsideConfig config_;
  std::shared_ptr<Ledger> ledger_;  // outlived by questions that nobody collected
  mutable std::mutex lock_;
  mutable std::map<Key, Kept> questions_;
  mutable std::deque<std::pair<Question::Time, Key>> taken_;  // in the order in which they were
  mutable int64_t asked_ = 0, last_step_ = 0;
  std::unique_ptr<Answerer> service_;  // goes first: it answers what is open
};

}  // namespace vernier
