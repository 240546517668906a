#include "rewards/outside/program_pool.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <deque>
#include <future>
#include <mutex>
#include <thread>

#include "core/base/errors.h"
#include "core/base/log.h"
#include "rewards/outside/program_copy.h"

namespace vernier {
namespace {

constexpr double kGraceS = 5;  // that the end of one which does not greet may take
// Starts in a row without an answer, after which questions are failed rather than kept, but for the
// first after each pause.
constexpr int64_t kLostStarts = 3;
constexpr double kEndS = 1;  // that a program has to end when nothing more is asked

}  // namespace

void PoolConfig::bind(Binder& config, double question_deadline_s) {
  deadline_s = question_deadline_s;
  config.number("copies", copies, 1, 1024,
                "that work side by side, each at one question at a time");
  double seconds = 0;
  config.number("call_s", seconds, 0.0, 86400.0,
                "seconds after which one that is at one question is killed; 0: half of deadline_s");
  call_s = seconds > 0 ? seconds : deadline_s / 2;
  config.number(
      "start_s", start_s, 0.01, 86400.0,
      "the same for a copy that has not answered since its start, as it may be loading: "
      "its questions fail at their deadline_s, and it goes on; call_s where that is more");
  start_s = std::max(start_s, call_s);
}

struct ProgramPool::State {
  explicit State(PoolConfig with);

  void run();
  void take_new();
  void expire();
  void restart();
  void hand_out();
  void wait();
  void end_copies();
  void wake() const;
  void greeted(const std::string& refused);

  const PoolConfig config;
  ProgramLog program_log;
  std::vector<ProgramCopy> copies;
  std::deque<QuestionPtr> waiting;  // in order of their deadlines
  std::vector<pollfd> files;
  bool is_greeted = false;
  std::promise<std::string> greeting;

  int wake_file = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  std::mutex lock;
  std::vector<QuestionPtr> incoming;
  std::atomic<bool> stopping = false;
  std::atomic<int64_t> restarts = 0, late = 0;
  std::thread thread;
};

ProgramPool::State::State(PoolConfig with) : config(std::move(with)), program_log(config.name) {
  if (wake_file < 0) fail_run("eventfd: ", std::strerror(errno));
  for (int64_t i = 0; i < config.copies; ++i)
    copies.emplace_back(ProgramCopy::Host{
        .spec = config.spec,
        .greets = config.greets,
        .log = program_log,
        .start_s = config.start_s,
        .greeted = [this](const std::string& refused) { greeted(refused); },
        .late = [this] { ++late; },
        .give_back = [this](const QuestionPtr& question) { waiting.push_front(question); }});
}

ProgramPool::ProgramPool(PoolConfig config) : state_(std::make_unique<State>(std::move(config))) {
  const PoolConfig& with = state_->config;
  if (with.call_s > with.deadline_s)
    log::warn(cat(with.name, ": call_s = ", with.call_s, " is above deadline_s = ", with.deadline_s,
                  ": a copy that hangs is killed only after its question has failed"));
  for (ProgramCopy& copy : state_->copies) copy.start();
  std::future<std::string> greeting = state_->greeting.get_future();
  state_->thread = std::thread([state = state_.get()] { state->run(); });
  if (!state_->config.greets) return;
  std::string refused = cat("did not say within ", state_->config.start_s, " s that it is ready");
  if (greeting.wait_for(as_duration(state_->config.start_s + kGraceS)) == std::future_status::ready)
    refused = greeting.get();
  if (refused.empty()) return;
  state_->stopping = true;
  state_->wake();
  state_->thread.join();
  ::close(state_->wake_file);
  fail_run(refused);
}

ProgramPool::~ProgramPool() {
  state_->stopping = true;
  state_->wake();
  state_->thread.join();
  ::close(state_->wake_file);
}

void ProgramPool::ask(const QuestionPtr& question) {
  {
    const std::lock_guard hold(state_->lock);
    state_->incoming.push_back(question);
  }
  state_->wake();
}

std::map<std::string, int64_t> ProgramPool::counters() const {
  return {{"restarts", state_->restarts}, {"late", state_->late}};
}

void ProgramPool::State::wake() const {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wake_file, &one, sizeof one);
}

void ProgramPool::State::greeted(const std::string& refused) {
  if (is_greeted) {
    if (!refused.empty() && !stopping) log::warn(cat(config.name, ": ", refused));
    return;
  }
  is_greeted = true;
  if (!refused.empty()) stopping = true;
  greeting.set_value(refused);
}

void ProgramPool::State::run() {
  // A program that has ended is told by its end; here a write to it just fails.
  sigset_t pipe;
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  ::pthread_sigmask(SIG_BLOCK, &pipe, nullptr);
  while (!stopping) {
    take_new();
    expire();
    restart();
    hand_out();
    wait();
    for (ProgramCopy& copy : copies) copy.serve();
  }
  end_copies();
}

void ProgramPool::State::take_new() {
  const std::lock_guard hold(lock);
  waiting.insert(waiting.end(), incoming.begin(), incoming.end());
  incoming.clear();
}

void ProgramPool::State::expire() {
  const auto now = std::chrono::steady_clock::now();
  for (ProgramCopy& copy : copies) copy.check_time(now);
  const bool none = std::all_of(copies.begin(), copies.end(), [](const ProgramCopy& copy) {
    return !copy.running() && copy.lost_starts() >= kLostStarts;
  });
  for (; none && !waiting.empty(); waiting.pop_front())
    waiting.front()->fail(
        "died", cat("the program ended ", copies.front().lost_starts(),
                    " times without an answer, the last time with ", copies.front().ended()));
  for (; !waiting.empty() && waiting.front()->deadline() <= now; waiting.pop_front())
    waiting.front()->fail("timeout", cat("waited ", waiting.front()->deadline_s(),
                                         " s for a free copy of the program; copies = ",
                                         config.copies, copies.front().unanswered()));
}

void ProgramPool::State::restart() {
  const auto now = std::chrono::steady_clock::now();
  for (ProgramCopy& copy : copies) {
    if (copy.running() || now < copy.restart_at()) continue;
    try {
      ++restarts;
      copy.start();
    } catch (const RunError& problem) {
      copy.not_started(problem.what());
      program_log.line(problem.what());
    }
  }
}

void ProgramPool::State::hand_out() {
  for (ProgramCopy& copy : copies)
    while (copy.idle() && !waiting.empty()) {
      copy.give(waiting.front(), config.call_s);
      waiting.pop_front();
    }
}

void ProgramPool::State::wait() {
  auto next = std::chrono::steady_clock::now() + as_duration(3600);
  if (!waiting.empty()) next = std::min(next, waiting.front()->deadline());
  files.assign(1, {wake_file, POLLIN, 0});
  for (const ProgramCopy& copy : copies) {
    copy.add_files(files);
    next = std::min(next, copy.next_time());
  }
  const std::chrono::duration<double, std::milli> left = next - std::chrono::steady_clock::now();
  ::poll(files.data(), files.size(), static_cast<int>(std::ceil(std::max(0.0, left.count()))));
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t taken = ::read(wake_file, &count, sizeof count);
}

void ProgramPool::State::end_copies() {
  const auto end = std::chrono::steady_clock::now() + as_duration(kEndS);
  for (ProgramCopy& copy : copies) copy.close_in();
  const auto any = [&] {
    return std::any_of(copies.begin(), copies.end(),
                       [](const ProgramCopy& copy) { return copy.running(); });
  };
  while (any() && std::chrono::steady_clock::now() < end) {
    files.clear();
    for (const ProgramCopy& copy : copies) copy.add_files(files);
    ::poll(files.data(), files.size(), 20);
    for (ProgramCopy& copy : copies) copy.serve();
  }
  copies.clear();  // kills those that are left
}

}  // namespace vernier
