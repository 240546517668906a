// The other side of spawner.h. One thread; it forks, reaps and kills, and never waits for a
// program.
#include "rewards/outside/spawner_process.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <optional>
#include <vector>

#include "core/base/errors.h"
#include "core/base/json.h"

namespace vernier {
namespace {

constexpr size_t kMaxMessage = 1 << 20;
constexpr int kStdFiles = 3;

struct Request {
  Json text;
  std::vector<int> files;  // standard input, output, error of the child; where its end is told
};

struct Running {
  int64_t number;
  int status;  // where its end is told
};

void say(int file, const std::string& line) {
  // Short, so whole or not at all; where nobody listens any more there is nobody to tell.
  [[maybe_unused]] const ssize_t sent = ::write(file, line.data(), line.size());
}

void write_small(const char* path, const std::string& text) {
  const int file = ::open(path, O_WRONLY | O_CLOEXEC);
  if (file < 0) return;
  say(file, text);
  ::close(file);
}

// ---- In the child, before it becomes the program. What goes wrong is told to the spawner.

void take_network_away() {
  const uid_t user = ::geteuid();
  const gid_t group = ::getegid();
  if (::unshare(CLONE_NEWNET) == 0) return;
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)
    fail_run("limits.network = false cannot be had on this machine: ", std::strerror(errno),
             " (network namespaces are refused)");
  // Inside it is who it was outside.
  write_small("/proc/self/setgroups", "deny");
  write_small("/proc/self/uid_map", cat(user, " ", user, " 1"));
  write_small("/proc/self/gid_map", cat(group, " ", group, " 1"));
}

void apply_limits(const Json& spec) {
  const rlimit no_core = {0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  if (const double gb = spec.at("memory_gb").get<double>(); gb > 0) {
    const auto bytes = static_cast<rlim_t>(gb * (1 << 30));
    const rlimit limit = {bytes, bytes};
    if (::setrlimit(RLIMIT_AS, &limit) != 0)
      fail_run("limits.memory_gb cannot be had on this machine: ", std::strerror(errno));
  }
  if (!spec.at("network").get<bool>()) take_network_away();
}

void close_from(int first) {
  if (::syscall(SYS_close_range, first, ~0U, 0) == 0) return;
  for (int file = first; file < 4096; ++file) ::close(file);
}

[[noreturn]] void become(const Json& spec) {
  const auto library = spec.at("library").get<std::string>();
  if (!library.empty()) host_library(library, spec.at("config").get<std::string>());
  auto words = spec.at("command").get<std::vector<std::string>>();
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  ::execvp(arguments[0], arguments.data());
  fail_run(words[0], " cannot be started: ", std::strerror(errno));
}

[[noreturn]] void run_child(Request request, int told, pid_t spawner) {
  int problem_file = kStdFiles;
  try {
    ::setsid();
    // If the spawner itself is killed, nobody else would end this one.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != spawner) ::_exit(1);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGUSR1, SIGUSR2})
      ::signal(signal, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    // Away from the places that they are to take.
    problem_file = ::fcntl(told, F_DUPFD, 16);
    std::array<int, kStdFiles> files;
    for (int i = 0; i < kStdFiles; ++i)
      files[static_cast<size_t>(i)] =
          ::fcntl(request.files.at(static_cast<size_t>(i)), F_DUPFD, 16);
    for (int i = 0; i < kStdFiles; ++i) ::dup2(files[static_cast<size_t>(i)], i);
    ::dup3(problem_file, kStdFiles, O_CLOEXEC);
    problem_file = kStdFiles;
    close_from(kStdFiles + 1);
    apply_limits(request.text);
    if (!request.text.at("library").get<std::string>().empty()) ::close(kStdFiles);
    become(request.text);
  } catch (const std::exception& problem) {
    say(problem_file, problem.what());
  }
  ::_exit(127);
}

// ---- The spawner.

class Server {
 public:
  Server(int socket, pid_t parent) : socket_(socket), parent_(parent) {}

  void run() {
    prepare();
    while (::getppid() == parent_) {
      std::array<pollfd, 3> waits = {pollfd{socket_, POLLIN, 0}, pollfd{signals_, POLLIN, 0},
                                     pollfd{parent_file_, POLLIN, 0}};
      if (::poll(waits.data(), waits.size(), 1000) < 0 && errno != EINTR) break;
      if (waits[2].revents != 0) break;
      if (waits[1].revents != 0) on_child();
      if (waits[0].revents != 0 && !on_message()) break;
    }
    end_all();
  }

 private:
  void prepare() {
    ::setsid();  // the terminal's signals are not for us: the program decides when to end
    ::prctl(PR_SET_NAME, "vernier-spawner");
    // What a program leaves behind comes to us, where it can be found and ended.
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGUSR1, SIGUSR2})
      ::signal(signal, SIG_IGN);
    ::signal(SIGCHLD, SIG_DFL);  // ignored, it would take the ends of children from us
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    ::sigprocmask(SIG_BLOCK, &child, nullptr);
    signals_ = ::signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    // Beside the socket, whose other end a fork of the parent might hold open.
    parent_file_ = static_cast<int>(::syscall(SYS_pidfd_open, parent_, 0));
    const int nothing = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    if (nothing < 0) return;
    // Whoever reads the parent's output waits for its end, not for ours.
    ::dup2(nothing, STDIN_FILENO);
    ::dup2(nothing, STDOUT_FILENO);
    if (nothing > STDERR_FILENO) ::close(nothing);
  }

  std::optional<Request> receive() {
    std::string text(kMaxMessage, '\0');
    iovec part = {text.data(), text.size()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(4 * sizeof(int))> space = {};
    msghdr message = {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = space.data();
    message.msg_controllen = space.size();
    const ssize_t count = ::recvmsg(socket_, &message, MSG_CMSG_CLOEXEC);
    if (count <= 0) return std::nullopt;
    Request request;
    request.text = Json::parse(text.substr(0, static_cast<size_t>(count)));
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
         header = CMSG_NXTHDR(&message, header)) {
      request.files.resize((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
      std::memcpy(request.files.data(), CMSG_DATA(header), request.files.size() * sizeof(int));
    }
    return request;
  }

  // False at the end.
  bool on_message() {
    std::optional<Request> request = receive();
    if (!request) return false;
    if (request->text.contains("kill")) {
      const auto number = request->text["kill"].get<int64_t>();
      for (const auto& [pid, child] : running_)
        if (child.number == number) ::kill(-pid, SIGKILL);
      return true;
    }
    start(*request);
    for (const int file : request->files) ::close(file);
    return true;
  }

  void start(const Request& request) {
    const int status = ::fcntl(request.files.at(3), F_DUPFD_CLOEXEC, 0);
    std::array<int, 2> told = {-1, -1};
    const pid_t spawner = ::getpid();
    const pid_t pid = ::pipe2(told.data(), O_CLOEXEC) == 0 ? ::fork() : -1;
    if (pid == 0) run_child(request, told[1], spawner);
    const int error = errno;
    ::close(told[1]);
    std::string problem = pid < 0 ? cat("fork: ", std::strerror(error)) : "";
    // Ends with the exec, or with what went wrong before.
    std::array<char, 1024> buffer;
    for (ssize_t count = 1; pid > 0 && count > 0;) {
      count = ::read(told[0], buffer.data(), buffer.size());
      if (count > 0) problem.append(buffer.data(), static_cast<size_t>(count));
    }
    ::close(told[0]);
    std::replace(problem.begin(), problem.end(), '\n', ' ');
    if (!problem.empty()) {
      if (pid > 0) ::waitpid(pid, nullptr, 0);
      say(status, problem + "\n");
      ::close(status);
      return;
    }
    running_[pid] = {request.text.at("number").get<int64_t>(), status};
    say(status, cat("pid ", pid, "\n"));
  }

  static std::string end_of(const siginfo_t& info) {
    if (info.si_code == CLD_EXITED) return cat("exit code ", info.si_status);
    return cat("signal ", info.si_status, ", ", ::strsignal(info.si_status));
  }

  void on_child() {
    signalfd_siginfo one;
    while (::read(signals_, &one, sizeof one) > 0) continue;
    reap();
  }

  void reap() {
    while (true) {
      siginfo_t info = {};
      if (::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0) break;
      const auto found = running_.find(info.si_pid);
      // Before its number can be given to another: who is left of its group.
      if (found != running_.end()) ::kill(-info.si_pid, SIGKILL);
      ::waitpid(info.si_pid, nullptr, WNOHANG);
      if (found == running_.end()) continue;
      say(found->second.status, end_of(info) + "\n");
      ::close(found->second.status);
      running_.erase(found);
    }
    for (const pid_t stray : strays()) ::kill(stray, SIGKILL);
  }

  // Children that we did not start: their parents have left them.
  std::vector<pid_t> strays() const {
    std::vector<pid_t> out;
    std::ifstream list(cat("/proc/self/task/", ::getpid(), "/children"));
    for (pid_t pid = 0; list >> pid;)
      if (!running_.contains(pid)) out.push_back(pid);
    return out;
  }

  void end_all() {
    for (const auto& [pid, child] : running_) ::kill(-pid, SIGKILL);
    for (int i = 0; i < 500; ++i) {
      reap();
      if (running_.empty() && strays().empty()) return;
      ::usleep(i < 50 ? 1000 : 10'000);
    }
  }

  int socket_;
  pid_t parent_;
  int signals_ = -1, parent_file_ = -1;
  std::map<pid_t, Running> running_;
};

}  // namespace

void run_spawner(int socket, pid_t parent) {
  try {
    Server(socket, parent).run();
  } catch (const std::exception& problem) {
    std::fprintf(stderr, "vernier: the process that starts programs: %s\n", problem.what());
  }
  ::_exit(0);
}

}  // namespace vernier
