// The scheduler under random load, against a model of the cache that knows what every slot holds.
#include "rollout/scheduler.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <set>

#include "core/base/rng.h"
#include "tests/testing.h"

namespace vernier {
namespace {

using Ids = std::vector<int32_t>;

// What a slot of the cache must hold for the tokens up to it: a fingerprint of all of them.
uint64_t fingerprint(const Ids& tokens, int64_t count) {
  uint64_t hash = 14695981039346656037U;
  for (int64_t t = 0; t < count; ++t)
    hash = (hash ^ static_cast<uint64_t>(tokens[static_cast<size_t>(t)] + 1)) * 1099511628211U;
  return hash;
}

// Plays the engine: runs plans, checks that every token a row would attend to is there, and draws.
class FakeEngine {
 public:
  FakeEngine(const SchedulerLimits& limits, uint64_t seed)
      : scheduler(limits),
        limits_(limits),
        random_(seed, Stream::task),
        slots_(static_cast<size_t>(limits.pages * limits.page_tokens)) {}

  void add(Ids prompt, int64_t count, int64_t max_new, int64_t expected = 0) {
    const int64_t first = scheduler.add(std::move(prompt), count, max_new, expected);
    for (int64_t i = first; i < first + count; ++i) left_[i] = 1 + next(max_new);
  }

  void step() {
    const StepPlan plan = scheduler.plan();
    REQUIRE(!plan.spans.empty());
    CHECK(plan.tokens() <= limits_.max_step_tokens);
    CHECK(scheduler.running() <= limits_.max_running);
    for (const auto& copy : plan.copies)
      for (int64_t t = 0; t < copy.tokens; ++t) slot(copy.to, t) = slot(copy.from, t);
    std::set<int64_t> once;
    for (const auto& span : plan.spans) {
      CHECK(once.insert(span.sequence).second);
      write(span);
    }
    for (const auto& span : plan.spans) check(span);
    for (const auto& span : plan.spans)
      if (span.draws) draw(span.sequence);
    ++steps;
  }

  void cancel(int64_t sequence) {
    scheduler.remove(sequence);
    left_.erase(sequence);
  }

  std::vector<int64_t> alive() const {
    std::vector<int64_t> out;
    for (const auto& [sequence, left] : left_) out.push_back(sequence);
    return out;
  }

  // What a sequence says does not depend on who runs beside it.
  static int32_t token_at(int64_t sequence, size_t place) {
    return static_cast<int32_t>((static_cast<uint64_t>(sequence) * 31 + place * 7) % 5);
  }

  int64_t next(int64_t bound) {
    return static_cast<int64_t>(random_.next_below(static_cast<uint64_t>(bound)));
  }

  Scheduler scheduler;
  std::map<int64_t, Ids> finished;
  int64_t steps = 0;
  bool drafts = false;

 private:
  Ids with_draft(int64_t sequence) const {
    Ids all = scheduler.tokens(sequence);
    const Ids& draft = scheduler.draft(sequence);
    all.insert(all.end(), draft.begin(), draft.end());
    return all;
  }

  uint64_t& slot(int32_t page, int64_t offset) {
    return slots_[static_cast<size_t>(page * limits_.page_tokens + offset)];
  }
  uint64_t& slot_of(int64_t sequence, int64_t token) {
    const auto page = static_cast<size_t>(token / limits_.page_tokens);
    return slot(scheduler.pages(sequence).at(page), token % limits_.page_tokens);
  }

  void write(const StepPlan::Span& span) {
    const Ids all = with_draft(span.sequence);
    for (int64_t t = span.first; t < span.first + span.count; ++t) {
      const auto page = static_cast<size_t>(t / limits_.page_tokens);
      CHECK(scheduler.pool().references(scheduler.pages(span.sequence).at(page)) == 1);
      slot_of(span.sequence, t) = fingerprint(all, t + 1);
    }
  }

  void check(const StepPlan::Span& span) {
    const Ids all = with_draft(span.sequence);
    CHECK(span.draws == (span.first + span.count >=
                         static_cast<int64_t>(scheduler.tokens(span.sequence).size())));
    bool right = true;
    for (int64_t t = 0; t < span.first + span.count; ++t)
      right = right && slot_of(span.sequence, t) == fingerprint(all, t + 1);
    CHECK(right);
  }

  void draw(int64_t sequence) {
    const Ids draft = scheduler.draft(sequence);
    const size_t known = scheduler.tokens(sequence).size();
    int64_t& left = left_.at(sequence);
    Ids drawn;
    do {
      drawn.push_back(token_at(sequence, known + drawn.size()));
      --left;
    } while (left > 0 && drawn.size() <= draft.size() && draft[drawn.size() - 1] == drawn.back());
    scheduler.append(sequence, drawn);
    if (left == 0) {
      finished[sequence] = scheduler.tokens(sequence);
      return cancel(sequence);
    }
    if (!drafts) return;
    Ids guess;
    for (int64_t i = next(4); i > 0; --i)
      guess.push_back(token_at(sequence, scheduler.tokens(sequence).size() + guess.size()));
    if (!guess.empty() && next(2) == 0) guess[static_cast<size_t>(next(std::ssize(guess)))] ^= 1;
    scheduler.set_draft(sequence, guess);
  }

  SchedulerLimits limits_;
  Rng random_;
  std::vector<uint64_t> slots_;
  std::map<int64_t, int64_t> left_;
};

Ids prompt_of(FakeEngine& engine, int64_t longest) {
  Ids prompt;
  const int64_t common = engine.next(longest) / 2;  // prompts begin alike, for a while
  const int64_t size = 1 + engine.next(longest);
  for (int64_t i = 0; i < size; ++i)
    prompt.push_back(i < common ? 7 : static_cast<int32_t>(engine.next(2)));
  return prompt;
}

TEST_CASE("random load: every row finds what it attends to, limits hold, everyone ends") {
  int64_t preemptions = 0, shared = 0, sequences = 0;
  for (uint64_t seed = 0; seed < 60; ++seed) {
    CAPTURE(seed);
    Rng sizes(seed, Stream::init);
    const auto below = [&](uint64_t bound) {
      return static_cast<int64_t>(sizes.next_below(bound));
    };
    SchedulerLimits limits;
    limits.page_tokens = 1 + below(8);
    limits.max_running = 1 + below(12);
    limits.max_step_tokens = limits.max_running + below(20);
    const int64_t longest = 2 + below(40), max_new = 1 + below(30);
    limits.pages = (longest + max_new) / limits.page_tokens + 2 + below(30);
    FakeEngine engine(limits, seed);
    engine.drafts = seed % 2 == 1;
    std::set<int64_t> cancelled;
    int64_t added = 0;
    while (added < 160 || !engine.scheduler.idle()) {
      if (added < 160 && (engine.scheduler.idle() || engine.next(3) == 0)) {
        const int64_t count = 1 + engine.next(6);
        engine.add(prompt_of(engine, longest), count, max_new, engine.next(4));
        added += count;
      }
      if (engine.next(40) == 0) {
        const auto alive = engine.alive();
        if (alive.size() > 1) {
          const int64_t victim = alive[static_cast<size_t>(engine.next(std::ssize(alive)))];
          engine.cancel(victim);
          cancelled.insert(victim);
        }
      }
      if (engine.next(200) == 0) engine.scheduler.forget_prefixes();
      engine.step();
      REQUIRE(engine.steps < 100000);
    }
    CHECK(static_cast<int64_t>(engine.finished.size() + cancelled.size()) == added);
    CHECK(engine.scheduler.pool().in_use() == 0);
    CHECK(engine.scheduler.stats().peak_pages <= limits.pages);
    preemptions += engine.scheduler.stats().preemptions;
    shared += engine.scheduler.stats().shared_tokens;
    sequences += added;
  }
  // The load was one that all of it was needed for.
  CHECK(preemptions > 100);
  CHECK(shared > sequences);
}

TEST_CASE("what is said does not depend on limits, on sharing, or on drafts") {
  std::map<int64_t, Ids> want;
  for (const int64_t max_running : {1, 7, 64})
    for (const int64_t pages : {12, 400})
      for (const bool drafts : {false, true}) {
        FakeEngine engine({.max_running = max_running,
                           .max_step_tokens = max_running + 9,
                           .pages = pages,
                           .page_tokens = 4},
                          5);
        engine.drafts = drafts;
        for (int64_t i = 0; i < 12; ++i) {
          Ids prompt(static_cast<size_t>(3 + i), static_cast<int32_t>(i % 3));
          engine.add(prompt, 4, 20);
        }
        while (!engine.scheduler.idle()) engine.step();
        if (want.empty()) want = engine.finished;
        CHECK(engine.finished.size() == want.size());
        for (const auto& [sequence, tokens] : engine.finished) {
          // How long one becomes is drawn when it is added, in the same order everywhere.
          CHECK(tokens == want.at(sequence));
        }
      }
}

TEST_CASE("the prompt of a group is computed once, and its last token by each") {
  FakeEngine engine({.max_running = 8, .max_step_tokens = 600, .pages = 400, .page_tokens = 16}, 1);
  engine.add(Ids(512, 3), 8, 1);
  while (!engine.scheduler.idle()) engine.step();
  CHECK(engine.scheduler.stats().computed_tokens == 512 + 7);
  CHECK(engine.scheduler.stats().shared_tokens == 7 * 511);
}

TEST_CASE("a later prompt takes over the pages that begin alike, until the weights change") {
  FakeEngine engine({.max_running = 8, .max_step_tokens = 600, .pages = 400, .page_tokens = 16}, 1);
  Ids prompt(100, 3);
  const auto computed = [&] {
    const int64_t before = engine.scheduler.stats().computed_tokens;
    engine.add(prompt, 1, 1);
    while (!engine.scheduler.idle()) engine.step();
    return engine.scheduler.stats().computed_tokens - before;
  };
  CHECK(computed() == 100);
  prompt[99] = 4;
  CHECK(computed() == 100 - 96);
  prompt[40] = 4;
  CHECK(computed() == 100 - 32);
  engine.scheduler.forget_prefixes();
  CHECK(computed() == 100);
}

TEST_CASE("the longest expected response goes first, but nobody waits for ever") {
  FakeEngine engine({.max_running = 2, .max_step_tokens = 64, .pages = 64, .page_tokens = 4}, 1);
  engine.add(Ids(3, 1), 1, 5, 0);  // sequence 0 expects least and would always be last
  for (int64_t i = 0; i < 40; ++i) engine.add(Ids(3, 2), 1, 5, 10 + i);
  std::vector<int64_t> order;
  while (!engine.scheduler.idle()) {
    engine.step();
    for (const auto& [sequence, tokens] : engine.finished)
      if (std::ranges::find(order, sequence) == order.end()) order.push_back(sequence);
  }
  CHECK(order.size() == 41);
  CHECK((order[0] == 40 || order[0] == 39));
  const auto place = std::ranges::find(order, 0) - order.begin();
  CHECK(place >= 1);
  CHECK(place <= 6);  // after no more than max_running others had entered
}

TEST_CASE("what the cache can never hold is refused when it comes") {
  Scheduler scheduler({.max_running = 2, .max_step_tokens = 8, .pages = 3, .page_tokens = 4});
  CHECK(testing::usage_error([&] { scheduler.add(Ids(8, 1), 1, 5); })
            .find("a prompt of 8 tokens and 5 more need 4 pages of the key-value cache, which has "
                  "3") != std::string::npos);
  scheduler.add(Ids(8, 1), 1, 4);
  CHECK(scheduler.waiting() == 1);
}

}  // namespace
}  // namespace vernier
