#include "core/comm/watch.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <utility>

#include "core/base/bytes.h"
#include "core/base/errors.h"
#include "core/base/log.h"
#include "core/base/pulse.h"
#include "core/comm/meeting.h"

namespace vernier {
namespace {

constexpr size_t kLastOperations = 16;
constexpr double kWordsSeconds = 5;
constexpr const char *kVerdict = "verdict", *kStop = "stop";

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "?";
}

// What a rank writes into the store.
struct Word {
  uint64_t ticks = 0;
  std::string host, phase, operation;
  bool slow = false, waiting = false, left = false;
  double seconds = 0;
};

template <class Archive, FieldsOf<Word> T>
void fields(Archive& archive, T& word) {
  archive(word.ticks, word.host, word.phase, word.operation, word.slow, word.waiting, word.left,
          word.seconds);
}

std::vector<uint8_t> to_store(const std::string& text) { return {text.begin(), text.end()}; }

std::string text_of(const std::vector<uint8_t>& bytes) { return {bytes.begin(), bytes.end()}; }

}  // namespace

Deadline::Deadline(double seconds, std::string what, int code)
    : thread_([this, seconds, what = std::move(what), code] {
        std::unique_lock hold(lock_);
        if (changed_.wait_for(hold, std::chrono::duration<double>(seconds),
                              [this] { return met_; }))
          return;
        std::fprintf(stderr, "vernier: %s\n", what.c_str());
        std::fflush(stderr);
        ::_exit(code);
      }) {}

Deadline::~Deadline() {
  {
    const std::lock_guard hold(lock_);
    met_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

Watch::Watch(c10::intrusive_ptr<c10d::Store> store, const Identity& identity, double deadline_s,
             double start_deadline_s, std::atomic<bool>* stop)
    : store_(std::move(store)),
      identity_(identity),
      deadline_s_(deadline_s),
      start_deadline_s_(std::max(start_deadline_s, deadline_s)),
      stop_(stop),
      host_(host_name()),
      ticked_(now()),
      thread_([this] { work(); }),
      guard_([this] { guard(); }) {}

Watch::~Watch() {
  const Deadline ending(deadline_s_ + 1,
                        cat("rank ", identity_.rank, ": the store gives no answer at the end"));
  {
    const std::lock_guard hold(lock_);
    over_ = true;
  }
  changed_.notify_all();
  thread_.join();
  guard_.join();
}

bool Watch::silent() {
  const std::lock_guard hold(lock_);
  return over_ || left_;
}

void Watch::note(std::string operation) {
  const std::lock_guard hold(lock_);
  last_.push_back(std::move(operation));
  if (last_.size() > kLastOperations) last_.pop_front();
}

void Watch::set_last_words(std::function<std::string()> words) {
  const std::lock_guard hold(lock_);
  last_words_ = std::move(words);
}

void Watch::leave() {
  const std::lock_guard hold(lock_);
  left_ = true;
}

void Watch::lost(const std::string& operation, const std::string& why) {
  log::warn(cat("rank ", identity_.rank, ": ", operation, ": ", why,
                "; waits for the watch to say who is gone"));
  const double until = now() + 2 * deadline_s_ + 5;
  std::unique_lock hold(lock_);
  while (now() < until && !left_) changed_.wait_for(hold, std::chrono::milliseconds(100));
}

void Watch::fail(const std::string& why, int code) noexcept {
  try {
    leave();
    const Deadline telling(deadline_s_ + 4, cat("rank ", identity_.rank, ": ", why));
    settle(cat("rank ", identity_.rank, " (", host_, ") failed: ", why), code);
    linger();
  } catch (const std::exception&) {  // the store is gone: they will notice
  }
}

// The first verdict stays; its first byte is the exit code.
void Watch::settle(const std::string& verdict, int code) {
  store_->compareSet(kVerdict, {}, to_store(static_cast<char>(code) + verdict));
}

// Who holds the store stays until the others have read the verdict.
void Watch::linger() const {
  if (identity_.rank == 0 && !identity_.agent_store)
    std::this_thread::sleep_for(std::chrono::duration<double>(std::min(3.0, deadline_s_)));
}

std::string Watch::key(int64_t rank) const { return cat("pulse/", rank); }

void Watch::work() {
  const auto every = std::chrono::duration<double>(std::clamp(deadline_s_ / 10, 0.1, 1.0));
  std::unique_lock hold(lock_);
  while (!over_) {
    hold.unlock();
    try {
      tick();
    } catch (const std::exception& problem) {
      // At the end of a job rank 0 may be gone before this rank knows that it may go too.
      std::this_thread::sleep_for(std::chrono::seconds(1));
      if (!silent())
        end(identity_.rank == 0
                ? cat("the store that this rank holds failed: ", reason_of(problem))
                : cat("the store is gone, which ", identity_.agent_store ? "torchrun" : "rank 0",
                      " holds at ", identity_.address, ":", identity_.port, ": ",
                      reason_of(problem)));
      return;
    }
    hold.lock();
    ticked_ = now();
    changed_.wait_for(hold, every, [this] { return over_; });
  }
}

void Watch::guard() {
  std::unique_lock hold(lock_);
  double looked = now();
  while (!changed_.wait_for(hold, std::chrono::milliseconds(200), [this] { return over_; })) {
    // Where this process itself was stopped, nothing can be said of others.
    if (now() - std::exchange(looked, now()) > deadline_s_ / 2) ticked_ = now();
    if (left_ || now() - ticked_ <= deadline_s_ + 1) continue;
    const std::string what =
        cat("the store at ", identity_.address, ":", identity_.port, " has not answered for ",
            fixed(now() - ticked_, 1), " s: ", identity_.agent_store ? "torchrun" : "rank 0",
            ", which holds it, is stuck or cannot be reached");
    hold.unlock();
    end(what);
  }
}

void Watch::say() {
  const pulse::State state = pulse::state();
  Word word{.ticks = ++ticks_,
            .host = host_,
            .phase = state.phase,
            .operation = state.operation,
            .slow = state.slow,
            .waiting = state.waiting,
            .left = false,
            .seconds = state.seconds};
  {
    const std::lock_guard hold(lock_);
    word.left = left_;
  }
  store_->set(key(identity_.rank), to_store(bytes_of(word)));
}

void Watch::look_at(const std::vector<int64_t>& ranks) {
  std::vector<std::string> keys;
  for (const int64_t rank : ranks)
    if (seen_.contains(rank) || store_->check({key(rank)})) keys.push_back(key(rank));
  if (keys.empty()) return;
  const std::vector<std::vector<uint8_t>> words = store_->multiGet(keys);
  size_t next = 0;
  for (const int64_t rank : ranks) {
    if (next == keys.size() || keys[next] != key(rank)) continue;
    const auto word = from_bytes<Word>(text_of(words[next++]), "the store");
    Seen& seen = seen_[rank];
    if (word.ticks != seen.ticks) seen.since = now();
    seen.ticks = word.ticks;
    seen.host = word.host;
    seen.phase = word.phase;
    seen.operation = word.operation;
    seen.slow = word.slow;
    seen.waiting = word.waiting;
    seen.left = word.left;
    seen.stuck = word.seconds;
  }
}

// Why the job has to end, or "".
std::string Watch::verdict() const {
  bool all_wait = !seen_.empty();
  for (const auto& [rank, seen] : seen_) {
    const double silent = now() - seen.since;
    const auto who = [&](const char* state) {
      return cat("rank ", rank, " (", seen.host, ") ", state, ": phase ", seen.phase,
                 seen.operation.empty()
                     ? ""
                     : cat(seen.waiting ? ", in operation " : ", last operation ", seen.operation),
                 ", last heartbeat ", fixed(silent, 1), " s ago");
    };
    if (!seen.left && silent > deadline_s_) return who("gives no sign of life");
    const double limit = seen.slow ? start_deadline_s_ : deadline_s_;
    if (!seen.left && !seen.waiting && seen.stuck > limit)
      return cat(who("is stuck"), ", nothing done for ", fixed(seen.stuck, 1), " s");
    all_wait = all_wait && seen.waiting && seen.stuck > deadline_s_;
  }
  // Rank 0 alone hears of all: the others see it wait for somebody who works.
  if (!all_wait || identity_.rank != 0) return "";
  std::string out = "the ranks wait for each other:";
  for (const auto& [rank, seen] : seen_) out += cat(" rank ", rank, " in ", seen.operation, ";");
  return out;
}

void Watch::tick() {
  // Where this process itself was stopped, the silence of others is not theirs, nor its own.
  if (now() - ticked_at_ > deadline_s_ / 2) {
    for (auto& [rank, seen] : seen_) seen.since = now();
    pulse::beat();
  }
  ticked_at_ = now();
  say();
  if (stop_ != nullptr && !told_stop_) {
    if (stop_->load()) {
      store_->set(kStop, to_store("1"));
      told_stop_ = true;
    } else if (store_->check({kStop})) {
      stop_->store(true);
      told_stop_ = true;
    }
  }
  std::vector<int64_t> watched = {0};
  if (identity_.rank == 0)
    for (int64_t rank = 1; rank < identity_.world_size; ++rank) watched.push_back(rank);
  look_at(watched);
  if (silent()) return;
  if (store_->check({kVerdict})) {
    // This rank may be about to fail by itself, for the same reason and with a better message.
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    if (silent()) return;
    const std::string found = text_of(store_->get(kVerdict));
    end(found.substr(1), found.front());
  }
  if (identity_.rank == 0 && std::ssize(seen_) < identity_.world_size)
    return;  // not all have begun
  if (const std::string found = verdict(); !found.empty()) {
    settle(found, 1);
    end(found);
  }
}

void Watch::end(const std::string& verdict, int code) {
  std::string text =
      cat("rank ", identity_.rank, " (", host_, ") ends: ", verdict, "\n  its last operations:");
  std::function<std::string()> last_words;
  {
    const std::lock_guard hold(lock_);
    for (const std::string& one : last_) text += cat("\n    ", one);
    last_words = last_words_;
  }
  log::end_progress();
  std::fprintf(stderr, "vernier: %s\n", text.c_str());
  log::quiet();  // the file has it too
  log::warn(text);
  std::fflush(stderr);
  if (last_words) {
    // They may wait for what the process is stuck in.
    const Deadline words(kWordsSeconds, cat("rank ", identity_.rank, " ends without last words"),
                         code);
    log::warn(last_words());
  }
  linger();
  ::_exit(code);
}

}  // namespace vernier
