// Groups in the order of their places, drawn ahead of the steps that take them.
//
// See issue_queue.h for which step has which. A response that is in the making when the weights
// change goes on under the new ones.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "core/base/clock.h"
#include "rollout/engine.h"
#include "rollout/issue_queue.h"
#include "rollout/remote_draw.h"

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

  /// All as long as the stream lives. `others` (may be null) draw for this rank.
  GroupStream(Engine& engine, const Tokenizer& tokenizer, const ModelSpec& spec,
              StreamConfig config, TakePrompts take, IssueQueue::Claim claim,
              RemoteDrawers* others = nullptr);
  ~GroupStream();
  GroupStream(const GroupStream&) = delete;
  GroupStream& operator=(const GroupStream&) = delete;

  /// The engine's weights have so many steps in them now.
  void new_weights(int64_t version);
  /// A step begins: `done` are behind it, and its groups begin at place `first`.
  void begin_step(int64_t done, int64_t first);
  /// Draws until every group at a place before `end` is whole, and goes on with later ones for as
  /// long as `others()` holds, which is asked from then on (empty: nobody else draws). Hands over
  /// those of this rank, whose ids are their places. Throws Interrupted soon after `stop` becomes
  /// true, of any of those that `share` says draw the same.
  void draw(int64_t end, const std::atomic<bool>* stop, const std::function<void(Group&&)>& done,
            const std::function<bool()>& others, const PromptShare& share = {});
  /// The step has its groups; those of the next begin at place `first`.
  void end_step(int64_t first);
  /// Draws for later steps as long as `more()` holds.
  void draw_ahead(const std::function<bool()>& more);
  /// Called in front of every pass, between which the weights may change; may be empty.
  std::function<void()> before_pass;
  /// Gives those who draw elsewhere what they may begin, for a time in which nobody calls.
  void hand_out();

  /// Leaves the engine to somebody else until it draws again.
  void interrupt();
  /// What is drawn is not of this policy any more: all of it is issued again, from place `first`.
  void clear(int64_t first);

  /// Who has joined the job, and draws for one of its ranks: the work is shared with them.
  void share_with(int64_t workers) { workers_ = workers; }
  /// Groups of this rank that are begun, or whole, beyond those that a step has taken.
  int64_t open_groups() const { return queue_.open() + std::ssize(whole_); }
  const IssueQueue& queue() const { return queue_; }
  /// That came from others when nobody waited for them any more.
  int64_t late() const { return late_ + queue_.counts().late; }
  /// Groups that came from others since the last call.
  int64_t take_elsewhere() { return std::exchange(elsewhere_, 0); }
  /// What the engine did for this stream since the last call.
  EngineStats take_stats();
  /// Since the last call.
  double take_seconds() { return std::exchange(clock_, Clock()).seconds(); }
  /// What it did for others in between, to be counted with it.
  void add_stats(const EngineStats& more) { stats_ = stats_ + more; }

 private:
  static constexpr int64_t kHere = 0;  // the drawer that is this rank's engine
  void take_prompts();
  void go_on();
  void note_version();
  void issue(bool here);
  bool has_room(int64_t place) const;
  int64_t most_groups() const;
  RemoteDraw draw_of(int64_t place);
  void begin_here(RemoteDraw draw);
  void hear(double seconds);
  void deliver(int64_t place, Group&& group);
  void pass();

  Engine& engine_;
  StreamConfig config_;
  TakePrompts take_;
  RemoteDrawers* others_;
  IssueQueue queue_;
  int64_t version_ = 0;                // steps that are in the weights
  std::map<int64_t, Prompt> prompts_;  // of places that are not known to be begun
  int64_t prompts_end_ = 0;
  std::map<int64_t, int64_t> limits_;  // of a response, at places that were lost
  RulesByLimit rules_;
  std::map<int64_t, int64_t> tickets_;   // of places that are drawn here
  std::map<int64_t, RemoteDraw> given_;  // at places that are drawn elsewhere
  std::map<int64_t, Group> whole_;       // that no step has asked for
  std::vector<Request> waiting_;         // while interrupted
  bool interrupted_ = true;
  int64_t longest_ = 0;  // prompt that the engine is open for
  int64_t elsewhere_ = 0, workers_ = 0, late_ = 0;
  EngineStats stats_, before_;
  Clock clock_;
  const std::function<void(Group&&)>* done_ = nullptr;
};

}  // namespace vernier
