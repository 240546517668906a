// Times rewards from outside against what bounds them. For tools/bench reward.
//
//   bench_reward url [--responses N] [--latency S] [--in-flight K] [--batch B] [--rounds R]
//   bench_reward program [--responses N] [--copies C] [--rounds R]
//
// url: a server in a process of its own answers each request after S seconds. With K requests at a
// time N responses take N / B · S / K seconds at the least. The responses are announced one by one
// (expect), as sampling does, and then scored group by group.
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <thread>

#include "core/base/clock.h"
#include "core/base/config.h"
#include "core/base/errors.h"
#include "rewards/outside/spawner.h"
#include "rewards/reward.h"
#include "tests/reward_server.h"

namespace vernier {
namespace {

constexpr size_t kGroup = 8;
constexpr size_t kTokens = 200;  // of a response, with their ids in the question

struct BenchOptions {
  int64_t responses = 10'000, in_flight = 256, batch = 1, copies = 2, rounds = 3;
  double latency_s = 0.05;
};

// A server in a process of its own, so that it takes nothing from the thread that asks.
class ServerProcess {
 public:
  explicit ServerProcess(double latency_s) {
    std::array<int, 2> ends;
    if (::pipe(ends.data()) != 0) fail_run("no pipe");
    pid_ = ::fork();
    if (pid_ == 0) serve(latency_s, ends[1]);
    ::close(ends[1]);
    if (::read(ends[0], &port, sizeof port) != sizeof port) fail_run("no server");
    ::close(ends[0]);
  }
  ~ServerProcess() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;

  int port = 0;

 private:
  [[noreturn]] static void serve(double latency_s, int told) {
    const testing::RewardServer server([latency_s](const HttpRequest& request) {
      const Json asked = Json::parse(request.body);
      Json reply;
      if (asked.contains("groups"))
        for (const Json& one : asked["groups"])
          reply["groups"].push_back(testing::lengths_reply(one));
      else
        reply = testing::lengths_reply(asked);
      return testing::TimedReply{{.status = 200, .body = dump_json(reply)}, latency_s};
    });
    [[maybe_unused]] const ssize_t written = ::write(told, &server.port, sizeof server.port);
    while (true) std::this_thread::sleep_for(std::chrono::hours(1));
  }

  pid_t pid_ = -1;
};

std::vector<Group> groups_of(int64_t responses, int64_t step) {
  std::vector<Group> groups;
  for (int64_t i = 0; i < responses; ++i) {
    if (i % static_cast<int64_t>(kGroup) == 0) {
      groups.emplace_back();
      groups.back().id = std::ssize(groups);
      groups.back().step = step;
      groups.back().prompt.text = "What is 6 times 7?";
      groups.back().prompt.row = R"({"question":"What is 6 times 7?","answer":"42"})";
    }
    Response response;
    response.sample = std::ssize(groups.back().responses);
    response.text = cat("Response ", i, ": ", std::string(3 * kTokens, 'x'));
    response.ids.assign(kTokens, 1234);
    response.num_tokens = kTokens;
    groups.back().responses.push_back(std::move(response));
  }
  return groups;
}

std::unique_ptr<Reward> reward_of(const std::string& type, const std::string& keys) {
  std::unique_ptr<Reward> reward;
  ConfigFile::parse(keys, "bench").bind([&](Binder& root) {
    root.rename("reward.bench");
    reward = RewardRegistry::all().at(type).make(root, {});
  });
  return reward;
}

// Seconds until all are scored. Throws where one is not.
double time_of(const Reward& reward, const std::vector<Group>& groups) {
  const Clock clock;
  for (const Group& group : groups)
    for (size_t i = 0; i < group.responses.size(); ++i) reward.expect(group, i);
  for (const Group& group : groups) {
    std::vector<Score> scores(group.responses.size());
    reward.score(group, scores);
    for (const Score& score : scores)
      if (!score.abstain.empty()) fail_run("a response was not scored: ", score.abstain);
  }
  return clock.seconds();
}

void print(const BenchOptions& options, std::vector<double> seconds, double bound_s) {
  std::sort(seconds.begin(), seconds.end());
  Json row = {
      {"responses", options.responses},
      {"seconds", seconds[seconds.size() / 2]},
      {"fastest_s", seconds.front()},
      {"slowest_s", seconds.back()},
      {"responses_per_s", static_cast<double>(options.responses) / seconds[seconds.size() / 2]}};
  if (bound_s > 0) {
    row["bound_s"] = bound_s;
    row["of_bound"] = seconds[seconds.size() / 2] / bound_s;
  }
  std::printf("%s\n", dump_json(row).c_str());
}

std::vector<double> rounds_of(const Reward& reward, const BenchOptions& options) {
  std::vector<double> seconds;
  for (int64_t round = 0; round < options.rounds; ++round)
    seconds.push_back(time_of(reward, groups_of(options.responses, round)));
  return seconds;
}

// Of the server too, which is forked after it.
void allow_files(int64_t count) {
  rlimit limit = {};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = std::min(limit.rlim_max, static_cast<rlim_t>(count) + 512);
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

void bench_url(const BenchOptions& options) {
  allow_files(options.in_flight);
  const ServerProcess server(options.latency_s);
  const auto reward = reward_of(
      "url", cat("url = \"http://127.0.0.1:", server.port, "\"\nin_flight = ", options.in_flight,
                 "\nbatch = ", options.batch, "\n"));
  const double requests =
      std::ceil(static_cast<double>(options.responses) / static_cast<double>(options.batch));
  print(options, rounds_of(*reward, options),
        requests * options.latency_s / static_cast<double>(options.in_flight));
}

void bench_program(const BenchOptions& options) {
  const auto reward = reward_of(
      "program", cat("command = [\"python3\", \"rewards/examples/few_words.py\"]\ncopies = ",
                     options.copies, "\n"));
  print(options, rounds_of(*reward, options), 0);
}

int run(int argc, char** argv) {
  const SpawnerProcess spawner;
  CLI::App app("Times rewards from outside");
  app.require_subcommand(1);
  BenchOptions options;
  CLI::App* url = app.add_subcommand("url");
  CLI::App* program = app.add_subcommand("program");
  for (CLI::App* command : {url, program}) {
    command->add_option("--responses", options.responses)->check(CLI::PositiveNumber);
    command->add_option("--rounds", options.rounds)->check(CLI::PositiveNumber);
  }
  url->add_option("--latency", options.latency_s);
  url->add_option("--in-flight", options.in_flight)->check(CLI::PositiveNumber);
  url->add_option("--batch", options.batch)->check(CLI::PositiveNumber);
  program->add_option("--copies", options.copies)->check(CLI::PositiveNumber);
  url->callback([&] { bench_url(options); });
  program->callback([&] { bench_program(options); });
  try {
    app.parse(argc, argv);
    return 0;
  } catch (const CLI::ParseError& problem) {
    return app.exit(problem) == 0 ? 0 : 2;
  } catch (const std::exception& problem) {
    std::fprintf(stderr, "bench_reward: %s\n", problem.what());
    return 1;
  }
}

}  // namespace
}  // namespace vernier

int main(int argc, char** argv) { return vernier::run(argc, argv); }
