// What the tests of rewards from outside share.
#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "core/base/clock.h"
#include "core/base/config.h"
#include "rewards/reward.h"
#include "tests/testing.h"

namespace vernier::testing {

/// `count` responses of the texts given, one after the other and again from the first.
inline Group outside_group(const std::vector<std::string>& texts, int64_t id = 0) {
  Group group;
  group.id = id;
  group.step = 1;
  group.prompt.id = "p1";
  group.prompt.text = "How many?";
  group.prompt.answer = "7";
  group.prompt.row = R"({"question":"How many?","points":2.5})";
  for (const std::string& text : texts) {
    Response response;
    response.sample = std::ssize(group.responses);
    response.text = text;
    response.num_tokens = response.raw_num_tokens = static_cast<int32_t>(text.size()) + 1;
    response.ids.assign(text.begin(), text.end());
    response.ids.push_back(0);
    group.responses.push_back(std::move(response));
  }
  return group;
}

inline ScoringChain outside_chain(const std::string& config) {
  ScoringChain chain;
  ConfigFile::parse(config, "t.toml").bind([&](Binder& root) { chain.bind(root, {}); });
  return chain;
}

/// One reward by itself.
inline std::unique_ptr<Reward> outside_reward(const std::string& type, const std::string& keys) {
  std::unique_ptr<Reward> reward;
  ConfigFile::parse(keys, "t.toml").bind([&](Binder& root) {
    root.rename("reward.r");
    reward = RewardRegistry::all().at(type).make(root, {});
  });
  return reward;
}

inline std::vector<Score> scores_of(const Reward& reward, const Group& group) {
  std::vector<Score> scores(group.responses.size());
  reward.score(group, scores);
  return scores;
}

/// `["python3", ".../reward.py", "MODE"]`
inline std::string python_command(const std::string& mode, const std::string& argument = "") {
  return cat("[\"python3\", \"", VERNIER_TEST_CASES, "/outside/reward.py\", \"", mode, "\"",
             argument.empty() ? "" : cat(", \"", argument, "\""), "]");
}

inline bool is_alive(pid_t pid) { return ::kill(pid, 0) == 0; }

/// The children of a process, and theirs.
inline std::vector<pid_t> descendants(pid_t pid) {
  std::vector<pid_t> out;
  std::ifstream list(cat("/proc/", pid, "/task/", pid, "/children"));
  for (pid_t child = 0; list >> child;) {
    out.push_back(child);
    const auto more = descendants(child);
    out.insert(out.end(), more.begin(), more.end());
  }
  return out;
}

/// The spawner of this test program.
inline pid_t spawner_pid() {
  std::ifstream list(cat("/proc/", ::getpid(), "/task/", ::getpid(), "/children"));
  for (pid_t child = 0; list >> child;) {
    std::string name;
    std::ifstream(cat("/proc/", child, "/comm")) >> name;
    if (name == "vernier-spawner") return child;
  }
  return -1;
}

/// The processes that it has started, and theirs.
inline std::vector<pid_t> spawned() { return descendants(spawner_pid()); }

/// What is written to the standard error, as long as it lives, goes to a file.
class CaughtErrors {
 public:
  explicit CaughtErrors(const std::string& path) : before_(::dup(STDERR_FILENO)) {
    const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (before_ < 0 || file < 0 || ::dup2(file, STDERR_FILENO) < 0) fail_run(path, ": no file");
    ::close(file);
  }
  ~CaughtErrors() {
    std::fflush(stderr);
    ::dup2(before_, STDERR_FILENO);
    ::close(before_);
  }
  CaughtErrors(const CaughtErrors&) = delete;
  CaughtErrors& operator=(const CaughtErrors&) = delete;

 private:
  int before_;
};

inline bool begins(const std::string& text, const std::string& part) {
  return text.starts_with(part);
}

}  // namespace vernier::testing
