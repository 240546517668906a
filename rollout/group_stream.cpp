#include "rollout/group_stream.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "core/base/errors.h"
#include "core/base/pulse.h"

namespace vernier {

GroupStream::GroupStream(Engine& engine, const Tokenizer& tokenizer, const ModelSpec& spec,
                         StreamConfig config, TakePrompts take,
                         std::function<int64_t(int64_t)> claim)
    : engine_(engine),
      tokenizer_(tokenizer),
      spec_(spec),
      config_(std::move(config)),
      take_(std::move(take)),
      claim_(std::move(claim)) {
  const RolloutConfig& drawing = config_.drawing;
  const int64_t responses = drawing.prompts_per_step * drawing.num_generations;
  most_open_ = (responses + config_.ranks - 1) / config_.ranks;
  if (claim_) most_open_ = std::min(drawing.max_running, most_open_);
}

GroupStream::~GroupStream() {
  for (const auto& [place, ticket] : open_) engine_.cancel(ticket);
}

void GroupStream::begin_step(int64_t done, int64_t first) {
  interrupt();
  version_ = done;
  step_ = done + 1;
  first_ = end_ = first;
  if (epoch_ == 0) clear(first);
}

void GroupStream::end_step(int64_t first) {
  ensure(first >= end_, "groups of the next step behind those of this one");
  ++step_;
  first_ = end_ = first;
}

void GroupStream::clear(int64_t first) {
  if (!interrupted_) interrupt();
  waiting_.clear();
  open_.clear();
  whole_.clear();
  prompts_.clear();
  prompts_end_ = 0;
  base_ = next_ = first;
  claimed_ = -1;
  ++epoch_;
}

void GroupStream::interrupt() {
  if (std::exchange(interrupted_, true)) return;
  stats_ = stats_ + (engine_.stats() - before_);
  waiting_ = engine_.interrupt();
}

EngineStats GroupStream::take_stats() {
  if (!interrupted_) {
    stats_ = stats_ + (engine_.stats() - before_);
    before_ = engine_.stats();
  }
  return std::exchange(stats_, {});
}

// Places before it may be begun with the weights as they are.
int64_t GroupStream::limit() const {
  const int64_t last = std::min(version_ + 1 + config_.max_staleness, config_.last_step);
  return std::max(end_, first_ + (last - step_ + 1) * config_.drawing.prompts_per_step);
}

int64_t GroupStream::step_of(int64_t place) const {
  return step_ + (place - first_) / config_.drawing.prompts_per_step;
}

// The engine is this stream's, with the weights as they are now.
void GroupStream::go_on() {
  if (const int64_t end = limit(); end > prompts_end_) {
    prompts_.erase(prompts_.begin(), prompts_.lower_bound(first_));
    int64_t place = std::max(prompts_end_, first_);
    for (Prompt& prompt : take_(place, end - place)) prompts_.emplace(place++, std::move(prompt));
    prompts_end_ = end;
  }
  if (!std::exchange(interrupted_, false)) return;
  int64_t longest = 0;
  for (const auto& [place, prompt] : prompts_) longest = std::max(longest, std::ssize(prompt.ids));
  for (const Request& one : waiting_) longest = std::max(longest, std::ssize(one.prompt.ids));
  const int64_t n = config_.drawing.num_generations;
  engine_.open(config_.drawing, std::max(most_open_ + n, std::ssize(waiting_) * n), longest);
  before_ = engine_.stats();
  for (Request& one : std::exchange(waiting_, {})) {
    one.weight_version = version_;
    const int64_t place = one.group_id;
    open_.at(place) = engine_.submit(std::move(one));
  }
}

std::shared_ptr<const DrawRules> GroupStream::rules(int64_t limit) {
  std::shared_ptr<const DrawRules>& known = rules_[limit];
  if (known != nullptr) return known;
  RolloutConfig drawing = config_.drawing;
  drawing.max_completion_length = limit;
  known = std::make_shared<const DrawRules>(drawing, tokenizer_, spec_);
  return known;
}

Request GroupStream::request_of(int64_t place) {
  const int64_t limit = config_.drawing.limit_at(step_of(place));
  auto prompt = prompts_.extract(place);
  ensure(!prompt.empty(), "a prompt that is not begun yet");
  if (prompt.mapped().max_completion_length > limit) prompt.mapped().max_completion_length = limit;
  // The key is the place's alone, so a response that is issued again becomes as long as it was. It
  // is that of a step without staleness, too.
  const auto nominal = static_cast<uint64_t>(place / config_.drawing.prompts_per_step + 1);
  return {.prompt = std::move(prompt.mapped()),
          .rules = rules(limit),
          .key = {.seed = config_.seed, .step = nominal},
          .weight_version = version_,
          .group_id = place,
          .grown = {},
          .ended = {},
          .done = [this, place](Group&& group) {
            open_.erase(place);
            if (done_ != nullptr && place < end_)
              (*done_)(std::move(group));
            else
              whole_.emplace(place, std::move(group));
          }};
}

void GroupStream::begin(int64_t place) {
  Request request = request_of(place);
  open_[place] = engine_.submit(std::move(request));
}

// Groups of later steps fill what the step that is wanted leaves of a batch.
bool GroupStream::has_room(int64_t place) const {
  const int64_t open = engine_.open_responses(), n = config_.drawing.num_generations;
  if (place >= end_) return open + n <= std::min(most_open_, config_.drawing.max_running);
  return open < most_open_ || open_.lower_bound(end_) == open_.begin();
}

bool GroupStream::own_done() const {
  if (!open_.empty() && open_.begin()->first < end_) return false;
  return claimed_ >= end_ || (!claim_ && claimed_ < 0 && next_ >= end_);
}

void GroupStream::issue() {
  while (true) {
    if (claimed_ < 0) {
      // Who has enough to do leaves the next place to the others.
      if (!has_room(claim_ ? end_ - 1 : next_)) return;
      claimed_ = claim_ ? base_ + claim_(epoch_) : next_++;
    }
    if (claimed_ >= limit() || !has_room(claimed_)) return;
    begin(std::exchange(claimed_, -1));
  }
}

void GroupStream::pass() {
  go_on();
  issue();
  if (!engine_.idle()) return engine_.step();
  // What may be begun is drawn: the others, or the next step, are waited for.
  std::this_thread::sleep_for(std::chrono::milliseconds(1));
  pulse::beat();
}

void GroupStream::draw(int64_t end, const std::atomic<bool>* stop,
                       const std::function<void(Group&&)>& done,
                       const std::function<bool()>& others) {
  ensure(end >= end_, "places in their order");
  end_ = end;
  while (!whole_.empty() && whole_.begin()->first < end_)
    done(std::move(whole_.extract(whole_.begin()).mapped()));
  done_ = &done;
  try {
    while (true) {
      if (stop != nullptr && stop->load(std::memory_order_relaxed)) throw Interrupted();
      if (own_done() && (!others || !others())) break;
      pass();
    }
  } catch (...) {
    done_ = nullptr;
    throw;
  }
  done_ = nullptr;
}

void GroupStream::draw_ahead(const std::function<bool()>& more) {
  while (more()) pass();
}

}  // namespace vernier
