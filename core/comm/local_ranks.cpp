#include "core/comm/local_ranks.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <optional>

#include "core/base/clock.h"
#include "core/base/errors.h"

namespace vernier {
namespace {

constexpr int kLookEveryMs = 200;
constexpr double kGraceSeconds = 5, kLastSeconds = 30;

struct Listener {
  int fd = -1;
  uint16_t port = 0;
};

// On a port of loopback that is free; rank 0 takes it over, so that nobody can come between.
Listener listen_on_loopback() {
  Listener out{.fd = ::socket(AF_INET, SOCK_STREAM, 0)};
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* place = reinterpret_cast<sockaddr*>(&address);
  if (out.fd < 0 || ::bind(out.fd, place, size) != 0 || ::listen(out.fd, SOMAXCONN) != 0 ||
      ::getsockname(out.fd, place, &size) != 0)
    fail_run("--nproc: no port of loopback can be had for the ranks to meet at: ",
             std::strerror(errno));
  out.port = ntohs(address.sin_port);
  return out;
}

class LocalRanks {
 public:
  LocalRanks(int64_t count, const std::vector<std::string>& arguments, bool handle)
      : count_(count), arguments_(arguments), handle_(handle) {
    sigemptyset(&watched_);
    for (const int signal : {SIGCHLD, SIGTERM, SIGINT, SIGUSR1}) sigaddset(&watched_, signal);
    sigprocmask(SIG_BLOCK, &watched_, &before_);
    signals_ = ::signalfd(-1, &watched_, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals_ < 0) fail_run("--nproc: signalfd: ", std::strerror(errno));
  }

  ~LocalRanks() {
    ::close(signals_);
    sigprocmask(SIG_SETMASK, &before_, nullptr);
  }
  LocalRanks(const LocalRanks&) = delete;
  LocalRanks& operator=(const LocalRanks&) = delete;

  int run() {
    const Listener listener = listen_on_loopback();
    for (int64_t rank = 0; rank < count_; ++rank) start(rank, listener);
    ::close(listener.fd);
    while (!ranks_.empty()) {
      pollfd wait{.fd = signals_, .events = POLLIN, .revents = 0};
      ::poll(&wait, 1, kLookEveryMs);
      take_signals();
      reap();
      if (failed_ && !killed_ && since_failure_->seconds() > kGraceSeconds) kill_rest();
      if (!ranks_.empty() && !failed_ && since_first_ && since_first_->seconds() > kLastSeconds)
        give_up();
    }
    return failed_ ? code_ : any_left_ ? kRequeueCode : 0;
  }

 private:
  void start(int64_t rank, const Listener& listener) {
    const pid_t parent = ::getpid(), pid = ::fork();
    if (pid < 0) fail_run("--nproc: rank ", rank, " cannot be started: ", std::strerror(errno));
    if (pid > 0) {
      ranks_[pid] = rank;
      return;
    }
    ::setpgid(0, 0);  // a terminal's Ctrl-C comes once, from us
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(1);
    sigset_t held = before_;
    for (const int signal : {SIGTERM, SIGINT, SIGUSR1})
      if (handle_) sigaddset(&held, signal);
    sigprocmask(SIG_SETMASK, &held, nullptr);
    if (rank != 0) ::close(listener.fd);
    const auto set = [](const char* name, const std::string& value) {
      ::setenv(name, value.c_str(), 1);
    };
    set("RANK", cat(rank));
    set("LOCAL_RANK", cat(rank));
    set("WORLD_SIZE", cat(count_));
    set("LOCAL_WORLD_SIZE", cat(count_));
    set("MASTER_ADDR", "127.0.0.1");
    set("MASTER_PORT", cat(listener.port));
    set("VERNIER_STORE_FD", cat(listener.fd));
    std::vector<std::string> words = {"vernier"};
    words.insert(words.end(), arguments_.begin(), arguments_.end());
    std::vector<char*> list;
    for (std::string& word : words) list.push_back(word.data());
    list.push_back(nullptr);
    ::execv("/proc/self/exe", list.data());
    std::fprintf(stderr, "vernier: --nproc: exec: %s\n", std::strerror(errno));
    ::_exit(1);
  }

  void take_signals() {
    signalfd_siginfo info;
    while (::read(signals_, &info, sizeof info) == sizeof info)
      if (info.ssi_signo != SIGCHLD)
        for (const auto& [pid, rank] : ranks_) ::kill(pid, static_cast<int>(info.ssi_signo));
  }

  void reap() {
    int status = 0;
    for (pid_t pid = 0; (pid = ::waitpid(-1, &status, WNOHANG)) > 0;) {
      const auto found = ranks_.find(pid);
      if (found == ranks_.end()) continue;
      ended(found->second, status);
      ranks_.erase(found);
    }
  }

  void ended(int64_t rank, int status) {
    const bool signalled = WIFSIGNALED(status);
    const int code = signalled ? 1 : WEXITSTATUS(status);
    any_left_ = any_left_ || code == kRequeueCode;
    if (!since_first_) since_first_.emplace();
    if (code == 0 || code == kRequeueCode || failed_) return;
    failed_ = true;
    code_ = code;
    since_failure_.emplace();
    const std::string how = signalled ? cat("was killed by signal ", WTERMSIG(status), " (",
                                            ::strsignal(WTERMSIG(status)), ")")
                                      : cat("ended with code ", code);
    std::fprintf(stderr, "vernier: rank %lld %s%s\n", static_cast<long long>(rank), how.c_str(),
                 ranks_.size() > 1 ? "; the others are stopped" : "");
  }

  // All end together: one that does not is stopped or stuck, and nobody else is there to see it.
  void give_up() {
    for (const auto& [pid, rank] : ranks_)
      std::fprintf(stderr, "vernier: rank %lld is still there %.0f s after another has ended\n",
                   static_cast<long long>(rank), kLastSeconds);
    failed_ = true;
    code_ = 1;
    since_failure_.emplace();
    kill_rest();
  }

  void kill_rest() {
    killed_ = true;
    for (const auto& [pid, rank] : ranks_) ::kill(pid, SIGKILL);
  }

  int64_t count_;
  const std::vector<std::string>& arguments_;
  bool handle_;
  sigset_t watched_{}, before_{};
  int signals_ = -1;
  std::map<pid_t, int64_t> ranks_;  // that run
  bool failed_ = false, killed_ = false, any_left_ = false;
  int code_ = 0;
  std::optional<Clock> since_failure_, since_first_;  // a rank ended badly, or at all
};

}  // namespace

int run_local_ranks(int64_t count, const std::vector<std::string>& arguments, bool handle) {
  return LocalRanks(count, arguments, handle).run();
}

}  // namespace vernier
