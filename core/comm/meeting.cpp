#include "core/comm/meeting.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <random>
#include <thread>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <utility>

#include "core/base/clock.h"
#include "core/base/errors.h"
#include "core/base/log.h"

namespace vernier {
namespace {

using std::chrono::milliseconds;

struct Addresses {
  addrinfo* list = nullptr;
  ~Addresses() {
    if (list != nullptr) ::freeaddrinfo(list);
  }
};

// Where the ranks meet. The name of a host that has just begun may not be known yet.
void look_up(const Identity& one, double seconds, Addresses& out) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  const Clock clock;
  int problem = 0;
  bool told = false;
  while ((problem = ::getaddrinfo(one.address.c_str(), cat(one.port).c_str(), &hints, &out.list)) !=
         0) {
    if (clock.seconds() > seconds)
      fail_run("rank 0: the ranks' address ", one.address,
               " is not known here: ", ::gai_strerror(problem));
    if (!std::exchange(told, true))
      log::warn(cat("rank 0: the ranks' address ", one.address, " is not known here (",
                    ::gai_strerror(problem), "); tries again for ", seconds, " s"));
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
  }
}

bool is_loopback(const sockaddr& address) {
  if (address.sa_family != AF_INET) return false;
  return (ntohl(reinterpret_cast<const sockaddr_in&>(address).sin_addr.s_addr) >> 24) == 127;
}

// A socket that listens at the address where the ranks meet and nowhere else.
int listen_at(const Identity& one, double seconds) {
  Addresses found;
  look_up(one, seconds, found);
  int fd = -1, error = 0;
  for (const addrinfo* at = found.list; at != nullptr && fd < 0; at = at->ai_next) {
    if (!one.on_one_machine() && is_loopback(*at->ai_addr))
      fail("rank 0: ", one.address,
           " is an address of loopback on this machine, which the ranks of "
           "other machines do not reach: give MASTER_ADDR as the address of cluster.interface");
    fd = ::socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, 0);
    error = errno;
    const int yes = 1;
    if (fd >= 0) ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (fd >= 0 && (::bind(fd, at->ai_addr, at->ai_addrlen) != 0 || ::listen(fd, SOMAXCONN) != 0)) {
      error = errno;
      ::close(fd);
      fd = -1;
    }
  }
  if (fd < 0)
    fail_run("rank 0 cannot listen at ", one.address, ":", one.port,
             ", where the ranks meet: ", std::strerror(error),
             "; choose another MASTER_PORT, or an address of this machine");
  return fd;
}

std::string unique_number() {
  std::random_device source;
  return cat(source(), "-", source());
}

std::string read(c10d::Store& store, const std::string& key) {
  if (!store.check({key})) return "";
  const std::vector<uint8_t> bytes = store.get(key);
  return {bytes.begin(), bytes.end()};
}

void write(c10d::Store& store, const std::string& key, const std::string& text) {
  store.set(key, std::vector<uint8_t>(text.begin(), text.end()));
}

// The name of this try of the job. A store may hold what an earlier try has left (torchrun's lives
// as long as its agent, and its count of restarts is not the same on all machines), so a rank
// believes what rank 0 says only when its own number comes back.
std::string meet(c10d::Store& store, const Identity& one, double seconds) {
  const Clock clock;
  const auto wait = [&](const char* whom) {
    if (clock.seconds() > seconds)
      fail_run("rank ", one.rank, ": ", whom, " did not come within ", seconds,
               " s (cluster.start_deadline_s)");
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  };
  const std::string own = unique_number();
  if (one.rank == 0) {
    write(store, "vernier/try", own);
    for (int64_t rank = 1; rank < one.world_size; ++rank) {
      const std::string hello = cat("vernier/", own, "/hello/", rank);
      std::string number;
      while ((number = read(store, hello)).empty()) wait(cat("rank ", rank).c_str());
      write(store, hello + "/answer", number);
    }
    return own;
  }
  while (true) {
    const std::string current = read(store, "vernier/try");
    const std::string hello = cat("vernier/", current, "/hello/", one.rank);
    if (!current.empty()) write(store, hello, own);
    const Clock asked;
    while (!current.empty() && asked.seconds() < 1) {
      if (read(store, hello + "/answer") == own) return current;
      wait("rank 0");
    }
    wait("rank 0");
  }
}

}  // namespace

std::string reason_of(const std::exception& problem) {
  const auto* of_torch = dynamic_cast<const c10::Error*>(&problem);
  return of_torch == nullptr ? problem.what() : of_torch->what_without_backtrace();
}

c10::intrusive_ptr<c10d::Store> open_store(const Identity& one, const ClusterConfig& config) {
  c10d::TCPStoreOptions options;
  options.port = one.port;
  options.isServer = one.rank == 0 && !one.agent_store;
  options.waitWorkers = false;
  options.timeout = milliseconds(static_cast<int64_t>(config.start_deadline_s * 1000));
  if (options.isServer)
    options.masterListenFd = one.listener ? *one.listener : listen_at(one, config.start_deadline_s);
  try {
    const auto store = c10::make_intrusive<c10d::TCPStore>(one.address, options);
    return c10::make_intrusive<c10d::PrefixStore>(
        cat("vernier/", meet(*store, one, config.start_deadline_s)), store);
  } catch (const Error&) {
    throw;
  } catch (const std::exception& problem) {
    fail_run("rank ", one.rank, " does not reach the store at ", one.address, ":", one.port,
             " within ", config.start_deadline_s,
             " s (cluster.start_deadline_s): ", reason_of(problem));
  }
}

MeetingPlace::MeetingPlace(const std::string& host) : store_(std::make_unique<Store>()) {
  Identity self;
  self.address = host;
  c10d::TCPStoreOptions options;
  options.isServer = true;
  options.waitWorkers = false;
  options.masterListenFd = listen_at(self, 0);
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  ::getsockname(*options.masterListenFd, reinterpret_cast<sockaddr*>(&bound), &size);
  port_ = ntohs(bound.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6&>(bound).sin6_port
                                            : reinterpret_cast<sockaddr_in&>(bound).sin_port);
  options.port = static_cast<uint16_t>(port_);
  store_->store = c10::make_intrusive<c10d::TCPStore>(host, options);
}

MeetingPlace::MeetingPlace(const std::string& host, int port, double seconds)
    : port_(port), store_(std::make_unique<Store>()) {
  c10d::TCPStoreOptions options;
  options.port = static_cast<uint16_t>(port);
  options.waitWorkers = false;
  options.timeout = milliseconds(static_cast<int64_t>(seconds * 1000));
  try {
    store_->store = c10::make_intrusive<c10d::TCPStore>(host, options);
  } catch (const std::exception& problem) {
    fail_run("the store at ", host, ":", port, " is not reached within ", seconds,
             " s: ", reason_of(problem));
  }
}

MeetingPlace::~MeetingPlace() = default;

}  // namespace vernier
