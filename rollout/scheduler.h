// Which tokens of which sequences the model computes next. Bookkeeping alone: no tensors.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <vector>

#include "rollout/pages.h"

namespace vernier {

struct SchedulerLimits {
  int64_t max_running = 256;      // sequences that hold pages
  int64_t max_step_tokens = 512;  // tokens of one forward pass; a longer prompt comes in chunks
  int64_t pages = 0;              // of the key-value cache
  int64_t page_tokens = 64;
};

/// What one forward pass computes.
struct StepPlan {
  /// Tokens [first, first + count) of a sequence, its drafts counted on behind its known tokens.
  struct Span {
    int64_t sequence, first, count;
    bool draws;  // reaches the last known token: the logits of that row, and of drafts, are drawn
                 // from
  };
  /// Before the pass: the first `tokens` tokens of page `from` become those of page `to`.
  struct Copy {
    int32_t from, to;
    int64_t tokens;
  };
  std::vector<Span> spans;
  std::vector<Copy> copies;

  int64_t tokens() const;
};

struct SchedulerStats {
  int64_t computed_tokens = 0;  // rows of all passes
  int64_t shared_tokens = 0;    // of prompts that were not computed, since the cache held them
  int64_t preemptions = 0;
  int64_t peak_pages = 0;  // held at once

  /// What came since `before`; the peak stays the peak of all.
  SchedulerStats operator-(const SchedulerStats& before) const;
  SchedulerStats operator+(const SchedulerStats& other) const;
};

/// Continuous batching over a paged cache. Who runs goes on running; the places that are left, and
/// the tokens that are left of a pass, go to who waits: the longest expected response first, since
/// the tail of a step is its longest one, but nobody is passed over more than max_running times in
/// a row. The sequences of one prompt wait for the first of them to compute it, and share its
/// pages. Where pages run out the youngest sequence gives up its own and computes them again later.
class Scheduler {
 public:
  explicit Scheduler(const SchedulerLimits& limits);

  /// Adds `count` sequences that go on from one prompt, each for up to `max_new_tokens`. `expected`
  /// is the length that is expected of a response, the same for all who have no better guess.
  /// Returns the number of the first; the others follow. UsageError where one would not fit the
  /// cache alone.
  int64_t add(std::vector<int32_t> prompt, int64_t count, int64_t max_new_tokens,
              int64_t expected = 0);

  /// `drawn` stands behind the prompt of a sequence that is new: an interrupted response goes on.
  void extend(int64_t sequence, std::span<const int32_t> drawn);

  bool idle() const { return sequences_.empty(); }
  int64_t running() const { return static_cast<int64_t>(running_.size()); }
  int64_t waiting() const { return static_cast<int64_t>(waiting_.size()); }

  /// The next pass. Its tokens count as computed from here on. Empty only where nothing is left.
  StepPlan plan();

  /// The known tokens: prompt and response.
  const std::vector<int32_t>& tokens(int64_t sequence) const { return at(sequence).tokens; }
  /// Its pages, in order of its tokens.
  const std::vector<int32_t>& pages(int64_t sequence) const { return at(sequence).pages; }

  /// Tokens that were drawn for a sequence in the last pass, in order. With drafts: those that were
  /// drawn as drafted, and the one after them.
  void append(int64_t sequence, std::span<const int32_t> drawn);

  /// For who draws elsewhere and hears of it a pass later: the last pass draws a token for this
  /// sequence that append() brings after the next plan(). Until then passes are planned as if it
  /// were known (its id stands as kUnknown), or, where it is the last one of its response, without
  /// the sequence. One that gave up its pages waits for the token too.
  void expect(int64_t sequence, bool last);
  static constexpr int32_t kUnknown = -1;
  /// Whether there is such a sequence.
  bool knows(int64_t sequence) const { return sequences_.count(sequence) > 0; }

  /// Whether a sequence holds its pages and the next pass draws from it.
  bool draws(int64_t sequence) const;
  /// Guesses of the next tokens, computed along in the next pass where there is room.
  void set_draft(int64_t sequence, std::vector<int32_t> draft);
  const std::vector<int32_t>& draft(int64_t sequence) const { return at(sequence).draft; }

  /// The sequence has ended, or nobody wants it any more.
  void remove(int64_t sequence);

  /// Forgets the prompts of ended sequences: the weights have changed.
  void forget_prefixes() { pool_.forget(); }

  const SchedulerStats& stats() const { return stats_; }
  const PagePool& pool() const { return pool_; }

 private:
  // The sequences of one prompt.
  struct Family {
    int64_t prompt_size = 0;
    int64_t unstarted = 0;       // sequences that have not run yet
    int64_t computing = -1;      // the one that computes the prompt for all
    std::vector<int32_t> pages;  // of the whole prompt, while others will need them
  };
  struct Sequence {
    std::shared_ptr<Family> family;
    std::vector<int32_t> tokens, draft, pages;
    int64_t computed = 0;    // tokens whose keys and values the pages hold
    int64_t remembered = 0;  // pages that later prompts may find
    int64_t expected = 0;
    bool started = false;  // has run at some time
    bool running = false;
    bool planned = false;  // in this pass
    bool awaits = false;   // a token that was drawn, for append()
  };
  struct Place {  // in the order of admission
    int64_t expected, sequence;
    bool operator<(const Place& other) const {
      return expected != other.expected ? expected > other.expected : sequence < other.sequence;
    }
  };

  Sequence& at(int64_t sequence) { return sequences_.at(sequence); }
  const Sequence& at(int64_t sequence) const { return sequences_.at(sequence); }
  int64_t size(const Sequence& one) const { return static_cast<int64_t>(one.tokens.size()); }

  void publish(int64_t sequence);
  void schedule(int64_t sequence, int64_t& room, StepPlan& plan);
  void admit(int64_t& room, StepPlan& plan);
  bool make_room(int64_t sequence, int64_t tokens, StepPlan& plan);
  bool take(int64_t sequence, int32_t& page);
  bool reclaim(int64_t sequence);
  bool start(int64_t sequence, StepPlan& plan);
  void take_over(Sequence& one, StepPlan& plan);
  int64_t next_waiting() const;
  void wait(int64_t sequence);
  void give_up(int64_t sequence);
  void release_pages(std::vector<int32_t>& pages);

  SchedulerLimits limits_;
  PagePool pool_;
  std::map<int64_t, Sequence> sequences_;
  std::vector<int64_t> running_;  // in the order of their start
  std::set<Place> waiting_;
  std::set<int64_t> arrivals_;  // of those who wait
  int64_t next_sequence_ = 0;
  int64_t passed_ = 0;  // how many went before the one that waits longest
  SchedulerStats stats_;
};

}  // namespace vernier
