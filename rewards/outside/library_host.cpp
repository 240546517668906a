// The process that hosts a library: JSON Lines on one side, rewards/plugin.h on the other.
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <memory>

#include "core/base/errors.h"
#include "core/base/json.h"
#include "rewards/outside/plugin_library.h"
#include "rewards/outside/spawner_process.h"
#include "rewards/outside/wire.h"

namespace vernier {
namespace {

void write_line(int file, std::string line) {
  line += '\n';
  for (size_t begin = 0; begin < line.size();) {
    const ssize_t count = ::write(file, line.data() + begin, line.size() - begin);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) ::_exit(0);  // nobody listens
    begin += static_cast<size_t>(count);
  }
}

Json reward_json(const Outcome& one) {
  if (!one.cause.empty()) {
    // The other side puts the cause before it again.
    const std::string prefix = one.cause + ": ";
    const bool twice = one.score.abstain.starts_with(prefix);
    return {{"abstain", twice ? one.score.abstain.substr(prefix.size()) : one.score.abstain},
            {"failed", one.cause}};
  }
  if (!one.score.abstain.empty()) return {{"abstain", one.score.abstain}};
  Json components = Json::object();
  for (const auto& [name, value] : one.score.components) components[name] = value;
  return {{"score", one.score.value}, {"components", components}};
}

std::string answer_to(const std::string& line, PluginLibrary& library) {
  const Asked asked = read_request(line);
  std::vector<Outcome> outcomes;
  try {
    outcomes = library.score(asked);
  } catch (const BadReply& problem) {
    outcomes.assign(asked.responses.size(), failed(problem.cause(), problem.what()));
  }
  Json rewards = Json::array();
  for (const Outcome& one : outcomes) rewards.push_back(reward_json(one));
  return dump_json({{"id", asked.id}, {"rewards", rewards}});
}

}  // namespace

void host_library(const std::string& path, const std::string& config) {
  // What the library itself prints must not come between the answers.
  const int questions = ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 16);
  const int answers = ::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 16);
  const int nothing = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  ::dup2(nothing, STDIN_FILENO);
  ::dup2(STDERR_FILENO, STDOUT_FILENO);
  std::unique_ptr<PluginLibrary> library;
  try {
    library = std::make_unique<PluginLibrary>(path, config);
    write_line(answers, dump_json({{"ready", true}}));
    std::string buffer;
    size_t seen = 0;  // of it, without a newline
    std::array<char, 1 << 16> bytes;
    while (true) {
      for (size_t end; (end = buffer.find('\n', seen)) != std::string::npos; seen = 0) {
        write_line(answers, answer_to(buffer.substr(0, end), *library));
        buffer.erase(0, end + 1);
      }
      seen = buffer.size();
      const ssize_t count = ::read(questions, bytes.data(), bytes.size());
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) break;
      buffer.append(bytes.data(), static_cast<size_t>(count));
    }
    library.reset();
  } catch (const std::exception& problem) {
    write_line(answers, dump_json({{"refused", problem.what()}}));
    ::_exit(1);
  }
  ::_exit(0);
}

}  // namespace vernier
