#include "rollout/group_stream.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "core/base/errors.h"
#include "core/base/pulse.h"

namespace vernier {

GroupStream::GroupStream(Engine& engine, const Tokenizer& tokenizer, const ModelSpec& spec,
                         StreamConfig config, TakePrompts take, IssueQueue::Claim claim,
                         RemoteDrawers* others)
    : engine_(engine),
      config_(std::move(config)),
      take_(std::move(take)),
      others_(others),
      queue_(config_.drawing.prompts_per_step, config_.max_staleness, config_.last_step,
             std::move(claim)),
      rules_(config_.drawing, tokenizer, spec) {}

GroupStream::~GroupStream() {
  for (const auto& [place, ticket] : tickets_) engine_.cancel(ticket);
}

void GroupStream::new_weights(int64_t version) {
  if (version != version_) interrupt();
  version_ = version;
  note_version();
}

// Of who is furthest behind.
void GroupStream::note_version() {
  queue_.new_weights(others_ != nullptr && others_->count() > 0
                         ? std::min(version_, others_->version())
                         : version_);
}

void GroupStream::begin_step(int64_t done, int64_t first) { queue_.begin_step(done, first); }

void GroupStream::end_step(int64_t first) { queue_.end_step(first); }

void GroupStream::clear(int64_t first) {
  interrupt();
  waiting_.clear();
  tickets_.clear();
  if (others_ != nullptr) others_->forget();
  given_.clear();
  whole_.clear();
  prompts_.clear();
  limits_.clear();
  prompts_end_ = 0;
  queue_.clear(first);
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

// Those at places that may be begun.
void GroupStream::take_prompts() {
  const int64_t end = queue_.limit();
  if (end <= prompts_end_) return;
  prompts_.erase(prompts_.begin(), prompts_.lower_bound(queue_.first()));
  int64_t place = std::max(prompts_end_, queue_.first());
  for (Prompt& prompt : take_(place, end - place)) prompts_.emplace(place++, std::move(prompt));
  prompts_end_ = end;
}

// The engine is this stream's, with the weights as they are now.
void GroupStream::go_on() {
  take_prompts();
  if (!std::exchange(interrupted_, false)) return;
  for (const auto& [place, prompt] : prompts_)
    longest_ = std::max(longest_, std::ssize(prompt.ids));
  const int64_t groups = std::max(most_groups() + 1, std::ssize(waiting_));
  engine_.open(config_.drawing, groups * config_.drawing.num_generations, longest_);
  before_ = engine_.stats();
  for (Request& one : std::exchange(waiting_, {})) {
    one.weight_version = version_;
    const int64_t place = one.group_id;
    tickets_.at(place) = engine_.submit(std::move(one));
  }
}

// The key is the place's alone, so a response that is issued again becomes as long as it was.
// Without staleness it is that of its step, as where a step draws its own groups; with it a filter
// may have let places run ahead of steps.
RemoteDraw GroupStream::draw_of(int64_t place) {
  auto prompt = prompts_.extract(place);
  ensure(!prompt.empty(), "a prompt that is not begun yet");
  const auto before = limits_.extract(place);
  const int64_t limit =
      before.empty() ? config_.drawing.limit_at(queue_.step_of(place)) : before.mapped();
  if (prompt.mapped().max_completion_length > limit) prompt.mapped().max_completion_length = limit;
  return {.ticket = 0,
          .place = place,
          .limit = limit,
          .seed = config_.seed,
          .step = static_cast<uint64_t>(config_.max_staleness == 0
                                            ? queue_.step_of(place)
                                            : place / config_.drawing.prompts_per_step + 1),
          .prompt = std::move(prompt.mapped())};
}

void GroupStream::begin_here(RemoteDraw draw) {
  const int64_t place = draw.place;
  if (std::ssize(draw.prompt.ids) > longest_) {  // the engine is to be opened for more
    longest_ = std::ssize(draw.prompt.ids);
    interrupt();
    go_on();
  }
  queue_.begin(place, kHere);
  tickets_[place] = engine_.submit({.prompt = std::move(draw.prompt),
                                    .rules = rules_.at(draw.limit),
                                    .key = {.seed = draw.seed, .step = draw.step},
                                    .weight_version = version_,
                                    .group_id = place,
                                    .grown = {},
                                    .ended = {},
                                    .done = [this, place](Group&& group) {
                                      tickets_.erase(place);
                                      ensure(queue_.finish(place, kHere), "a group that is open");
                                      deliver(place, std::move(group));
                                    }});
}

void GroupStream::deliver(int64_t place, Group&& group) {
  if (done_ != nullptr && queue_.wanted(place))
    (*done_)(std::move(group));
  else
    whole_.emplace(place, std::move(group));
}

// Of a step, for each who draws: the fair share.
int64_t GroupStream::most_groups() const {
  const int64_t drawers = config_.ranks + workers_;
  return (config_.drawing.prompts_per_step + drawers - 1) / drawers;
}

// Groups of later steps fill what the step that is wanted leaves of a batch.
bool GroupStream::has_room(int64_t place) const {
  const RolloutConfig& drawing = config_.drawing;
  const int64_t open = engine_.open_responses(), n = drawing.num_generations;
  const int64_t share = most_groups() * n;
  const bool alone = config_.ranks == 1 && workers_ == 0;
  if (!queue_.wanted(place)) return open + n <= std::min(share, drawing.max_running);
  return open < (alone ? share : std::min(share, drawing.max_running)) || !queue_.wanted_is_open();
}

// `here`: this rank's engine may begin some.
void GroupStream::issue(bool here) {
  while (true) {
    const int64_t most = most_groups();
    const int64_t other = others_ != nullptr ? others_->with_room(most) : 0;
    // Who has enough to do leaves the next place to the other ranks.
    const int64_t coming = queue_.done() ? queue_.end() : queue_.end() - 1;
    const int64_t place = queue_.next(other > 0 || (here && has_room(coming)));
    if (place < 0) return;
    if (here && has_room(place)) {
      begin_here(draw_of(place));
    } else if (other > 0) {
      RemoteDraw draw = draw_of(place);
      queue_.begin(place, other);
      others_->give(other, draw);
      given_.emplace(place, std::move(draw));
    } else {
      return;
    }
  }
}

// What has become of groups that are drawn elsewhere.
void GroupStream::hear(double seconds) {
  if (others_ == nullptr) return;
  RemoteDrawers::News news = others_->news(seconds);
  for (auto& [drawer, group] : news.finished) {
    const int64_t place = group.id;
    if (!queue_.finish(place, drawer)) continue;
    group.prompt = std::move(given_.extract(place).mapped().prompt);
    ++elsewhere_;
    for (const Response& one : group.responses) stats_.new_tokens += one.num_tokens;
    deliver(place, std::move(group));
  }
  late_ += news.late;
  note_version();
  if (!news.lost.empty()) workers_ = others_->count();  // what they had is shared by who is left
  for (const int64_t drawer : news.lost)
    for (const int64_t place : queue_.lose(drawer)) {
      auto given = given_.extract(place);
      limits_[place] = given.mapped().limit;
      prompts_[place] = std::move(given.mapped().prompt);
    }
}

void GroupStream::pass() {
  if (before_pass) before_pass();
  hear(0);  // which may let more places be begun
  go_on();
  issue(true);
  if (!engine_.idle()) return engine_.step();
  // What may be begun is drawn: the others, or the next step, are waited for.
  pulse::beat();
  if (others_ != nullptr && others_->count() > 0) return hear(0.001);
  std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

void GroupStream::draw(int64_t end, const std::atomic<bool>* stop,
                       const std::function<void(Group&&)>& done,
                       const std::function<bool()>& others, const PromptShare& share) {
  queue_.want(end);
  while (!whole_.empty() && queue_.wanted(whole_.begin()->first))
    done(std::move(whole_.extract(whole_.begin()).mapped()));
  done_ = &done;
  try {
    while (true) {
      share.check(stop, engine_.drawn());
      if (queue_.done() && (!others || !others())) break;
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

void GroupStream::hand_out() {
  if (others_ == nullptr) return;
  hear(0);
  take_prompts();
  issue(false);
}

}  // namespace vernier
