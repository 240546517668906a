// Which group is drawn next, by whom; and that the lengths a job trains on are those of its policy,
// whoever is slow, stalls or dies.
#include "rollout/issue_queue.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <queue>
#include <vector>

#include "core/base/rng.h"
#include "tests/testing.h"

namespace vernier {
namespace {

TEST_CASE("places are issued in order, as far ahead as the weights allow") {
  IssueQueue queue(3, 2, 5);
  queue.begin_step(0, 0);
  queue.want(3);
  CHECK(queue.limit() == 9);  // this step and two more
  for (int64_t place = 0; place < 9; ++place) {
    CHECK(queue.next() == place);
    CHECK(queue.step_of(place) == 1 + place / 3);
    queue.begin(place, 1 + place % 2);
  }
  CHECK(queue.next() == -1);
  CHECK_FALSE(queue.done());
  for (const int64_t place : {2, 0, 1}) CHECK(queue.finish(place, 1 + place % 2));
  CHECK(queue.done());
  queue.end_step(3);
  CHECK(queue.next() == -1);  // with the weights as they are
  queue.begin_step(1, 3);
  CHECK(queue.limit() == 9);  // those of the step before are on their way
  queue.new_weights(1);
  CHECK(queue.next() == 9);
  CHECK(queue.limit() == 12);
  // One who is gone: its places come back first, and what it still sends is dropped.
  CHECK(queue.lose(1) == std::set<int64_t>{4, 6, 8});
  CHECK(queue.next() == 4);
  queue.begin(4, 2);
  CHECK_FALSE(queue.finish(4, 1));
  CHECK(queue.counts().late == 1);
  CHECK(queue.finish(4, 2));
  CHECK_FALSE(queue.finish(4, 2));
  const IssueQueue::Counts& counts = queue.counts();
  CHECK(queue.balanced());
  queue.clear(3);
  CHECK(queue.balanced());
  CHECK(queue.open() == 0);
  CHECK(counts.dropped == 5);
  CHECK(queue.next() == 3);
}

TEST_CASE("nothing is issued for steps that do not come, but what a step wants") {
  IssueQueue queue(4, 3, 2);
  queue.begin_step(0, 0);
  CHECK(queue.limit() == 8);
  queue.want(10);  // a filter
  CHECK(queue.limit() == 10);
  queue.new_weights(1);
  queue.begin_step(1, 10);
  CHECK(queue.limit() == 14);
}

TEST_CASE("ranks that claim places from one counter share them") {
  std::map<int64_t, int64_t> counter;
  const auto claim = [&](int64_t epoch) { return counter[epoch]++; };
  IssueQueue a(4, 0, 10, claim), b(4, 0, 10, claim);
  std::set<int64_t> seen;
  for (int64_t step = 0; step < 3; ++step) {
    for (IssueQueue* one : {&a, &b}) {
      one->new_weights(step);
      one->begin_step(step, 4 * step);
      one->want(4 * step + 4);
    }
    while (!a.done() || !b.done())
      for (IssueQueue* one : {&a, &b})
        if (const int64_t place = one->next(); place >= 0) {
          one->begin(place, 0);
          CHECK(one->finish(place, 0));
          CHECK(seen.insert(place).second);
        }
    CHECK(std::ssize(seen) == 4 * step + 4);
    for (IssueQueue* one : {&a, &b}) one->end_step(4 * step + 4);
  }
}

// Workers in simulated time. A response of a policy of known law takes as long as it is long; its
// length hangs on its place and sample alone, as random numbers of the engine do. Workers are slow
// or fast, die, and stall: then the job takes them for lost after a deadline, and what they still
// bring is late.
class Cluster {
 public:
  static constexpr double kMu = 5, kSigma = 1;
  static constexpr int64_t kGenerations = 8, kGroups = 32, kWorkers = 7, kMost = 9;

  Cluster(int64_t staleness, bool faults, uint64_t seed)
      : staleness_(staleness),
        faults_(faults),
        lengths_(seed, Stream::sampling, 0, 0, 0),
        chance_(seed, Stream::sampling, 1, 0, 0) {}

  std::vector<double> train(int64_t steps) {
    IssueQueue queue(kGroups, staleness_, steps);
    std::vector<double> out;
    for (int64_t step = 0; step < steps; ++step) {
      // Where they may be older, the weights of a step come while it draws.
      int64_t version = staleness_ > 0 ? std::max<int64_t>(0, step - 1) : step;
      queue.new_weights(version);
      queue.begin_step(step, step * kGroups);
      queue.want((step + 1) * kGroups);
      for (int64_t looks = 0; !queue.done(); ++looks) {
        if (looks == 10) queue.new_weights(version = step);
        advance(queue, version);
      }
      for (int64_t place = step * kGroups; place < (step + 1) * kGroups; ++place) {
        REQUIRE(finished_.erase(place) == 1);  // neither lost nor doubled
        for (int64_t sample = 0; sample < kGenerations; ++sample)
          out.push_back(length(place, sample));
        REQUIRE(step - version_.at(place) <= staleness_);
        version_.erase(place);
      }
      queue.end_step((step + 1) * kGroups);
      REQUIRE(queue.balanced());
      now_ += 300;  // learning, beside which the others go on
    }
    CHECK(queue.open() == 0);
    reissued = queue.counts().reissued;
    late = queue.counts().late;
    CHECK(queue.counts().issued - reissued == queue.counts().finished);
    return out;
  }

  double length(int64_t place, int64_t sample) const {
    const auto at = static_cast<uint64_t>((place * kGenerations + sample) * 2);
    // Box and Muller.
    const double r = std::sqrt(-2 * std::log1p(-lengths_.uniform(at)));
    return std::exp(kMu + kSigma * r * std::cos(2 * M_PI * lengths_.uniform(at + 1)));
  }

  int64_t reissued = 0, late = 0;

 private:
  struct Event {
    double time;
    int64_t worker, life, place;  // place -1: it is taken for lost; -2: it dies
    bool operator>(const Event& other) const { return time > other.time; }
  };
  struct Worker {
    int64_t life = 0;  // which of those that had its place
    int64_t open = 0;
    double stalls_until = 0;
  };

  int64_t drawer(int64_t worker) const {
    return 1 + worker + kWorkers * workers_[static_cast<size_t>(worker)].life;
  }

  void give(IssueQueue& queue, int64_t version) {
    for (int64_t w = 0; w < kWorkers; ++w) {
      Worker& one = workers_[static_cast<size_t>(w)];
      while (one.open < kMost) {
        const int64_t place = queue.next();
        if (place < 0) return;
        queue.begin(place, drawer(w));
        version_.try_emplace(place, version);
        ++one.open;
        double longest = 0;
        for (int64_t sample = 0; sample < kGenerations; ++sample)
          longest = std::max(longest, length(place, sample));
        const double speed = 1 + 0.4 * static_cast<double>(w);
        events_.push({std::max(now_, one.stalls_until) + longest / speed, w, one.life, place});
      }
    }
  }

  void advance(IssueQueue& queue, int64_t version) {
    give(queue, version);
    REQUIRE(!events_.empty());
    const Event event = events_.top();
    events_.pop();
    now_ = std::max(now_, event.time);
    Worker& one = workers_[static_cast<size_t>(event.worker)];
    const int64_t who = 1 + event.worker + kWorkers * event.life;
    if (event.place == -1) {
      if (event.life != one.life) return;
      for (const int64_t place : queue.lose(who)) version_.erase(place);
      ++one.life;
      one.open = 0;
      return;
    }
    if (event.life == one.life) --one.open;
    if (queue.finish(event.place, who)) REQUIRE(finished_.insert(event.place).second);
    if (!faults_ || event.life != one.life) return;
    // A fault hits whoever works, so long responses more often than short ones.
    const double u = chance_.uniform(static_cast<uint64_t>(draws_++));
    if (u < 0.02) {  // dies: what it has is lost, and known to be
      events_.push({now_, event.worker, one.life, -1});
    } else if (u < 0.04) {  // stalls for longer than it is waited for, and then goes on
      one.stalls_until = now_ + 900;
      std::vector<Event> kept;
      for (; !events_.empty(); events_.pop()) {
        kept.push_back(events_.top());
        if (kept.back().worker == event.worker && kept.back().life == one.life)
          kept.back().time += 900;
      }
      for (const Event& moved : kept) events_.push(moved);
      events_.push({now_ + 400, event.worker, one.life, -1});
    }
  }

  int64_t staleness_;
  bool faults_;
  Rng lengths_, chance_;
  double now_ = 0;
  int64_t draws_ = 0;
  std::vector<Worker> workers_ = std::vector<Worker>(kWorkers);
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  std::set<int64_t> finished_;
  std::map<int64_t, int64_t> version_;  // of the weights that a place was begun with
};

struct Statistics {
  double mean, p90;
};

Statistics statistics(std::vector<double> lengths) {
  double sum = 0;
  for (const double length : lengths) sum += length;
  std::sort(lengths.begin(), lengths.end());
  return {sum / static_cast<double>(lengths.size()), lengths[lengths.size() * 9 / 10]};
}

TEST_CASE("trained lengths are those of the policy under deaths, deadlines and staleness") {
  const double mean = std::exp(Cluster::kMu + Cluster::kSigma * Cluster::kSigma / 2),
               p90 = std::exp(Cluster::kMu + Cluster::kSigma * 1.2815515655446004);
  constexpr int64_t kResponses = 200'000;
  const int64_t steps = kResponses / (Cluster::kGroups * Cluster::kGenerations) + 1;
  for (const int64_t staleness : {0, 1, 2, 3})
    for (const bool faults : {false, true}) {
      CAPTURE(staleness);
      CAPTURE(faults);
      Cluster cluster(staleness, faults, 17 + static_cast<uint64_t>(staleness));
      const std::vector<double> lengths = cluster.train(steps);
      REQUIRE(std::ssize(lengths) >= kResponses);
      const Statistics found = statistics(lengths);
      CHECK(std::abs(found.mean / mean - 1) < 0.01);
      CHECK(std::abs(found.p90 / p90 - 1) < 0.01);
      CHECK((cluster.reissued > 500) == faults);
      CHECK((cluster.late > 100) == faults);
    }
}

TEST_CASE("the same measure finds the bias of steps that take who ends first") {
  // What a step would have that begins twice the groups it needs and takes the first that end.
  const Cluster cluster(0, false, 17);
  std::vector<double> all, taken;
  for (int64_t step = 0; step < 400; ++step) {
    std::vector<std::pair<double, int64_t>> ends;
    for (int64_t i = 0; i < 2 * Cluster::kGroups; ++i) {
      const int64_t place = step * 2 * Cluster::kGroups + i;
      double longest = 0;
      for (int64_t s = 0; s < Cluster::kGenerations; ++s)
        longest = std::max(longest, cluster.length(place, s));
      ends.emplace_back(longest, place);
    }
    std::sort(ends.begin(), ends.end());
    for (int64_t i = 0; i < Cluster::kGroups; ++i)
      for (int64_t s = 0; s < Cluster::kGenerations; ++s)
        taken.push_back(cluster.length(ends[static_cast<size_t>(i)].second, s));
  }
  const double mean = std::exp(Cluster::kMu + Cluster::kSigma * Cluster::kSigma / 2);
  CHECK(statistics(taken).mean / mean < 0.9);
}

}  // namespace
}  // namespace vernier
