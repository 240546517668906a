#include "rollout/scheduler.h"

#include <algorithm>

#include "core/base/errors.h"

namespace vernier {

int64_t StepPlan::tokens() const {
  int64_t total = 0;
  for (const Span& span : spans) total += span.count;
  return total;
}

SchedulerStats SchedulerStats::operator-(const SchedulerStats& before) const {
  return {.computed_tokens = computed_tokens - before.computed_tokens,
          .shared_tokens = shared_tokens - before.shared_tokens,
          .preemptions = preemptions - before.preemptions,
          .peak_pages = peak_pages};
}

SchedulerStats SchedulerStats::operator+(const SchedulerStats& other) const {
  return {.computed_tokens = computed_tokens + other.computed_tokens,
          .shared_tokens = shared_tokens + other.shared_tokens,
          .preemptions = preemptions + other.preemptions,
          .peak_pages = std::max(peak_pages, other.peak_pages)};
}

Scheduler::Scheduler(const SchedulerLimits& limits)
    : limits_(limits), pool_(limits.pages, limits.page_tokens) {
  ensure(limits.max_running > 0 && limits.max_step_tokens >= limits.max_running,
         "a token of every running sequence in a pass");
}

int64_t Scheduler::add(std::vector<int32_t> prompt, int64_t count, int64_t max_new_tokens,
                       int64_t expected) {
  ensure(!prompt.empty() && count > 0 && max_new_tokens > 0, "a prompt and something to draw");
  const auto longest = static_cast<int64_t>(prompt.size()) + max_new_tokens;
  if (pool_.pages_for(longest) > pool_.pages())
    fail("a prompt of ", prompt.size(), " tokens and ", max_new_tokens, " more need ",
         pool_.pages_for(longest), " pages of the key-value cache, which has ", pool_.pages(),
         ": raise kv_cache_gb or lower max_completion_length");
  auto family = std::make_shared<Family>();
  family->prompt_size = static_cast<int64_t>(prompt.size());
  family->unstarted = count;
  const int64_t first = next_sequence_;
  for (; next_sequence_ < first + count; ++next_sequence_) {
    Sequence& one = sequences_[next_sequence_];
    one.family = family;
    one.tokens = prompt;
    one.expected = expected;
    wait(next_sequence_);
  }
  return first;
}

void Scheduler::extend(int64_t sequence, std::span<const int32_t> drawn) {
  Sequence& one = at(sequence);
  ensure(!one.started && size(one) == one.family->prompt_size, "a sequence that is new");
  one.tokens.insert(one.tokens.end(), drawn.begin(), drawn.end());
}

StepPlan Scheduler::plan() {
  StepPlan plan;
  for (const int64_t sequence : running_) {
    publish(sequence);
    at(sequence).planned = false;
  }
  int64_t room = limits_.max_step_tokens;
  // Who draws a token in every pass goes first: a long prompt must not hold the others up.
  const std::vector<int64_t> running = running_;
  for (const bool decoding : {true, false})
    for (const int64_t sequence : running) {
      const Sequence& one = at(sequence);
      if (one.running && !one.planned && (size(one) - one.computed == 1) == decoding)
        schedule(sequence, room, plan);
    }
  admit(room, plan);
  stats_.computed_tokens += plan.tokens();
  stats_.peak_pages = std::max(stats_.peak_pages, pool_.in_use());
  return plan;
}

// What a sequence has computed may be used by others from now on.
void Scheduler::publish(int64_t sequence) {
  Sequence& one = at(sequence);
  Family& family = *one.family;
  const int64_t page_tokens = pool_.page_tokens();
  const int64_t known = std::min(one.computed, size(one));  // guesses come to nothing
  for (; (one.remembered + 1) * page_tokens <= known; ++one.remembered)
    pool_.remember(std::span<const int32_t>(one.tokens)
                       .first(static_cast<size_t>((one.remembered + 1) * page_tokens)),
                   one.pages[static_cast<size_t>(one.remembered)]);
  if (family.computing != sequence || one.computed < family.prompt_size) return;
  family.computing = -1;
  if (family.unstarted == 0) return;
  family.pages.assign(one.pages.begin(), one.pages.begin() + pool_.pages_for(family.prompt_size));
  for (const int32_t page : family.pages) pool_.share(page);
}

void Scheduler::schedule(int64_t sequence, int64_t& room, StepPlan& plan) {
  Sequence& one = at(sequence);
  const int64_t pending = size(one) - one.computed;
  const int64_t count = std::min(room, pending + static_cast<int64_t>(one.draft.size()));
  if (pending == 0 && one.awaits) return;  // its last token is on the way
  ensure(pending > 0, "a token to compute: what the last pass drew was appended");
  if (count <= 0) return;
  if (!make_room(sequence, one.computed + count, plan)) return give_up(sequence);
  one.draft.resize(static_cast<size_t>(std::max<int64_t>(0, count - pending)));
  one.planned = true;
  plan.spans.push_back({sequence, one.computed, count, count >= pending});
  one.computed += count;
  room -= count;
}

void Scheduler::admit(int64_t& room, StepPlan& plan) {
  while (running() < limits_.max_running && room > 0) {
    const int64_t sequence = next_waiting();
    if (sequence < 0 || !start(sequence, plan)) return;
    schedule(sequence, room, plan);
  }
}

// Pages for the first `tokens` tokens; the one that is written first is nobody else's.
bool Scheduler::make_room(int64_t sequence, int64_t tokens, StepPlan& plan) {
  Sequence& one = at(sequence);
  const auto written = static_cast<size_t>(one.computed / pool_.page_tokens());
  if (written < one.pages.size() && pool_.references(one.pages[written]) > 1) {
    int32_t copy = 0;
    if (!take(sequence, copy)) return false;
    plan.copies.push_back({one.pages[written], copy, one.computed % pool_.page_tokens()});
    pool_.release(one.pages[written]);
    one.pages[written] = copy;
  }
  while (static_cast<int64_t>(one.pages.size()) < pool_.pages_for(tokens)) {
    int32_t page = 0;
    if (!take(sequence, page)) return false;
    one.pages.push_back(page);
  }
  return true;
}

bool Scheduler::take(int64_t sequence, int32_t& page) {
  while (pool_.available() == 0)
    if (!reclaim(sequence)) return false;
  page = pool_.take();
  return true;
}

// Frees something for `sequence`: a prompt that is kept for others, or the pages of the youngest
// that runs, is younger, and is not in this pass.
bool Scheduler::reclaim(int64_t sequence) {
  for (auto place = waiting_.rbegin(); place != waiting_.rend(); ++place) {
    Family& family = *at(place->sequence).family;
    if (family.pages.empty()) continue;
    release_pages(family.pages);
    return true;
  }
  for (size_t i = running_.size(); i-- > 0 && running_[i] != sequence;) {
    if (at(running_[i]).planned) continue;
    give_up(running_[i]);
    return true;
  }
  return false;
}

// From waiting to running, with the pages that are there already. False where there is no room.
bool Scheduler::start(int64_t sequence, StepPlan& plan) {
  Sequence& one = at(sequence);
  Family& family = *one.family;
  // A page for everyone who runs, so that who enters does not drive another out at once.
  const int64_t spare = running() == 0 ? 0 : running();
  bool ready = false;
  while (true) {
    ready = !one.started && !family.pages.empty();
    // The last token is computed in any case: its logits are drawn from.
    if (!ready)
      one.pages = pool_.match(std::span<const int32_t>(one.tokens).first(one.tokens.size() - 1));
    const int64_t held = ready ? (family.prompt_size - 1) / pool_.page_tokens()
                               : static_cast<int64_t>(one.pages.size());
    if (pool_.available() >= pool_.pages_for(size(one) + 1) - held + spare) break;
    release_pages(one.pages);
    if (running() > 0 || !reclaim(sequence)) return false;
  }
  if (ready) {
    take_over(one, plan);
  } else {
    one.remembered = static_cast<int64_t>(one.pages.size());
    one.computed = one.remembered * pool_.page_tokens();
    if (!one.started && family.unstarted > 1) family.computing = sequence;
  }
  stats_.shared_tokens += one.computed;
  if (!one.started) {
    one.started = true;
    if (--family.unstarted == 0) release_pages(family.pages);
  }
  passed_ = sequence == *arrivals_.begin() ? 0 : passed_ + 1;
  waiting_.erase({one.expected, sequence});
  arrivals_.erase(sequence);
  running_.push_back(sequence);
  one.running = true;
  return true;
}

// The prompt's pages from the sequence that computed it, but for the last token, whose logits are
// drawn from: the page that it lies in is copied, since it will be written.
void Scheduler::take_over(Sequence& one, StepPlan& plan) {
  const Family& family = *one.family;
  const int64_t kept = family.prompt_size - 1;
  const auto whole = static_cast<size_t>(kept / pool_.page_tokens());
  const int64_t rest = kept % pool_.page_tokens();
  for (size_t i = 0; i < whole; ++i) {
    pool_.share(family.pages[i]);
    one.pages.push_back(family.pages[i]);
  }
  if (rest > 0) {
    one.pages.push_back(pool_.take());
    plan.copies.push_back({family.pages[whole], one.pages.back(), rest});
  }
  one.computed = kept;
  one.remembered = static_cast<int64_t>(whole);
}

// The first in the order of admission that need not wait for its prompt; -1 where there is none.
int64_t Scheduler::next_waiting() const {
  const auto may_start = [&](int64_t sequence) {
    const Sequence& one = at(sequence);
    if (one.awaits) return false;
    return one.started || !one.family->pages.empty() || one.family->computing < 0;
  };
  if (passed_ >= limits_.max_running && may_start(*arrivals_.begin())) return *arrivals_.begin();
  const auto found =
      std::ranges::find_if(waiting_, [&](const Place& place) { return may_start(place.sequence); });
  return found == waiting_.end() ? -1 : found->sequence;
}

void Scheduler::wait(int64_t sequence) {
  waiting_.insert({at(sequence).expected, sequence});
  arrivals_.insert(sequence);
}

// From running to waiting, without pages.
void Scheduler::give_up(int64_t sequence) {
  Sequence& one = at(sequence);
  release_pages(one.pages);
  one.computed = one.remembered = 0;
  one.draft.clear();
  if (one.family->computing == sequence) one.family->computing = -1;
  one.running = false;
  std::erase(running_, sequence);
  wait(sequence);
  ++stats_.preemptions;
}

// The last page first: of a prefix that nobody uses, its end is given up before its beginning.
void Scheduler::release_pages(std::vector<int32_t>& pages) {
  for (; !pages.empty(); pages.pop_back()) pool_.release(pages.back());
}

void Scheduler::append(int64_t sequence, std::span<const int32_t> drawn) {
  Sequence& one = at(sequence);
  if (one.awaits) {
    ensure(drawn.size() == 1, "one token that was waited for");
    one.awaits = false;
    if (one.tokens.back() == kUnknown)
      one.tokens.back() = drawn[0];
    else
      one.tokens.push_back(drawn[0]);
    return;
  }
  ensure(one.planned && one.computed == size(one) + static_cast<int64_t>(one.draft.size()) &&
             !drawn.empty() && drawn.size() <= one.draft.size() + 1,
         "tokens that the last pass was drawn for");
  one.computed = size(one) + static_cast<int64_t>(drawn.size()) - 1;
  one.tokens.insert(one.tokens.end(), drawn.begin(), drawn.end());
  one.draft.clear();
}

void Scheduler::expect(int64_t sequence, bool last) {
  Sequence& one = at(sequence);
  ensure(one.planned && !one.awaits && one.computed == size(one), "a sequence that draws");
  one.awaits = true;
  if (!last) one.tokens.push_back(kUnknown);
}

bool Scheduler::draws(int64_t sequence) const {
  const Sequence& one = at(sequence);
  return one.running && one.computed + 1 == size(one);
}

void Scheduler::set_draft(int64_t sequence, std::vector<int32_t> draft) {
  Sequence& one = at(sequence);
  ensure(draws(sequence), "a sequence that draws in the next pass");
  one.draft = std::move(draft);
}

void Scheduler::remove(int64_t sequence) {
  Sequence& one = at(sequence);
  Family& family = *one.family;
  if (one.running) publish(sequence);
  release_pages(one.pages);
  if (family.computing == sequence) family.computing = -1;
  if (!one.started && --family.unstarted == 0) release_pages(family.pages);
  std::erase(running_, sequence);
  waiting_.erase({one.expected, sequence});
  arrivals_.erase(sequence);
  sequences_.erase(sequence);
}

}  // namespace vernier
