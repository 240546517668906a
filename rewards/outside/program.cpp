// Asks a program in any language: JSON Lines on its standard input and output.
//
// The program reads a line for each question and writes a line for each answer (rewards/outside/
// wire.h). It is started with the run, `copies` times, and again when it dies; what it writes to
// its standard error goes to the log. A failure is an abstention, never a score.
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <sstream>

#include "core/base/files.h"
#include "rewards/outside/outside.h"
#include "rewards/outside/program_pool.h"

namespace vernier {
namespace {

// Whether execvp would find it.
bool can_run(const std::string& program) {
  const auto runs = [](const fs::path& path) {
    return fs::is_regular_file(path) && ::access(path.c_str(), X_OK) == 0;
  };
  if (program.find('/') != std::string::npos) return runs(program);
  const char* path = std::getenv("PATH");
  std::istringstream folders(path == nullptr ? "/bin:/usr/bin" : path);
  for (std::string folder; std::getline(folders, folder, ':');)
    if (runs(fs::path(folder.empty() ? "." : folder) / program)) return true;
  return false;
}

void bind_limits(Binder& config, ProgramLimits& limits) {
  config.table(
      "limits",
      [&](Binder& b) {
        b.number("memory_gb", limits.memory_gb, 0.0, 1e6,
                 "GiB of address space of one copy; 0: no limit");
        b.number("cpu_s", limits.cpu_s, 0, 1'000'000,
                 "seconds of processor time for one question; 0: no limit");
        b.flag("network", limits.network, "false: the program has no network");
      },
      true);
}

std::unique_ptr<Reward> make_program(Binder& config, const ScoringContext& context) {
  PoolConfig pool;
  pool.name = config.section();
  OutsideConfig outside;
  config.texts("command", pool.spec.command, {}, "the program and its arguments", true);
  outside.bind(config);
  pool.bind(config, outside.deadline_s);
  bind_limits(config, pool.spec.limits);
  const std::vector<std::string>& command = pool.spec.command;
  if (command.empty()) {
    config.error(config.has("command") ? "command" : "",
                 "needs command, as [\"python3\", \"my_reward.py\"]");
    return nullptr;
  }
  if (!can_run(command.front())) {
    config.error("command", cat(command.front(), command.front().find('/') == std::string::npos
                                                     ? " is not on PATH"
                                                     : " is no program that can be run"));
    return nullptr;
  }
  // A script that is not there would be told by the interpreter alone, again and again.
  for (const std::string& word : std::span(command).subspan(1))
    if (word.ends_with(".py") && !fs::exists(word)) {
      config.error("command", cat(word, ": no such file"));
      return nullptr;
    }
  if (context.only_read) return std::make_unique<OutsideReward>(outside, nullptr);
  try {
    return std::make_unique<OutsideReward>(outside, std::make_unique<ProgramPool>(pool));
  } catch (const RunError& problem) {
    config.error("command", problem.what());
    return nullptr;
  }
}

const RewardRegistry::Entry entry{
    "program",
    {"asks a program in any language", "r = what it answers", "its own", "rewards/outside/wire.h"},
    make_program};

}  // namespace
}  // namespace vernier
