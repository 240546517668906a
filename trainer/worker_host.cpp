#include "trainer/worker_host.h"

#include <algorithm>
#include <functional>

#include "core/base/clock.h"
#include "core/base/errors.h"
#include "core/base/log.h"
#include "core/base/pulse.h"
#include "core/control/frame.h"
#include "core/model/head_files.h"
#include "rollout/worker_messages.h"

namespace vernier {
namespace {

constexpr int kTries = 5;  // to send weights, each without those whom they have not reached

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
      drawing_(config.rollout),
      setup_(to_bytes(
          WorkerSetup{.drawing = drawing_,
                      .files = head_files(trainee.model.decoder->spec(), *trainee.model.tokenizer),
                      .max_length = config.max_length,
                      .deadline_s = config.cluster.deadline_s,
                      .weights_beside = config.max_staleness > 0})),
      host_(host_and_port(config.cluster.workers.listen)->first),
      beside_(config.max_staleness > 0) {
  check_interface(config.cluster.interface, "cluster.interface");
  const auto [host, port] = *host_and_port(config.cluster.workers.listen);
  server_.emplace(host, port, control::read_secret(config.cluster.workers.secret),
                  limits_of(config.cluster));
  place_.emplace(host_ == "localhost" ? "127.0.0.1" : host_);
  const std::string shown = host.find(':') == std::string::npos ? host : cat("[", host, "]");
  log::info(cat("workers: they join at ", shown, ":", server_->port(),
                "; weights go by the store at ", shown, ":", place_->port(), " and over ",
                config.cluster.interface.empty() ? "loopback" : config.cluster.interface));
}

WorkerHost::~WorkerHost() {
  try {
    hear(0);  // who has only just come is told too
    for (const auto& [peer, worker] : workers_) {
      server_->send(peer, type_of(WorkerMessage::over), to_bytes(WorkerOver{.code = code_}));
      server_->finish(peer);
    }
    // What is on its way to them goes first.
    for (const Clock clock; !workers_.empty() && clock.seconds() < 2;)
      for (const control::PeerEvent& event : server_->poll(0.1))
        if (event.kind == control::PeerEvent::Kind::left) workers_.erase(event.peer);
  } catch (const std::exception& problem) {
    log::warn(cat("workers: ", problem.what()));
  }
}

void WorkerHost::hear(double seconds) {
  for (const control::PeerEvent& event : server_->poll(seconds)) hear(event);
}

void WorkerHost::hear(const control::PeerEvent& event) {
  using Kind = control::PeerEvent::Kind;
  if (event.kind == Kind::joined) {
    workers_[event.peer].from = event.text;
    server_->send(event.peer, type_of(WorkerMessage::setup), setup_);
    return;
  }
  const auto found = workers_.find(event.peer);
  if (found == workers_.end()) {  // dropped, and heard of late
    news_.late += event.message.type == type_of(WorkerMessage::group);
    return;
  }
  if (event.kind == Kind::left) return leave(event.peer, event.text);
  Worker& worker = found->second;
  try {
    switch (static_cast<WorkerMessage>(event.message.type)) {
      case WorkerMessage::ready:
        worker.ready = true;
        log::info(cat("workers: ", worker.from, " has joined as worker ", event.peer));
        return;
      case WorkerMessage::arrived:
        worker.arrived = weights_arrived_from(event.message.payload);
        return;
      case WorkerMessage::group:
        return take_group(event.peer, worker, event.message.payload);
      default:
        fail_run("a message of type ", event.message.type);
    }
  } catch (const RunError& problem) {
    // What it has is drawn by others from here on.
    give_up(event.peer, cat("it sent what is no message: ", problem.what()));
  }
}

void WorkerHost::take_group(int64_t peer, Worker& worker, std::string_view bytes) {
  auto [ticket, group] = group_from(bytes);
  const auto given = worker.given.find(ticket);
  if (given == worker.given.end()) {  // forgotten meanwhile
    ++news_.late;
    return;
  }
  const auto& [draw, oldest] = given->second;
  const std::string problem =
      group_problem(group, {.draw = draw,
                            .drawing = drawing_,
                            .vocab_size = trainee_.model.decoder->spec().vocab_size,
                            .oldest = oldest,
                            .newest = newest_});
  if (!problem.empty()) fail_run(problem);
  group.id = draw.place;
  worker.given.erase(given);
  news_.finished.push_back({peer, std::move(group)});
}

void WorkerHost::give_up(int64_t peer, const std::string& why) {
  server_->drop(peer, why);
  leave(peer, why);
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

bool WorkerHost::arrived_everywhere() const {
  return std::ranges::all_of(members_, [&](int64_t peer) {
    const auto found = workers_.find(peer);
    return found != workers_.end() && found->second.arrived &&
           found->second.arrived->version == newest_ && found->second.arrived->whole;
  });
}

// Each says what has arrived; who says nothing in time is gone. True where they are whole with all.
bool WorkerHost::wait_for_arrival() {
  const auto waits = [&](int64_t peer) {
    const auto found = workers_.find(peer);
    return found != workers_.end() &&
           (!found->second.arrived || found->second.arrived->version != newest_);
  };
  for (const Clock clock;
       std::ranges::any_of(members_, waits) && clock.seconds() < config_.cluster.deadline_s;) {
    hear(0.05);
    pulse::beat();
  }
  for (const int64_t peer : members_)
    if (waits(peer)) give_up(peer, "it did not say that the weights have reached it");
  return arrived_everywhere();
}

// False where it is known already that they do not come to all.
bool WorkerHost::begin_weights(const std::vector<int64_t>& members, int64_t version) {
  newest_ = version;  // who has them draws with them at once
  const bool fresh = members != members_ || !group_;
  if (fresh) {
    group_.reset();
    ++epoch_;
  }
  WeightsNotice notice{.group = cat("weights/", epoch_),
                       .port = place_->port(),
                       .rank = 0,
                       .size = std::ssize(members) + 1,
                       .fresh = fresh,
                       .version = version};
  for (const int64_t peer : members) {
    ++notice.rank;
    workers_.at(peer).arrived.reset();
    server_->send(peer, type_of(WorkerMessage::weights), to_bytes(notice));
  }
  members_ = members;
  return reaches_all([&] {
    // Half the time that a worker may be silent: who is late is told from who is gone by what it
    // says then.
    ClusterConfig cluster = config_.cluster;
    cluster.deadline_s /= 2;
    if (fresh) group_.emplace(*place_, notice.group, 0, notice.size, cluster);
    at::Tensor& weights = trainee_.model.decoder->trained_weights();
    copy_ = group_->begin_copy(weights, {}, version, "weights to the workers");
    copy_->send(0, weights);
  });
}

template <class Body>
bool WorkerHost::reaches_all(const Body& body) {
  try {
    body();
    return true;
  } catch (const RunError& problem) {
    log::warn(cat("workers: the weights have not reached all of ", members_.size(), ": ",
                  problem.what()));
    copy_.reset();
    group_.reset();  // the others hear of it at once
    return false;
  }
}

// True where they are whole with all members.
bool WorkerHost::end_weights() {
  const bool sent =
      copy_ != nullptr && reaches_all([&] { ensure(copy_->finish(), "own weights"); });
  copy_.reset();
  const bool whole = wait_for_arrival() && sent;
  if (whole)
    have_weights();
  else
    group_.reset();
  return whole;
}

void WorkerHost::have_weights() {
  version_ = newest_;
  for (const int64_t peer : members_) workers_.at(peer).member = true;
}

// Those that are on their way. Where they do not come to all any more they are sent again at once:
// whoever has none of this step would keep everybody from what lies ahead.
void WorkerHost::look_after_weights() {
  if (copy_ == nullptr) return;
  const bool lost = std::ranges::any_of(members_, [&](int64_t peer) {
    const auto found = workers_.find(peer);
    return found == workers_.end() || (found->second.arrived && !found->second.arrived->whole);
  });
  bool sent = false;
  if (lost || !reaches_all([&] { sent = copy_->here(); })) {
    const pulse::Slow slow("sending weights to workers");
    if (!end_weights()) publish_now(newest_);
  } else if (sent && arrived_everywhere()) {
    copy_.reset();
    have_weights();
  }
}

void WorkerHost::publish(int64_t version) {
  const pulse::Slow slow("sending weights to workers");
  ensure(copy_ == nullptr, "weights of the step before that have left");
  hear(0);
  const std::vector<int64_t> all = ready();
  const bool drawing = !all.empty() && std::ranges::all_of(all, [&](int64_t one) {
    return workers_.at(one).member;
  });
  const bool anew = std::exchange(forgotten_, false);
  if (beside_ && drawing && !anew) {
    if (begin_weights(all, version)) return;
    end_weights();  // what they say of this try is not to be taken for that of the next
  }
  publish_now(version);
}

void WorkerHost::let_go() {
  look_after_weights();
  if (copy_ == nullptr) return;  // who has come since the last publish() gets those of the next
  const pulse::Slow slow("sending weights to workers");
  if (!end_weights()) publish_now(newest_);
}

void WorkerHost::publish_now(int64_t version) {
  const auto drop = [&](const std::function<bool(const Worker&)>& whom) {
    for (const int64_t peer : ready())
      if (whom(workers_.at(peer))) give_up(peer, "the weights did not reach it");
  };
  for (int attempt = 0; attempt < kTries; ++attempt) {
    const std::vector<int64_t> members = ready();
    if (members.empty()) {
      group_.reset();
      members_.clear();
      return;
    }
    begin_weights(members, version);
    if (end_weights()) return;
    if (attempt == 0 || ready() != members) continue;  // who was at fault has left
    drop([](const Worker& one) { return !one.member; });
    if (attempt > 1 && ready() == members)
      drop([](const Worker& one) { return !one.arrived || !one.arrived->whole; });
  }
  drop([](const Worker&) { return true; });
  members_.clear();
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
  RemoteDraw sent = draw;
  sent.ticket = next_ticket_++;
  server_->send(drawer, type_of(WorkerMessage::draw), to_bytes(sent));
  const int64_t ticket = sent.ticket;
  workers_.at(drawer).given.emplace(ticket, Given{.draw = std::move(sent), .oldest = version_});
}

void WorkerHost::forget() {
  forgotten_ = true;
  for (auto& [peer, worker] : workers_) {
    worker.given.clear();
    server_->send(peer, type_of(WorkerMessage::forget), "");
  }
  news_.finished.clear();
}

RemoteDrawers::News WorkerHost::news(double seconds) {
  hear(0);
  look_after_weights();
  if (news_.finished.empty() && news_.lost.empty() && seconds > 0) hear(seconds);
  return std::exchange(news_, {});
}

}  // namespace vernier
