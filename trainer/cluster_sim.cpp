#include "trainer/cluster_sim.h"

#include <algorithm>
#include <deque>
#include <limits>
#include <optional>
#include <set>
#include <utility>

#include "core/base/errors.h"

namespace vernier {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();
// Steps that are counted: whole rounds of five recorded ones. Those before them fill what is in the
// making.
constexpr int64_t kCounted = 10;
// Passes after which what a response sees is looked at again.
constexpr double kLook = 64;

struct Running {
  double left = 0, seen = 0;  // tokens
  int64_t group = 0;
};

struct DrawingRank;
using Events = std::set<std::pair<double, DrawingRank*>>;  // when something happens next on a rank

struct DrawingRank {
  double now = 0;
  std::optional<Events::iterator> event;
  std::vector<Running> running;
  std::deque<Running> waiting;  // of groups that it has
  double busy = 0, rows_time = 0;
};

struct GroupState {
  int64_t left = 0;  // responses
  int64_t version = 0;
  double end = 0;
};

class Simulation {
 public:
  Simulation(const SimulatedJob& job, const SimulatedSetup& setup, const SimulatedEngine& engine)
      : job_(job), setup_(setup), engine_(engine), ranks_(static_cast<size_t>(setup.drawing)) {
    ensure(!job.groups.empty() && engine.max_running > 0, "groups to draw");
    // What a rank has open at most, as PromptShare has it: what is not begun is there for who is
    // faster.
    int64_t responses = 0;
    for (const SimulatedGroup& group : job.groups) responses += std::ssize(group.lengths);
    const int64_t step = responses * job.prompts_per_step / std::ssize(job.groups);
    most_open_ = std::min(engine.max_running,
                          std::max<int64_t>(1, (step + setup.drawing - 1) / setup.drawing));
  }

  SimulatedStep run() {
    double trained = 0, ages = 0;  // the end of the last update
    SimulatedStep out;
    const int64_t first = 4 + 2 * setup_.max_staleness;
    for (int64_t step = 0; step < first + kCounted; ++step) {
      if (step == first) begin(trained);
      const double begun = trained;
      const double ready = draw_step(trained) + job_.reward_s;
      const double start = std::max(trained, ready);
      if (step >= first) {
        out.draw_s += std::max(0.0, ready - begun);
        ages += age();
      }
      if (setup_.colocated)
        pause(start, start + job_.update_s + job_.sync_s);
      else
        advance_all(start + job_.update_s);
      taken_ += job_.prompts_per_step;
      ++version_;
      trained = start + job_.update_s + job_.sync_s;
      if (!setup_.colocated) pause(start + job_.update_s, trained);
    }
    double busy = 0, rows = 0;
    for (const DrawingRank& rank : ranks_) {
      busy += rank.busy;
      rows += rank.rows_time;
    }
    out.rows = busy > 0 ? rows / busy : 0;
    const double span = trained - since_;
    constexpr double steps = kCounted;
    const double training = steps * (job_.update_s + job_.sync_s);
    const auto drawing = static_cast<double>(setup_.drawing),
               trainers = static_cast<double>(setup_.training);
    // Weights keep both sides busy.
    if (setup_.colocated)
      out.bubble = 1 - (busy + drawing * training) / (drawing * span);
    else
      out.bubble = 1 - (busy + drawing * steps * job_.sync_s + trainers * training) /
                           ((drawing + trainers) * span);
    out.bubble = std::max(0.0, out.bubble);  // not by a rounding below
    out.step_s = span / steps;
    out.draw_s /= steps;
    out.staleness = ages / steps;
    return out;
  }

 private:
  void begin(double now) {
    since_ = now;
    for (DrawingRank& rank : ranks_) rank.busy = rank.rows_time = 0;
  }

  bool may_issue() const {
    return issued_ < taken_ + (setup_.max_staleness + 1) * job_.prompts_per_step;
  }

  GroupState& state_of(int64_t group) { return groups_[static_cast<size_t>(group - first_group_)]; }

  void issue_to(DrawingRank& rank, double now) {
    const auto& group = job_.groups[static_cast<size_t>(issued_ % std::ssize(job_.groups))];
    advance(rank, now);
    rank.now = std::max(rank.now, now);
    const double prompt = group.prompt * engine_.prompt_token;
    rank.now += prompt;
    rank.busy += prompt;
    rank.rows_time += prompt * static_cast<double>(std::max<size_t>(1, rank.running.size()));
    for (const double length : group.lengths)
      rank.waiting.push_back({.left = length, .seen = group.prompt, .group = issued_});
    groups_.push_back({.left = std::ssize(group.lengths), .version = version_, .end = rank.now});
    ++issued_;
  }

  void fill(DrawingRank& rank) const {
    while (!rank.waiting.empty() && std::ssize(rank.running) < engine_.max_running) {
      rank.running.push_back(rank.waiting.front());
      rank.waiting.pop_front();
    }
  }

  // To a rank that has fewer responses open than its share; whether it has taken a group.
  bool issue_to_one(DrawingRank& rank, double now) {
    fill(rank);
    const auto open = std::ssize(rank.running) + std::ssize(rank.waiting);
    if (open >= most_open_ || !may_issue()) return false;
    issue_to(rank, now);
    fill(rank);
    return true;
  }

  // All ranks take a group each in turn.
  void issue(double now) {
    for (bool more = true; more;) {
      more = false;
      for (DrawingRank& rank : ranks_)
        if (issue_to_one(rank, now)) more = true;
    }
  }

  double pass_of(const DrawingRank& rank) const {
    double seen = 0;
    for (const Running& one : rank.running) seen += one.seen;
    const auto rows = static_cast<double>(rank.running.size());
    const double seconds = engine_.pass(rows, seen / rows);
    ensure(seconds > 0, "a pass that takes time");
    return seconds;
  }

  // Passes until something ends on a rank, or is looked at again.
  static double passes_of(const DrawingRank& rank) {
    double least = kLook;
    for (const Running& one : rank.running) least = std::min(least, one.left);
    return least;
  }

  void advance(DrawingRank& rank, double until) {
    changed_.push_back(&rank);
    if (until <= rank.now || rank.running.empty()) return;
    make_passes(rank, std::min(passes_of(rank), (until - rank.now) / pass_of(rank)), until);
  }

  void make_passes(DrawingRank& rank, double passes, double until) {
    const double time = until - rank.now;
    rank.busy += time;
    rank.rows_time += time * static_cast<double>(rank.running.size());
    rank.now = until;
    for (Running& one : rank.running) {
      one.left -= passes;
      one.seen += passes;
      if (one.left > 0) continue;
      GroupState& group = state_of(one.group);
      group.end = std::max(group.end, until);
      --group.left;
    }
    std::erase_if(rank.running, [](const Running& one) { return one.left <= 0; });
  }

  // The first thing that happens before `limit`; false where nothing does.
  bool next_event(double limit) {
    for (DrawingRank* rank : changed_) {
      if (rank->event) events_.erase(*rank->event);
      rank->event.reset();
      if (!rank->running.empty())
        rank->event = events_.emplace(rank->now + passes_of(*rank) * pass_of(*rank), rank).first;
    }
    changed_.clear();
    if (events_.empty() || events_.begin()->first >= limit) return false;
    const auto [when, rank] = *events_.begin();
    changed_.push_back(rank);
    make_passes(*rank, passes_of(*rank), when);  // to the end, whatever rounding the time has
    while (issue_to_one(*rank, when)) continue;
    return true;
  }

  bool step_is_there() const {
    if (std::ssize(groups_) < job_.prompts_per_step) return false;
    return std::all_of(groups_.begin(), groups_.begin() + job_.prompts_per_step,
                       [](const GroupState& group) { return group.left == 0; });
  }

  // Until the step's groups are whole; when the last of them was.
  double draw_step(double from) {
    for (first_group_ = taken_; std::ssize(groups_) > issued_ - taken_;) groups_.pop_front();
    issue(from);
    while (!step_is_there()) ensure(next_event(kNever), "groups that end");
    double end = 0;
    for (int64_t g = 0; g < job_.prompts_per_step; ++g)
      end = std::max(end, groups_[static_cast<size_t>(g)].end);
    return end;
  }

  void advance_all(double until) {
    while (next_event(until)) continue;
    for (DrawingRank& rank : ranks_) {
      advance(rank, until);
      fill(rank);
    }
  }

  // Nothing is drawn from `from` to `until`.
  void pause(double from, double until) {
    advance_all(from);
    for (DrawingRank& rank : ranks_) {
      rank.now = std::max(rank.now, from) + (until - from);
      changed_.push_back(&rank);
    }
  }

  double age() const {
    double sum = 0;
    for (int64_t g = 0; g < job_.prompts_per_step; ++g)
      sum += static_cast<double>(version_ - groups_[static_cast<size_t>(g)].version);
    return sum / static_cast<double>(job_.prompts_per_step);
  }

  const SimulatedJob& job_;
  const SimulatedSetup& setup_;
  const SimulatedEngine& engine_;
  std::vector<DrawingRank> ranks_;
  std::deque<GroupState> groups_;  // from taken_ on
  int64_t first_group_ = 0, issued_ = 0, taken_ = 0, version_ = 0;
  int64_t most_open_ = 1;
  Events events_;
  std::vector<DrawingRank*> changed_;  // since its event was noted
  double since_ = 0;
};

}  // namespace

SimulatedStep simulate(const SimulatedJob& job, const SimulatedSetup& setup,
                       const SimulatedEngine& engine) {
  return Simulation(job, setup, engine).run();
}

}  // namespace vernier
