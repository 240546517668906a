// Groups in the order of their places, drawn ahead of the steps that take them.
//
// With max_staleness = k a step takes the groups that were issued first, never those that ended
// first: which groups a step has does not depend on how long their responses are, so their lengths
// are those of the policy. The group at place p (from 0) behind the first one of the coming step
// belongs to the p / step_groups-th step after it, and is begun once k steps, and no more, are left
// until then. A response that is in the making when the weights change goes on under the new ones.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "rollout/engine.h"

namespace vernier {

struct StreamConfig {
  RolloutConfig drawing;  // its limits by step are those of the step that a group is for
  int64_t max_staleness = 0;
  int64_t last_step = 0;  // nothing is drawn for later ones
  uint64_t seed = 0;
  int64_t ranks = 1;  // that draw
};

class GroupStream {
 public:
  /// Rendered prompts at so many places of the source, from the first on.
  using TakePrompts = std::function<std::vector<Prompt>(int64_t first, int64_t count)>;

  /// `take`: as long as the stream lives. `claim` gives numbers from 0 on, each to one of the ranks
  /// that ask for it by the same epoch; empty where one draws alone.
  GroupStream(Engine& engine, const Tokenizer& tokenizer, const ModelSpec& spec,
              StreamConfig config, TakePrompts take, std::function<int64_t(int64_t epoch)> claim);
  ~GroupStream();
  GroupStream(const GroupStream&) = delete;
  GroupStream& operator=(const GroupStream&) = delete;

  /// A step begins: `done` are behind it, with the weights that the engine has now, and its groups
  /// begin at place `first`.
  void begin_step(int64_t done, int64_t first);
  /// Draws until every group at a place before `end` is whole, and goes on with later ones for as
  /// long as `others()` holds, which is asked from then on (empty: nobody else draws). Hands over
  /// those of this rank, whose ids are their places. Throws Interrupted soon after `stop` becomes
  /// true.
  void draw(int64_t end, const std::atomic<bool>* stop, const std::function<void(Group&&)>& done,
            const std::function<bool()>& others);
  /// The step has its groups; those of the next begin at place `first`.
  void end_step(int64_t first);
  /// Draws for later steps as long as `more()` holds.
  void draw_ahead(const std::function<bool()>& more);

  /// Leaves the engine to somebody else until it draws again.
  void interrupt();
  /// What is drawn is not of this policy any more: all of it is issued again, from place `first`.
  void clear(int64_t first);

  /// Groups of this rank that are begun, or whole, beyond those that a step has taken.
  int64_t open_groups() const { return std::ssize(open_) + std::ssize(whole_); }
  /// What the engine did for this stream since the last call.
  EngineStats take_stats();

 private:
  int64_t limit() const;
  int64_t step_of(int64_t place) const;
  void go_on();
  bool own_done() const;
  void issue();
  bool has_room(int64_t place) const;
  void begin(int64_t place);
  Request request_of(int64_t place);
  std::shared_ptr<const DrawRules> rules(int64_t limit);
  void pass();

  Engine& engine_;
  const Tokenizer& tokenizer_;
  const ModelSpec& spec_;
  StreamConfig config_;
  TakePrompts take_;
  std::function<int64_t(int64_t)> claim_;
  int64_t most_open_;  // responses

  int64_t version_ = 0;           // steps that are in the weights
  int64_t step_ = 1, first_ = 0;  // the step whose groups come next, and the place of the first
  int64_t end_ = 0;               // places before it are wanted now
  int64_t base_ = 0, epoch_ = 0;  // of claims
  int64_t claimed_ = -1;          // a place that is this rank's and not begun; -1: none
  int64_t next_ = 0;              // where one draws alone: the next place
  std::map<int64_t, Prompt> prompts_;  // of places that are not known to be begun
  int64_t prompts_end_ = 0;
  std::map<int64_t, std::shared_ptr<const DrawRules>> rules_;  // by the limit of a response
  std::map<int64_t, int64_t> open_;                            // places that are begun: tickets
  std::map<int64_t, Group> whole_;                             // that no step has asked for
  std::vector<Request> waiting_;                               // while interrupted
  bool interrupted_ = true;
  EngineStats stats_, before_;
  const std::function<void(Group&&)>* done_ = nullptr;
};

}  // namespace vernier
