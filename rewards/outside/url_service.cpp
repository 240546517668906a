#include "rewards/outside/url_service.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <random>
#include <set>

#include "core/base/errors.h"
#include "rewards/outside/wire.h"

namespace vernier {
namespace {

using Time = HttpClient::Time;

constexpr double kLingerS = 0.01;  // that a batch waits to fill
constexpr double kFirstDelayS = 0.25, kMaxDelayS = 10;
constexpr double kFirstRestS = 0.5, kMaxRestS = 30;  // of a URL that takes no connection

// A question that is not answered yet, and what to say if it stays so.
struct Open {
  QuestionPtr question;
  Time asked_at;
  std::string cause, detail;  // detail is empty until it is sent
};
using OpenPtr = std::shared_ptr<Open>;  // of the queue or a batch, and of the list of deadlines

struct Batch {
  std::vector<OpenPtr> open;
  std::string body;
  std::vector<AskedPtr> asked;
  Time deadline = {};
  int64_t tries = 0;
};
using BatchPtr = std::shared_ptr<Batch>;  // of the request, then of the delay before the next

struct Place {
  int64_t active = 0;  // requests
  int64_t refusals = 0;
  Time up_at = {};          // after it took no connection; asked before where no other is better
  Time held_until = {};     // it has said Retry-After: not asked before
  std::string cause, said;  // when it did

  Time next() const { return std::max(up_at, held_until); }
};

// Whether another try may go better.
bool is_passing(const HttpResult& result) {
  return !result.problem.empty() || result.status == 429 || result.status >= 500;
}

}  // namespace

// All of it belongs to the client's thread, but for the counters.
struct UrlService::State {
  explicit State(UrlConfig with)
      : config(std::move(with)), places(config.client.urls.size()), client(config.client) {}

  void take(const QuestionPtr& question);
  void watch_deadlines();
  void pump();
  BatchPtr next_batch();
  size_t choose() const;
  void hold_until(Time when);
  void fail_before(Time when, const Place& place);
  void send(const BatchPtr& batch, size_t place);
  void on_result(const BatchPtr& batch, size_t place, const HttpResult& result);
  void deliver(const Batch& batch, const std::string& body);
  void try_again(const BatchPtr& batch, const HttpResult& result);
  static void fail_all(const Batch& batch, const std::string& cause, const std::string& detail);

  const UrlConfig config;
  std::vector<Place> places;
  std::deque<OpenPtr> waiting;
  std::deque<BatchPtr> again;  // whose delay is over
  std::multimap<Time, OpenPtr> deadlines;
  Time watching = Time::max();    // the earliest deadline that a timer waits for
  Time held_until = Time::max();  // that a timer waits for, as no server may be asked before
  bool lingering = false;
  int64_t active = 0;
  std::minstd_rand jitter{std::random_device{}()};
  std::atomic<int64_t> retries = 0, late = 0;
  HttpClient client;  // goes first: its thread uses the rest
};

UrlService::UrlService(UrlConfig config) {
  config.client.connections = config.in_flight;
  state_ = std::make_unique<State>(std::move(config));
}

UrlService::~UrlService() = default;

void UrlService::ask(const QuestionPtr& question) {
  state_->client.call([state = state_.get(), question] { state->take(question); });
}

std::map<std::string, int64_t> UrlService::counters() const {
  return {{"retries", state_->retries}, {"late", state_->late}};
}

void UrlService::State::take(const QuestionPtr& question) {
  const auto open = std::make_shared<Open>();
  open->question = question;
  open->asked_at = std::chrono::steady_clock::now();
  open->cause = "timeout";
  waiting.push_back(open);
  deadlines.emplace(question->deadline(), open);
  watch_deadlines();
  pump();
}

void UrlService::State::watch_deadlines() {
  const auto now = std::chrono::steady_clock::now();
  for (auto first = deadlines.begin(); first != deadlines.end(); first = deadlines.erase(first)) {
    const Open& open = *first->second;
    if (open.question->answered()) continue;
    if (first->first > now) break;
    open.question->fail(open.cause, open.detail.empty()
                                        ? cat("waited ", open.question->deadline_s(),
                                              " s for its turn; in_flight = ", config.in_flight,
                                              " requests are under way")
                                        : open.detail);
  }
  if (deadlines.empty() || watching <= deadlines.begin()->first) return;
  watching = deadlines.begin()->first;
  client.call_at(watching, [this] {
    watching = Time::max();
    watch_deadlines();
    pump();
  });
}

void UrlService::State::pump() {
  while (active < config.in_flight) {
    const size_t place = choose();
    if (const Time held = places[place].held_until; held > std::chrono::steady_clock::now()) {
      fail_before(held, places[place]);
      return hold_until(held);
    }
    const BatchPtr batch = next_batch();
    if (!batch) return;
    send(batch, place);
  }
}

// Those that would wait in vain, as no place is asked before.
void UrlService::State::fail_before(Time when, const Place& place) {
  std::erase_if(again, [when](const BatchPtr& batch) {
    if (batch->deadline > when) return false;
    for (const OpenPtr& open : batch->open) open->question->fail(open->cause, open->detail);
    return true;
  });
  // In the order of their deadlines, or nearly so: one that is missed fails at its own.
  for (; !waiting.empty() && waiting.front()->question->deadline() <= when; waiting.pop_front())
    waiting.front()->question->fail(
        place.cause, cat(place.said, " (not sent: its Retry-After ends behind the deadline)"));
}

// Goes on then.
void UrlService::State::hold_until(Time when) {
  if (held_until <= when) return;
  held_until = when;
  client.call_at(when, [this] {
    held_until = Time::max();
    pump();
  });
}

// The next request; null where there is none yet.
BatchPtr UrlService::State::next_batch() {
  while (!again.empty()) {
    const BatchPtr batch = again.front();
    again.pop_front();
    if (batch->deadline > std::chrono::steady_clock::now()) return batch;
  }
  while (!waiting.empty() && waiting.front()->question->answered()) waiting.pop_front();
  if (waiting.empty()) return nullptr;
  const Time full_at = waiting.front()->asked_at + as_duration(kLingerS);
  if (std::ssize(waiting) < config.batch && std::chrono::steady_clock::now() < full_at) {
    if (!lingering)
      client.call_at(full_at, [this] {
        lingering = false;
        pump();
      });
    lingering = true;
    return nullptr;
  }
  const auto batch = std::make_shared<Batch>();
  for (; !waiting.empty() && std::ssize(batch->open) < config.batch; waiting.pop_front()) {
    const OpenPtr& open = waiting.front();
    AskedPtr asked = open->question->asked();
    if (!asked) continue;
    batch->asked.push_back(std::move(asked));
    batch->open.push_back(open);
    batch->deadline = std::max(batch->deadline, open->question->deadline());
  }
  if (batch->open.empty()) return next_batch();
  batch->body = config.shape.request(batch->asked);
  return batch;
}

// The URL with the fewest requests, among those that take connections.
size_t UrlService::State::choose() const {
  const auto now = std::chrono::steady_clock::now();
  const auto better = [&](const Place& a, const Place& b) {
    const Time a_up = std::max(a.next(), now), b_up = std::max(b.next(), now);
    return a_up != b_up ? a_up < b_up : a.active < b.active;
  };
  return static_cast<size_t>(std::min_element(places.begin(), places.end(), better) -
                             places.begin());
}

void UrlService::State::send(const BatchPtr& batch, size_t place) {
  ++active;
  ++places[place].active;
  if (batch->tries++ > 0)
    ++retries;
  else
    for (const OpenPtr& open : batch->open)
      open->detail = cat("no answer within ", open->question->deadline_s(), " s");
  client.post(place, batch->body, batch->deadline,
              [this, batch, place](const HttpResult& result) { on_result(batch, place, result); });
}

void UrlService::State::on_result(const BatchPtr& batch, size_t place, const HttpResult& result) {
  --active;
  Place& at = places[place];
  --at.active;
  if (result.problem.empty()) {
    at.refusals = 0;
    at.up_at = {};
  } else if (result.problem != "timeout") {
    const double rest = std::min(
        kMaxRestS, kFirstRestS * static_cast<double>(1 << std::min<int64_t>(at.refusals++, 6)));
    at.up_at = std::chrono::steady_clock::now() + as_duration(rest);
  }
  const Time held = std::chrono::steady_clock::now() + as_duration(result.retry_after_s);
  if (is_passing(result) && result.retry_after_s > 0 && held > at.held_until) {
    at.held_until = held;
    at.cause = cat("http ", result.status);
    at.said = excerpt(result.body);
  }
  if (result.problem == "timeout")
    watch_deadlines();  // says it
  else if (is_passing(result))
    try_again(batch, result);
  else if (result.status < 200 || result.status > 299)
    fail_all(*batch, cat("http ", result.status), excerpt(result.body));
  else
    deliver(*batch, result.body);
  pump();
}

void UrlService::State::deliver(const Batch& batch, const std::string& body) {
  try {
    auto outcomes = config.shape.reply(body, batch.asked);
    for (size_t i = 0; i < batch.open.size(); ++i)
      if (!batch.open[i]->question->answer(std::move(outcomes[i]))) ++late;
  } catch (const BadReply& problem) {
    fail_all(batch, problem.cause(), problem.what());
  }
}

void UrlService::State::fail_all(const Batch& batch, const std::string& cause,
                                 const std::string& detail) {
  for (const OpenPtr& open : batch.open) open->question->fail(cause, detail);
}

void UrlService::State::try_again(const BatchPtr& batch, const HttpResult& result) {
  const bool refused = !result.problem.empty();
  const std::string cause = refused ? "connection" : cat("http ", result.status);
  const std::string detail = cat(refused ? result.problem : excerpt(result.body), " (",
                                 batch->tries, batch->tries == 1 ? " try)" : " tries)");
  double delay = std::min(
      kMaxDelayS, kFirstDelayS * static_cast<double>(1 << std::min<int64_t>(batch->tries - 1, 10)));
  delay *= std::uniform_real_distribution(0.5, 1.5)(jitter);
  const Time when =
      std::max(std::chrono::steady_clock::now() + as_duration(delay), places[choose()].held_until);
  if (batch->tries > config.retries || when >= batch->deadline)
    return fail_all(*batch, cause, detail);
  for (const OpenPtr& open : batch->open) {
    open->cause = cause;
    open->detail = detail;
  }
  client.call_at(when, [this, batch] {
    again.push_back(batch);
    pump();
  });
}

}  // namespace vernier
