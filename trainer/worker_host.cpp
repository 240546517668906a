#include "trainer/worker_host.h"

#include <algorithm>

#include "core/base/clock.h"
#include "core/base/errors.h"
#include "core/base/log.h"
#include "core/base/pulse.h"
#include "core/model/head_files.h"
#include "rollout/worker_messages.h"

namespace vernier {
namespace {

constexpr int kTries = 5;  // to send weights, each without those who were lost

uint16_t type_of(WorkerMessage message) { return static_cast<uint16_t>(message); }

control::Limits limits_of(const ClusterConfig& cluster) {
  control::Limits limits;
  limits.deadline_s = cluster.deadline_s;
  return limits;
}

}  // namespace

WorkerHost::WorkerHost(const RunConfig& config, const Trainee& trainee)
    : config_(config),
      trainee_(trainee),
      host_(host_and_port(config.cluster.workers.listen)->first),
      place_(host_ == "localhost" ? "127.0.0.1" : host_) {
  const auto [host, port] = *host_and_port(config.cluster.workers.listen);
  server_.emplace(host, port, control::read_secret(config.cluster.workers.secret),
                  limits_of(config.cluster));
  log::info(cat("workers: they join at ", host, ":", server_->port(),
                "; weights go by the store at ", host, ":", place_.port(), " and over ",
                config.cluster.interface.empty() ? "loopback" : config.cluster.interface));
}

WorkerHost::~WorkerHost() {
  for (const auto& [peer, worker] : workers_) {
    server_->send(peer, type_of(WorkerMessage::over), to_bytes(WorkerOver{.code = code_}));
    server_->finish(peer);
  }
  // What is on its way to them goes first.
  size_t left = workers_.size();
  for (const Clock clock; left > 0 && clock.seconds() < 2;)
    for (const control::Event& event : server_->poll(0.1))
      if (event.kind == control::Event::Kind::left) --left;
}

std::string WorkerHost::setup() const {
  const Model& model = trainee_.model;
  return to_bytes(WorkerSetup{.drawing = config_.rollout,
                              .files = head_files(model.decoder->spec(), *model.tokenizer),
                              .max_length = config_.max_length,
                              .deadline_s = config_.cluster.deadline_s});
}

void WorkerHost::hear(double seconds) {
  for (const control::Event& event : server_->poll(seconds)) hear(event);
}

void WorkerHost::hear(const control::Event& event) {
  using Kind = control::Event::Kind;
  if (event.kind == Kind::joined) {
    workers_[event.peer].from = event.text;
    server_->send(event.peer, type_of(WorkerMessage::setup), setup());
    return;
  }
  const auto found = workers_.find(event.peer);
  if (found == workers_.end()) return;  // dropped, and heard of late
  if (event.kind == Kind::left) return leave(event.peer, event.text);
  Worker& worker = found->second;
  switch (static_cast<WorkerMessage>(event.message.type)) {
    case WorkerMessage::ready:
      worker.ready = true;
      log::info(cat("workers: ", worker.from, " has joined as worker ", event.peer));
      return;
    case WorkerMessage::group:
      return take_group(event.peer, worker, event.message.payload);
    default:
      server_->drop(event.peer, cat("it sent a message of type ", event.message.type));
  }
}

void WorkerHost::take_group(int64_t peer, Worker& worker, std::string_view bytes) {
  std::string problem;
  try {
    Group group = group_from(bytes);
    const auto given = worker.given.find(group.id);
    if (given == worker.given.end()) return;  // forgotten meanwhile
    problem = group_problem(group, given->second, config_.rollout,
                            trainee_.model.decoder->spec().vocab_size);
    if (problem.empty()) {
      worker.given.erase(given);
      news_.finished.push_back({peer, std::move(group)});
      return;
    }
  } catch (const RunError& error) {
    problem = error.what();
  }
  // What it has is drawn by others from here on; it is told of as one who leaves.
  server_->drop(peer, cat("it sent what is no group: ", problem));
}

void WorkerHost::leave(int64_t peer, const std::string& why) {
  const Worker& worker = workers_.at(peer);
  if (worker.ready)
    log::warn(cat("workers: worker ", peer, " (", worker.from, ") is gone: ", why, "; ",
                  worker.given.size(), " groups of its are drawn again"));
  else
    log::warn(cat("workers: ", worker.from, " has left before it was ready: ", why));
  if (worker.member) news_.lost.push_back(peer);
  workers_.erase(peer);
}

void WorkerHost::wait_at_start(const std::atomic<bool>& stop) {
  const int64_t wanted = config_.cluster.workers.at_start;
  const double seconds = config_.cluster.start_deadline_s;
  for (const Clock clock; std::ssize(ready()) < wanted;) {
    if (stop.load()) throw Interrupted();
    if (clock.seconds() > seconds)
      fail_run("workers: ", ready().size(), " of the ", wanted,
               " that the job waits for (cluster.workers.at_start) have come within ", seconds,
               " s (cluster.start_deadline_s)");
    hear(0.2);
    pulse::beat();
  }
}

std::vector<int64_t> WorkerHost::ready() const {
  std::vector<int64_t> out;
  for (const auto& [peer, worker] : workers_)
    if (worker.ready) out.push_back(peer);
  return out;
}

// Who was lost while the weights were sent is known when its connection has ended; the others are
// asked again.
void WorkerHost::wait_for_leavers(const std::vector<int64_t>& members) {
  const auto all_here = [&] {
    return std::ranges::all_of(members, [&](int64_t peer) { return workers_.count(peer) > 0; });
  };
  for (const Clock clock; all_here() && clock.seconds() < config_.cluster.deadline_s;) {
    hear(0.05);
    pulse::beat();
  }
  if (!all_here()) return;
  for (const int64_t peer : members) {
    server_->drop(peer, "the weights did not reach it");
    leave(peer, "the weights did not reach all workers");
  }
}

void WorkerHost::publish(int64_t version) {
  hear(0);
  Decoder& decoder = *trainee_.model.decoder;
  for (int attempt = 0;; ++attempt) {
    const std::vector<int64_t> members = ready();
    const bool fresh = members != members_ || !group_;
    if (fresh) {
      group_.reset();
      members_.clear();
      ++epoch_;
    }
    if (members.empty()) return;
    WeightsNotice notice{.group = cat("weights/", epoch_),
                         .port = place_.port(),
                         .rank = 0,
                         .size = std::ssize(members) + 1,
                         .fresh = fresh,
                         .version = version};
    for (const int64_t peer : members) {
      ++notice.rank;
      server_->send(peer, type_of(WorkerMessage::weights), to_bytes(notice));
    }
    try {
      if (fresh) group_.emplace(place_, notice.group, 0, notice.size, config_.cluster);
      group_->copy_from_first(decoder.trained_weights(), "weights to the workers");
      members_ = members;
      for (const int64_t peer : members) workers_.at(peer).member = true;
      return;
    } catch (const RunError& problem) {
      log::warn(cat("workers: the weights have not reached all ", members.size(),
                    " workers: ", problem.what()));
      group_.reset();
      wait_for_leavers(members);
      if (attempt + 1 == kTries)
        fail_run("workers: the weights did not reach them in ", kTries, " tries");
    }
  }
}

int64_t WorkerHost::count() const {
  return std::ranges::count_if(workers_, [](const auto& one) { return one.second.member; });
}

// The one with the fewest.
int64_t WorkerHost::with_room(int64_t most) {
  int64_t out = 0, fewest = most;
  for (const auto& [peer, worker] : workers_)
    if (worker.member && std::ssize(worker.given) < fewest) {
      fewest = std::ssize(worker.given);
      out = peer;
    }
  return out;
}

void WorkerHost::give(int64_t drawer, const RemoteDraw& draw) {
  workers_.at(drawer).given[draw.place] = draw;
  server_->send(drawer, type_of(WorkerMessage::draw), to_bytes(draw));
}

void WorkerHost::forget() {
  for (auto& [peer, worker] : workers_) {
    worker.given.clear();
    server_->send(peer, type_of(WorkerMessage::forget), "");
  }
  news_.finished.clear();
}

RemoteDrawers::News WorkerHost::news(double seconds) {
  hear(0);
  if (news_.finished.empty() && news_.lost.empty() && seconds > 0) hear(seconds);
  return std::exchange(news_, {});
}

}  // namespace vernier
