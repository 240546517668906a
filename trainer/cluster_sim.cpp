#include "trainer/cluster_sim.h"

#include <algorithm>
#include <deque>
#include <limits>

#include "core/base/errors.h"

namespace vernier {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();
// Steps, of which the first fill what is in the making.
constexpr int64_t kSteps = 12, kFirst = 4;
// Passes after which what a response sees is looked at again.
constexpr double kLook = 64;

struct Running {
  double left = 0, seen = 0;  // tokens
  int64_t group = 0;
};

struct DrawingRank {
  double now = 0;
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
    for (int64_t step = 0; step < kSteps; ++step) {
      if (step == kFirst) begin(trained);
      const double begun = trained;
      const double ready = draw_step() + job_.reward_s;
      const double start = std::max(trained, ready);
      if (step >= kFirst) {
        out.draw_s += ready - begun;
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
      ++updates_;
    }
    constexpr double kCounted = kSteps - kFirst;
    double busy = 0, rows = 0;
    for (const DrawingRank& rank : ranks_) {
      busy += rank.busy;
      rows += rank.rows_time;
    }
    out.rows = busy > 0 ? rows / busy : 0;
    const double span = trained - since_;
    const double training = kCounted * (job_.update_s + job_.sync_s);
    const auto drawing = static_cast<double>(setup_.drawing),
               trainers = static_cast<double>(setup_.training);
    // Weights keep both sides busy.
    if (setup_.colocated)
      out.bubble = 1 - (busy + drawing * training) / (drawing * span);
    else
      out.bubble = 1 - (busy + drawing * kCounted * job_.sync_s + trainers * training) /
                           ((drawing + trainers) * span);
    out.step_s = span / kCounted;
    out.draw_s /= kCounted;
    out.staleness = ages / kCounted;
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

  // Ranks with fewer responses open than their share take a group each in turn.
  void issue(double now) {
    for (bool more = true; more && may_issue();) {
      more = false;
      for (DrawingRank& rank : ranks_) {
        fill(rank);
        const auto open = std::ssize(rank.running) + std::ssize(rank.waiting);
        if (open >= most_open_ || !may_issue()) continue;
        issue_to(rank, now);
        fill(rank);
        more = true;
      }
    }
  }

  double pass_of(const DrawingRank& rank) const {
    double seen = 0;
    for (const Running& one : rank.running) seen += one.seen;
    const auto rows = static_cast<double>(rank.running.size());
    return engine_.pass(rows, seen / rows);
  }

  // When something ends on a rank, or is looked at again.
  double next_of(const DrawingRank& rank) const {
    if (rank.running.empty()) return kNever;
    double least = kLook;
    for (const Running& one : rank.running) least = std::min(least, one.left);
    return rank.now + least * pass_of(rank);
  }

  void advance(DrawingRank& rank, double until) {
    const double time = until - rank.now;
    if (time <= 0 || rank.running.empty()) return;
    const double passes = time / pass_of(rank);
    rank.busy += time;
    rank.rows_time += time * static_cast<double>(rank.running.size());
    rank.now = until;
    for (Running& one : rank.running) {
      one.left -= passes;
      one.seen += passes;
      if (one.left > 1e-6) continue;
      GroupState& group = state_of(one.group);
      group.end = std::max(group.end, until);
      --group.left;
    }
    std::erase_if(rank.running, [](const Running& one) { return one.left <= 1e-6; });
  }

  // The first thing that happens before `limit`; false where nothing does.
  bool next_event(double limit) {
    DrawingRank* first = nullptr;
    double when = limit;
    for (DrawingRank& rank : ranks_)
      if (const double next = next_of(rank); next < when) {
        first = &rank;
        when = next;
      }
    if (first == nullptr) return false;
    advance(*first, when);
    fill(*first);
    issue(when);
    return true;
  }

  bool step_is_there() const {
    if (std::ssize(groups_) < job_.prompts_per_step) return false;
    return std::all_of(groups_.begin(), groups_.begin() + job_.prompts_per_step,
                       [](const GroupState& group) { return group.left == 0; });
  }

  // Until the step's groups are whole; when the last of them was.
  double draw_step() {
    for (first_group_ = taken_; std::ssize(groups_) > issued_ - taken_;) groups_.pop_front();
    double now = 0;
    for (const DrawingRank& rank : ranks_) now = std::max(now, rank.now);
    issue(now);
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
    for (DrawingRank& rank : ranks_) rank.now = std::max(rank.now, from) + (until - from);
  }

  double age() const {
    double sum = 0;
    for (int64_t g = 0; g < job_.prompts_per_step; ++g)
      sum += static_cast<double>(updates_ - groups_[static_cast<size_t>(g)].version);
    return sum / static_cast<double>(job_.prompts_per_step);
  }

  const SimulatedJob& job_;
  const SimulatedSetup& setup_;
  const SimulatedEngine& engine_;
  std::vector<DrawingRank> ranks_;
  std::deque<GroupState> groups_;  // from taken_ on
  int64_t first_group_ = 0, issued_ = 0, taken_ = 0, version_ = 0, updates_ = 0;
  int64_t most_open_ = 1;
  double since_ = 0;
};

}  // namespace

SimulatedStep simulate(const SimulatedJob& job, const SimulatedSetup& setup,
                       const SimulatedEngine& engine) {
  return Simulation(job, setup, engine).run();
}

}  // namespace vernier
