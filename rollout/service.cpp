#include "rollout/service.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <thread>

#include "core/base/errors.h"
#include "core/base/log.h"
#include "rollout/engine.h"

namespace vernier {
namespace {

struct Open {  // a generation that the engine has
  Listener listener;
  std::vector<int64_t> tickets;
  std::vector<size_t> heard;  // tokens of each response that the listener knows
  int64_t left = 0;           // responses that have not ended
};

News news(const Response& response, size_t heard, int64_t choice, bool ended) {
  const auto from = [heard](const auto& list) {
    return std::decay_t<decltype(list)>(
        list.begin() + static_cast<std::ptrdiff_t>(std::min(heard, list.size())), list.end());
  };
  News out{.choice = choice,
           .ids = from(response.ids),
           .logprobs = from(response.logprobs),
           .top_logprobs = from(response.top_logprobs),
           .ended = ended,
           .flags = {},
           .forced = {}};
  if (ended) {
    out.finish_reason = response.finish_reason;
    out.flags = response.flags;
    out.forced = response.forced;
  }
  return out;
}

}  // namespace

// The mailbox is under the lock; all else belongs to the thread.
struct Service::Worker {
  Worker(Decoder& decoder, const Tokenizer& tokenizer, const ServiceConfig& with)
      : config(with), engine(decoder, tokenizer) {
    const int64_t positions = decoder.spec().longest();
    engine.open(config.engine, config.engine.max_running,
                std::max<int64_t>(1, positions - config.engine.max_completion_length));
    thread = std::thread([this] { run(); });
  }

  void run();
  bool take_mail();
  void start(int64_t number, Generation& generation, Listener& listener);
  void grown(int64_t number, int64_t choice, bool stepwise, const Response& response, bool ended);
  void drop(int64_t number);
  void fail_all(Failure failure, const std::string& message);
  void publish();

  struct Mail {
    int64_t number;
    std::optional<Generation> generation;  // none: cancel it
    Listener listener;
  };

  const ServiceConfig config;
  Engine engine;
  std::map<int64_t, Open> open;

  mutable std::mutex lock;
  std::condition_variable arrived;
  std::deque<Mail> mail;
  int64_t next_number = 0;
  int64_t taken = 0;                 // responses that were taken in and have not ended
  std::map<int64_t, int64_t> sizes;  // of them, by generation
  ServiceStats stats;
  bool stopping = false;
  std::thread thread;
};

void Service::Worker::run() {
  while (take_mail()) {
    try {
      if (!engine.idle()) engine.step();
    } catch (const std::exception& problem) {
      log::warn(cat("a pass failed, and with it all that ran: ", problem.what()));
      fail_all(Failure::machine, problem.what());
    }
    publish();
  }
  fail_all(Failure::stopping, "the endpoint is stopping");
  publish();
}

// Waits where there is nothing to do. False: stop.
bool Service::Worker::take_mail() {
  std::deque<Mail> letters;
  {
    std::unique_lock hold(lock);
    arrived.wait(hold, [&] { return stopping || !mail.empty() || !engine.idle(); });
    if (stopping) return false;
    letters.swap(mail);
  }
  for (Mail& one : letters)
    if (one.generation)
      start(one.number, *one.generation, one.listener);
    else
      drop(one.number);
  return true;
}

void Service::Worker::start(int64_t number, Generation& generation, Listener& listener) {
  const int64_t n = generation.rules->config().num_generations;
  const int64_t count = n * std::ssize(generation.prompts);
  Open& one = open[number];
  one = {.listener = std::move(listener),
         .tickets = {},
         .heard = std::vector<size_t>(static_cast<size_t>(count), 0),
         .left = count};
  try {
    for (Prompt& prompt : generation.prompts) {
      const int64_t first = prompt.index * n;
      one.tickets.push_back(
          engine.submit({.prompt = std::move(prompt),
                         .rules = generation.rules,
                         .key = {.seed = generation.seed, .step = 0},
                         .weight_version = config.weight_version,
                         .grown =
                             [this, number, first, stepwise = generation.stepwise](
                                 const Response& response, bool ended) {
                               grown(number, first + response.sample, stepwise, response, ended);
                             },
                         .done = {}}));
    }
  } catch (const std::exception& problem) {
    const bool usage = dynamic_cast<const UsageError*>(&problem) != nullptr;
    const Listener told = std::move(one.listener);
    drop(number);
    told.failed(usage ? Failure::usage : Failure::machine, problem.what());
  }
}

void Service::Worker::grown(int64_t number, int64_t choice, bool stepwise, const Response& response,
                            bool ended) {
  Open& one = open.at(number);
  size_t& heard = one.heard[static_cast<size_t>(choice)];
  if (!stepwise && !ended && heard > 0) return;
  News progress = news(response, heard, choice, ended);
  heard = response.ids.size();
  const auto& tell = one.listener.progress;
  if (!ended) return tell(std::move(progress));
  {
    const std::lock_guard hold(lock);
    --taken;
    --sizes.at(number);
  }
  tell(std::move(progress));
  if (--one.left > 0) return;
  // Not drop(): the engine is in the middle of its last ticket, and closes it itself.
  open.erase(number);
  const std::lock_guard hold(lock);
  sizes.erase(number);
}

void Service::Worker::drop(int64_t number) {
  const auto found = open.find(number);
  if (found != open.end()) {
    for (const int64_t ticket : found->second.tickets) engine.cancel(ticket);
    open.erase(found);
  }
  const std::lock_guard hold(lock);
  const auto size = sizes.find(number);
  if (size == sizes.end()) return;
  taken -= size->second;
  sizes.erase(size);
}

void Service::Worker::fail_all(Failure failure, const std::string& message) {
  std::vector<Listener> told;
  while (!open.empty()) {
    told.push_back(std::move(open.begin()->second.listener));
    drop(open.begin()->first);
  }
  std::deque<Mail> letters;
  {
    const std::lock_guard hold(lock);
    if (stopping) letters.swap(mail);
  }
  for (Mail& one : letters) {
    drop(one.number);
    if (one.generation) told.push_back(std::move(one.listener));
  }
  for (const Listener& one : told) one.failed(failure, message);
}

void Service::Worker::publish() {
  const EngineStats now = engine.stats();
  const std::lock_guard hold(lock);
  stats = {.open = taken,
           .running = engine.running(),
           .waiting = engine.waiting(),
           .new_tokens = now.new_tokens,
           .computed_tokens = now.scheduler.computed_tokens,
           .shared_tokens = now.scheduler.shared_tokens,
           .passes = now.passes,
           .preemptions = now.scheduler.preemptions,
           .drafted_tokens = now.drafted_tokens,
           .accepted_tokens = now.accepted_tokens};
}

Service::Service(Decoder& decoder, const Tokenizer& tokenizer, const ServiceConfig& config)
    : worker_(std::make_unique<Worker>(decoder, tokenizer, config)) {}

Service::~Service() { stop(); }

int64_t Service::capacity() const {
  return worker_->config.engine.max_running + worker_->config.max_queue;
}

std::optional<int64_t> Service::submit(Generation generation, Listener listener) {
  Worker& to = *worker_;
  const int64_t count = generation.rules->config().num_generations * std::ssize(generation.prompts);
  const std::lock_guard hold(to.lock);
  if (to.stopping || to.taken + count > capacity()) return std::nullopt;
  const int64_t number = to.next_number++;
  to.taken += count;
  to.sizes[number] = count;
  to.mail.push_back({number, std::move(generation), std::move(listener)});
  to.arrived.notify_one();
  return number;
}

void Service::cancel(int64_t number) {
  const std::lock_guard hold(worker_->lock);
  worker_->mail.push_back({.number = number, .generation = std::nullopt, .listener = {}});
  worker_->arrived.notify_one();
}

ServiceStats Service::stats() const {
  const std::lock_guard hold(worker_->lock);
  ServiceStats out = worker_->stats;
  out.open = worker_->taken;
  return out;
}

void Service::stop() {
  {
    const std::lock_guard hold(worker_->lock);
    worker_->stopping = true;
    worker_->arrived.notify_one();
  }
  if (worker_->thread.joinable()) worker_->thread.join();
}

}  // namespace vernier
