#include "rewards/outside/spawner.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>

#include "core/base/errors.h"
#include "core/base/json.h"
#include "rewards/outside/spawner_process.h"

namespace vernier {
namespace {

constexpr int kStartMs = 20'000;  // a fork and an exec take that long on a machine that is ill only

// Our end of the socket; -1 without a spawner. The one in main() is of the process, like its
// threads and signals: whoever makes a child finds it here.
std::atomic<int> spawner_socket = -1;

struct Pipe {
  int read = -1, write = -1;
  Pipe() {
    std::array<int, 2> ends;
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) fail_run("a pipe: ", std::strerror(errno));
    read = ends[0];
    write = ends[1];
  }
  ~Pipe() {
    for (const int end : {read, write})
      if (end >= 0) ::close(end);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;

  static int release(int& end) {
    ::fcntl(end, F_SETFL, ::fcntl(end, F_GETFL) | O_NONBLOCK);
    return std::exchange(end, -1);
  }
};

// One message to the spawner, with open files.
void send_message(const std::string& text, std::span<const int> files) {
  const int socket = spawner_socket;
  if (socket < 0) throw BugError("no SpawnerProcess was made at the start of the program");
  iovec part = {const_cast<char*>(text.data()), text.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(4 * sizeof(int))> space = {};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!files.empty()) {
    message.msg_control = space.data();
    message.msg_controllen = CMSG_SPACE(files.size_bytes());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(files.size_bytes());
    std::memcpy(CMSG_DATA(header), files.data(), files.size_bytes());
  }
  ssize_t sent = 0;
  do sent = ::sendmsg(socket, &message, MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  if (sent < 0 && errno == EMSGSIZE) fail_run("the configuration of the program is too large");
  if (sent < 0) fail_run("the process that starts programs has ended: ", std::strerror(errno));
}

std::string spec_text(const ChildSpec& spec, int64_t number) {
  return dump_json({{"number", number},
                    {"command", spec.command},
                    {"library", spec.library},
                    {"config", spec.config},
                    {"memory_gb", spec.limits.memory_gb},
                    {"network", spec.limits.network}});
}

}  // namespace

SpawnerProcess::SpawnerProcess() {
  ensure(spawner_socket < 0, "one spawner at a time");
  std::array<int, 2> ends;
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0)
    fail_run("a socket pair: ", std::strerror(errno));
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ < 0) fail_run("fork: ", std::strerror(errno));
  if (pid_ == 0) {
    ::close(ends[0]);
    run_spawner(ends[1], parent);
  }
  ::close(ends[1]);
  spawner_socket = ends[0];
}

SpawnerProcess::~SpawnerProcess() {
  ::close(spawner_socket.exchange(-1));
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) continue;
}

Child::Child(const ChildSpec& spec) {
  static std::atomic<int64_t> last_number = 0;
  number_ = ++last_number;
  Pipe in, out, err, status;
  const std::array<int, 4> theirs = {in.read, out.write, err.write, status.write};
  send_message(spec_text(spec, number_), theirs);
  ::close(std::exchange(status.write, -1));  // so that its end is seen if the spawner dies
  status_ = Pipe::release(status.read);
  // The spawner answers once the program runs, or could not be started.
  while (status_text_.find('\n') == std::string::npos) {
    pollfd wait = {.fd = status_, .events = POLLIN, .revents = 0};
    const int ready = ::poll(&wait, 1, kStartMs);
    if (ready < 0 && errno == EINTR) continue;
    const size_t before = status_text_.size();
    if (ready > 0) read_status();
    if (status_text_.size() > before) continue;
    ::close(status_);
    fail_run(ready > 0 ? "the process that starts programs has ended" : "it did not start");
  }
  const std::string line = status_text_.substr(0, status_text_.find('\n'));
  status_text_.erase(0, line.size() + 1);
  if (!line.starts_with("pid ")) {
    ::close(status_);
    fail_run(line);
  }
  pid_ = static_cast<pid_t>(std::stol(line.substr(4)));
  in_ = Pipe::release(in.write);
  out_ = Pipe::release(out.read);
  err_ = Pipe::release(err.read);
}

Child::~Child() {
  kill();
  for (const int end : {in_, out_, err_, status_})
    if (end >= 0) ::close(end);
}

void Child::close_in() {
  if (in_ >= 0) ::close(std::exchange(in_, -1));
}

void Child::kill() {
  if (!ended_.empty()) return;
  try {
    send_message(dump_json({{"kill", number_}}), {});
  } catch (const Error&) {
    return;  // the spawner is gone, and its children with it
  }
}

void Child::read_status() {
  std::array<char, 512> buffer;
  const ssize_t count = ::read(status_, buffer.data(), buffer.size());
  if (count > 0) status_text_.append(buffer.data(), static_cast<size_t>(count));
  if (count == 0) status_text_ += "killed with the process that started it\n";
}

std::string Child::ended() {
  if (!ended_.empty()) return ended_;
  read_status();
  if (const size_t end = status_text_.find('\n'); end != std::string::npos)
    ended_ = status_text_.substr(0, end);
  return ended_;
}

}  // namespace vernier
