// Times the control plane: a job that hands groups out to workers and takes their responses in.
// For tools/bench control.
//
//   bench_control [--workers W] [--rate R] [--seconds S]
//
// The workers are in a process of their own, each with a connection, and answer what they are asked
// at once, with responses of lognormal length. The job asks for R responses a second (0: as many as
// go through), checks each, and counts that none is lost or doubled.
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <set>
#include <thread>

#include "core/base/buffer.h"
#include "core/base/clock.h"
#include "core/base/errors.h"
#include "core/base/rng.h"
#include "core/control/control_client.h"
#include "core/control/control_server.h"
#include "rollout/issue_queue.h"
#include "rollout/worker_messages.h"

namespace vernier {
namespace {

constexpr int64_t kGroup = 8, kVocabulary = 50'000, kLimit = 8192;
constexpr int64_t kMost = 4;  // groups that a worker has at a time
const std::string kSecret = "the secret of a benchmark";

struct BenchOptions {
  int64_t workers = 64;
  double rate = 10'000, seconds = 60;
};

uint16_t type_of(WorkerMessage message) { return static_cast<uint16_t>(message); }

Group answer_to(const RemoteDraw& draw) {
  Group group;
  group.id = draw.place;
  const Rng rng(1, Stream::sampling, 0, static_cast<uint64_t>(draw.place), 0);
  for (int64_t i = 0; i < kGroup; ++i) {
    const auto at = static_cast<uint64_t>(2 * i);
    const double normal =
        std::sqrt(-2 * std::log1p(-rng.uniform(at))) * std::cos(2 * M_PI * rng.uniform(at + 1));
    const auto tokens = std::clamp<int64_t>(std::llround(std::exp(5 + normal)), 1, draw.limit);
    Response& one = group.responses.emplace_back();
    one.sample = i;
    one.ids.assign(static_cast<size_t>(tokens), static_cast<int32_t>(draw.place % kVocabulary));
    one.logprobs.assign(static_cast<size_t>(tokens), -0.5F);
    one.num_tokens = one.raw_num_tokens = static_cast<int32_t>(tokens);
    one.text = std::string(static_cast<size_t>(4 * tokens), 'x');
    one.versions = {{0, one.num_tokens}};
  }
  return group;
}

void answer(int port) {
  control::ControlClient job("127.0.0.1", port, kSecret, {});
  job.send(type_of(WorkerMessage::ready), "");
  while (true)
    for (const control::Message& message : job.poll(1)) {
      if (message.type == type_of(WorkerMessage::over)) return job.finish();
      const RemoteDraw draw = draw_from(message.payload);
      job.send(type_of(WorkerMessage::group), to_bytes(draw.ticket, answer_to(draw)));
    }
}

// In a process of their own.
void answer_all(int64_t workers, int port) {
  std::vector<std::thread> threads;
  for (int64_t i = 0; i < workers; ++i) threads.emplace_back([port] { answer(port); });
  for (std::thread& thread : threads) thread.join();
}

class Job {
 public:
  explicit Job(const BenchOptions& options)
      : options_(options), server_("127.0.0.1", 0, kSecret, {}), queue_(1, 0, 0) {
    drawing_.num_generations = kGroup;
  }

  int port() const { return server_.port(); }

  void run() {
    while (std::ssize(given_) < options_.workers) hear(1);
    reset_peak_memory();
    const int64_t before = peak_memory();
    rusage used_before{}, used{};
    getrusage(RUSAGE_SELF, &used_before);
    const Clock clock;
    queue_.begin_step(0, 0);
    const auto groups = static_cast<int64_t>(options_.rate * options_.seconds) / kGroup;
    while (options_.rate > 0 ? finished_ < groups : clock.seconds() < options_.seconds) {
      const double due = options_.rate * clock.seconds() / kGroup;
      queue_.want(options_.rate > 0 ? std::min(groups, static_cast<int64_t>(due))
                                    : finished_ + options_.workers * kMost);
      give();
      hear(0.001);
    }
    while (queue_.open() > 0) hear(1);
    const double seconds = clock.seconds();
    getrusage(RUSAGE_SELF, &used);
    const auto cpu = [](const rusage& one) {
      return static_cast<double>(one.ru_utime.tv_sec + one.ru_stime.tv_sec) +
             static_cast<double>(one.ru_utime.tv_usec + one.ru_stime.tv_usec) * 1e-6;
    };
    const IssueQueue::Counts& counts = queue_.counts();
    if (counts.issued != finished_ || counts.late > 0 || std::ssize(places_) != finished_)
      fail_run(counts.issued, " groups went out and ", finished_, " came back, ", counts.late,
               " of them late");
    std::printf(
        "{\"workers\":%lld,\"responses\":%lld,\"seconds\":%.2f,\"responses_per_s\":%.0f,"
        "\"megabytes_per_s\":%.1f,\"cpu_share\":%.3f,\"peak_mb\":%.1f,\"peak_mb_before\":%.1f,"
        "\"lost\":0,\"doubled\":0}\n",
        static_cast<long long>(options_.workers), static_cast<long long>(finished_ * kGroup),
        seconds, static_cast<double>(finished_ * kGroup) / seconds, bytes_ / seconds / 1e6,
        (cpu(used) - cpu(used_before)) / seconds, static_cast<double>(peak_memory()) / 1e6,
        static_cast<double>(before) / 1e6);
    for (const auto& [peer, draws] : given_) {
      server_.send(peer, type_of(WorkerMessage::over), to_bytes(WorkerOver{}));
      server_.finish(peer);
    }
    for (size_t left = given_.size(); left > 0;)
      for (const control::PeerEvent& event : server_.poll(1))
        if (event.kind == control::PeerEvent::Kind::left) --left;
  }

 private:
  void give() {
    for (auto& [peer, draws] : given_)
      while (std::ssize(draws) < kMost) {
        const int64_t place = queue_.next(!queue_.done());
        if (place < 0) return;
        queue_.begin(place, peer);
        RemoteDraw draw{
            .ticket = place, .place = place, .limit = kLimit, .seed = 1, .step = 1, .prompt = {}};
        draw.prompt.id = cat(place);
        draw.prompt.ids.assign(100, 1);
        server_.send(peer, type_of(WorkerMessage::draw), to_bytes(draw));
        draws.emplace(place, std::move(draw));
      }
  }

  void hear(double seconds) {
    for (const control::PeerEvent& event : server_.poll(seconds)) {
      if (event.kind == control::PeerEvent::Kind::left) fail_run("a worker is gone: ", event.text);
      if (event.kind != control::PeerEvent::Kind::message) continue;
      if (event.message.type == type_of(WorkerMessage::ready)) {
        given_[event.peer];
        continue;
      }
      bytes_ += static_cast<double>(event.message.payload.size());
      const auto [ticket, group] = group_from(event.message.payload);
      auto& draws = given_.at(event.peer);
      const auto draw = draws.find(ticket);
      ensure(draw != draws.end(), "a group that was asked for");
      if (const auto problem = group_problem(group, {.draw = draw->second,
                                                     .drawing = drawing_,
                                                     .vocab_size = kVocabulary,
                                                     .oldest = 0,
                                                     .newest = 0});
          !problem.empty())
        fail_run(problem);
      if (!queue_.finish(group.id, event.peer) || !places_.insert(group.id).second)
        fail_run("group ", group.id, " came twice");
      draws.erase(draw);
      ++finished_;
    }
  }

  BenchOptions options_;
  RolloutConfig drawing_;
  control::ControlServer server_;
  IssueQueue queue_;
  std::map<int64_t, std::map<int64_t, RemoteDraw>> given_;  // by worker and place
  std::set<int64_t> places_;
  int64_t finished_ = 0;
  double bytes_ = 0;
};

int run(int argc, char** argv) {
  CLI::App app("Times the control plane");
  BenchOptions options;
  int port = 0;
  app.add_option("--workers", options.workers)->capture_default_str();
  app.add_option("--rate", options.rate, "responses a second; 0: as many as go through")
      ->capture_default_str();
  app.add_option("--seconds", options.seconds)->capture_default_str();
  app.add_option("--answer", port, "be the workers of the job at this port");
  CLI11_PARSE(app, argc, argv);
  try {
    if (port > 0) {
      answer_all(options.workers, port);
      return 0;
    }
    Job job(options);
    const std::string workers = cat(options.workers), at = cat(job.port());
    const pid_t child = ::fork();
    if (child == 0) {
      ::execl("/proc/self/exe", argv[0], "--answer", at.c_str(), "--workers", workers.c_str(),
              nullptr);
      _exit(127);
    }
    job.run();
    int status = 0;
    ::waitpid(child, &status, 0);
    return status == 0 ? 0 : 1;
  } catch (const std::exception& problem) {
    std::fprintf(stderr, "bench_control: %s\n", problem.what());
    return 1;
  }
}

}  // namespace
}  // namespace vernier

int main(int argc, char** argv) { return vernier::run(argc, argv); }
