#include "core/comm/ranks.h"

#include <ATen/ATen.h>
#include <arpa/inet.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>
#include <random>
#include <thread>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "core/base/clock.h"
#include "core/base/errors.h"
#include "core/base/files.h"
#include "core/base/log.h"
#include "core/base/pulse.h"
#include "core/comm/slices.h"
#include "core/comm/watch.h"

namespace vernier {
namespace {

using std::chrono::milliseconds;

// Of gloo's own; ours is the watch's, which tells a slow rank from one that is gone.
constexpr auto kNever = std::chrono::hours(24 * 30);
constexpr int64_t kBucket = Ranks::kBucketBytes / 4;  // numbers
// Of a broadcast, whose hash is taken beside it.
constexpr int64_t kPiece = 1 << 21;

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
             " s (cluster.start_deadline_s): ", problem.what());
  }
}

c10::intrusive_ptr<c10d::ProcessGroupGloo> open_gloo(const c10::intrusive_ptr<c10d::Store>& store,
                                                     const std::string& name, int64_t rank,
                                                     int64_t size, const ClusterConfig& config) {
  const auto options = c10d::ProcessGroupGloo::Options::create(
      milliseconds(static_cast<int64_t>(config.start_deadline_s * 1000)));
  if (!config.interface.empty())
    options->devices.push_back(c10d::ProcessGroupGloo::createDeviceForInterface(config.interface));
  else
    options->devices.push_back(c10d::ProcessGroupGloo::createDeviceForHostname("127.0.0.1"));
  auto group = c10::make_intrusive<c10d::ProcessGroupGloo>(
      c10::make_intrusive<c10d::PrefixStore>(name, store), static_cast<int>(rank),
      static_cast<int>(size), options);
  group->setTimeout(milliseconds(kNever));
  return group;
}

at::Tensor tensor_of(const std::string& bytes) {
  return at::from_blob(const_cast<char*>(bytes.data()), {static_cast<int64_t>(bytes.size())},
                       at::kByte);
}

std::vector<std::string> cut(const at::Tensor& bytes, const std::vector<int64_t>& sizes) {
  std::vector<std::string> out;
  const auto* at = reinterpret_cast<const char*>(bytes.const_data_ptr<uint8_t>());
  for (const int64_t size : sizes) {
    out.emplace_back(at, static_cast<size_t>(size));
    at += size;
  }
  return out;
}

}  // namespace

struct MeetingPlace::Store {
  c10::intrusive_ptr<c10d::TCPStore> store;
};

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
             " s: ", problem.what());
  }
}

MeetingPlace::~MeetingPlace() = default;

// All calls are of the main thread; the watch has a connection of its own.
struct Ranks::Links {
  c10::intrusive_ptr<c10d::Store> store;
  c10::intrusive_ptr<c10d::ProcessGroupGloo> gloo;
  std::shared_ptr<Watch> watch;  // null: nobody watches
  int64_t calls = 0, noted = -1;
  at::Tensor sent, received;  // buckets of all ranks

  // Runs one operation of the group. What it fails with is less than what the watch will find: that
  // ends the process with the name of who is gone.
  template <class Start>
  void run(const std::string& what, const Start& start) {
    // Who nobody watches over is no reason for others to wait; each operation has its own deadline.
    std::optional<pulse::Waiting> waiting;
    if (watch) waiting.emplace(what);
    pulse::beat();
    if (watch && std::exchange(noted, calls) != calls) watch->note(cat(calls, " ", what));
    try {
      start()->wait();
    } catch (const std::exception& problem) {
      if (watch) watch->lost(what, problem.what());
      fail_run(what, ": the other ranks cannot be reached: ", problem.what());
    }
  }

  // Room for `each` numbers for, and of, every rank.
  std::pair<at::Tensor, at::Tensor> room(int64_t each, int64_t ranks, const at::Tensor& like) {
    const int64_t numbers = each * ranks;
    if (!sent.defined() || sent.numel() < numbers) {
      sent = at::zeros({numbers}, like.options().requires_grad(false));
      received = at::empty_like(sent);
    }
    return {sent.narrow(0, 0, numbers), received.narrow(0, 0, numbers)};
  }

  // Numbers of all ranks [ranks, values].
  at::Tensor gather_longs(const std::vector<int64_t>& mine, int64_t ranks, const char* what) {
    at::Tensor in = at::tensor(mine), out = at::empty({ranks * in.numel()}, at::kLong);
    run(what, [&] { return gloo->_allgather_base(out, in); });
    return out.view({ranks, in.numel()});
  }

  // Sizes on their way in front of a call, by rank, with its number and name: these must agree. All
  // calls send the same number of them, so that ranks which have come apart can say so.
  at::Tensor agree(const std::vector<int64_t>& sizes, int64_t ranks, const char* what) {
    const auto name = static_cast<int64_t>(std::hash<std::string_view>()(what) >> 1);
    ensure(std::ssize(sizes) <= ranks, "sizes of a call");
    std::vector<int64_t> mine = {++calls, name};
    mine.insert(mine.end(), sizes.begin(), sizes.end());
    mine.resize(static_cast<size_t>(ranks + 2));
    const at::Tensor all = gather_longs(mine, ranks, what);
    for (int64_t r = 0; r < ranks; ++r)
      if (all[r][0].item<int64_t>() != calls || all[r][1].item<int64_t>() != name)
        fail_run("the ranks have come apart: call ", calls, " is \"", what, "\" here and call ",
                 all[r][0].item<int64_t>(), " of another name on rank ", r,
                 "; this is a mistake in Vernier, please report it");
    return all.narrow(1, 2, std::ssize(sizes));
  }

  // The same of a call whose sizes are those of every rank.
  void agree_alike(const std::vector<int64_t>& sizes, int64_t ranks, const char* what) {
    const at::Tensor all = agree(sizes, ranks, what), mine = at::tensor(sizes);
    for (int64_t r = 0; r < ranks; ++r)
      if (!at::equal(all[r], mine))
        fail_run("the ranks have come apart: \"", what, "\" is of other numbers on rank ", r,
                 " than here; this is a mistake in Vernier, please report it");
  }
};

Ranks::Ranks() = default;

Ranks::Ranks(const Identity& identity, const ClusterConfig& config, std::atomic<bool>* stop)
    : identity_(identity), config_(config), rank_(identity.rank), size_(identity.world_size) {
  if (alone()) return;
  if (!identity.on_one_machine() && config.interface.empty())
    vernier::fail("cluster.interface: not given, and the ranks are on several machines (",
                  description_of(identity), "): name the network interface they speak over");
  // One that is stopped at the wrong moment would be waited for without an end.
  const auto limit = [&](const char* what) {
    return std::make_unique<Deadline>(
        config.start_deadline_s + 1, cat("rank ", identity.rank, ": ", what, " within ",
                                         config.start_deadline_s, " s (cluster.start_deadline_s)"));
  };
  links_ = std::make_unique<Links>();
  auto meeting = limit(cat("the store at ", identity.address, ":", identity.port,
                           " and the other ranks have not answered")
                           .c_str());
  links_->store = open_store(identity, config);
  meeting = limit("the other ranks have not been connected to");
  try {
    links_->gloo = open_gloo(links_->store, "gloo", rank(), size(), config);
  } catch (const std::exception& problem) {
    fail_run("rank ", identity.rank, " does not reach the other ranks",
             config.interface.empty() ? "" : cat(" over ", config.interface), " within ",
             config.start_deadline_s, " s (cluster.start_deadline_s): ", problem.what());
  }
  links_->watch = std::make_shared<Watch>(links_->store->clone(), identity, config.deadline_s,
                                          config.start_deadline_s, stop);
}

Ranks::Ranks(Ranks& all, const std::string& name, const std::vector<int64_t>& members)
    : identity_(all.identity_), config_(all.config_), size_(std::ssize(members)) {
  rank_ = std::find(members.begin(), members.end(), all.rank()) - members.begin();
  if (alone() || !member()) return;
  links_ = std::make_unique<Links>();
  links_->store = all.links_->store;
  links_->watch = all.links_->watch;
  links_->gloo = open_gloo(links_->store, name, rank(), size(), config_);
}

Ranks::Ranks(const MeetingPlace& place, const std::string& name, int64_t rank, int64_t size,
             const ClusterConfig& config)
    : config_(config), rank_(rank), size_(size) {
  config_.start_deadline_s = config.deadline_s;
  links_ = std::make_unique<Links>();
  try {
    links_->gloo = open_gloo(place.store_->store, name, rank, size, config_);
  } catch (const std::exception& problem) {
    fail_run("the processes of ", name, " do not reach each other within ", config.deadline_s,
             " s (cluster.deadline_s): ", problem.what());
  }
  links_->gloo->setTimeout(milliseconds(static_cast<int64_t>(config.deadline_s * 1000)));
}

Ranks::~Ranks() = default;

std::vector<std::string> Ranks::exchange(std::vector<std::string> to_each, const char* what) {
  if (alone()) return to_each;
  ensure(std::ssize(to_each) == size(), "bytes for every rank");
  std::vector<int64_t> out_sizes;
  std::string all;
  for (std::string& one : to_each) {
    out_sizes.push_back(std::ssize(one));
    all += one;
    one = {};
  }
  const at::Tensor sizes = links_->agree(out_sizes, size(), what);
  std::vector<int64_t> in_sizes;
  int64_t total = 0;
  for (int64_t r = 0; r < size(); ++r) {
    in_sizes.push_back(sizes[r][rank()].item<int64_t>());
    total += in_sizes.back();
  }
  at::Tensor in = tensor_of(all), out = at::empty({total}, at::kByte);
  std::vector<int64_t> taken = in_sizes;  // gloo takes the lists for its own
  links_->run(what, [&] { return links_->gloo->alltoall_base(out, in, taken, out_sizes); });
  return cut(out, in_sizes);
}

std::vector<std::string> Ranks::gather_to_first(std::string mine, const char* what) {
  std::vector<std::string> to_each(static_cast<size_t>(size()));
  to_each.front() = std::move(mine);
  return exchange(std::move(to_each), what);
}

std::vector<std::string> Ranks::gather(std::string mine, const char* what) {
  if (alone()) {
    std::vector<std::string> out;
    out.push_back(std::move(mine));
    return out;
  }
  const at::Tensor sizes = links_->agree({std::ssize(mine)}, size(), what);
  const auto most = sizes.max().item<int64_t>();
  mine.resize(static_cast<size_t>(most));
  at::Tensor in = tensor_of(mine), out = at::empty({most * size()}, at::kByte);
  if (most > 0) links_->run(what, [&] { return links_->gloo->_allgather_base(out, in); });
  std::vector<std::string> all;
  for (int64_t r = 0; r < size(); ++r) {
    const auto* at = reinterpret_cast<const char*>(out.const_data_ptr<uint8_t>()) + r * most;
    all.emplace_back(at, static_cast<size_t>(sizes[r][0].item<int64_t>()));
  }
  return all;
}

std::string Ranks::from_first(std::string mine, const char* what) {
  if (alone()) return mine;
  return gather(first() ? std::move(mine) : std::string(), what).front();
}

bool Ranks::any(bool here, const char* what) {
  if (alone()) return here;
  return links_->agree({here ? 1 : 0}, size(), what).max().item<int64_t>() != 0;
}

std::vector<int64_t> Ranks::gather_numbers(int64_t mine, const char* what) {
  if (alone()) return {mine};
  const at::Tensor all = links_->agree({mine}, size(), what).contiguous();
  const auto* begin = all.const_data_ptr<int64_t>();
  return {begin, begin + size()};
}

int64_t Ranks::count(const std::string& counter, int64_t more) {
  ensure(!alone(), "ranks that count together");
  return links_->store->add(cat("counts/", counter), more);
}

std::string Ranks::draw_name() const { return cat("draw ", claims_); }

namespace {

// Some of the blocks of every rank, which are on their way together: of each block the numbers
// [low, high).
struct Bucket {
  const Slices& slices;
  int64_t first, last;  // of the buffer
  int64_t row, rows;    // row i has block i of every slice
  int64_t low = 0, high = Slices::kBlock;

  int64_t width() const { return high - low; }

  // body(row of the bucket, place in the buffer, place in the block's numbers, place in the slice,
  // numbers) for what a rank has here.
  template <class Body>
  void for_blocks(int64_t rank, const Body& body) const {
    const int64_t across = slices.ranks * Slices::kBlock;
    slices.for_blocks(rank, std::max(first, row * across), std::min(last, (row + rows) * across),
                      [&](int64_t at, int64_t place, int64_t count) {
                        body(at / across - row, at, at % Slices::kBlock - low, place, count);
                      });
  }
};

// A stretch that is shorter than a row of blocks sends no more of them than it has.
void trim(Bucket& bucket) {
  if (bucket.rows > 1) return;
  int64_t low = Slices::kBlock, high = 0;
  for (int64_t r = 0; r < bucket.slices.ranks; ++r)
    bucket.for_blocks(r, [&](int64_t, int64_t, int64_t within, int64_t, int64_t count) {
      low = std::min(low, within);
      high = std::max(high, within + count);
    });
  bucket.low = low;
  bucket.high = high;
}

template <class Body>
void for_buckets(const Slices& slices, int64_t first, int64_t last, const Body& body) {
  const int64_t across = slices.ranks * Slices::kBlock,
                most = std::max<int64_t>(1, kBucket / across);
  const int64_t end = (last + across - 1) / across;
  for (int64_t row = first / across; row < end; row += most) {
    Bucket bucket{.slices = slices,
                  .first = first,
                  .last = last,
                  .row = row,
                  .rows = std::min(most, end - row)};
    trim(bucket);
    body(bucket);
  }
}

}  // namespace

void Ranks::sum_to_slices(const at::Tensor& buffer, int64_t first, int64_t last,
                          const TakeSum& take, const char* what) {
  if (alone()) return take(first, buffer.narrow(0, first, last - first));
  links_->agree_alike({first, last}, size(), what);
  const Slices slices(buffer.numel(), size());
  std::vector<int64_t> equal;
  for_buckets(slices, first, last, [&](const Bucket& bucket) {
    auto [in, arrived] = links_->room(bucket.rows * bucket.width(), size(), buffer);
    const at::Tensor sent = in.view({size(), bucket.rows, bucket.width()}),
                     received = arrived.view({size(), bucket.rows, bucket.width()});
    for (int64_t r = 0; r < size(); ++r)
      bucket.for_blocks(r, [&](int64_t row, int64_t at, int64_t within, int64_t, int64_t count) {
        sent[r][row].narrow(0, within, count).copy_(buffer.narrow(0, at, count));
      });
    links_->run(what, [&] { return links_->gloo->alltoall_base(arrived, in, equal, equal); });
    for (int64_t stride = 1; stride < size(); stride *= 2)
      for (int64_t r = 0; r + stride < size(); r += 2 * stride)
        received[r].add_(received[r + stride]);
    bucket.for_blocks(rank(),
                      [&](int64_t row, int64_t, int64_t within, int64_t place, int64_t count) {
                        take(place, received[0][row].narrow(0, within, count));
                      });
  });
}

// own(place in the buffer, place in the slice, numbers) is what this rank has of it.
template <class Own>
void Ranks::gather_slices(const Own& own, at::Tensor& buffer, int64_t first, int64_t last,
                          const char* what) {
  links_->agree_alike({first, last}, size(), what);
  const Slices slices(buffer.numel(), size());
  std::vector<int64_t> equal;
  for_buckets(slices, first, last, [&](const Bucket& bucket) {
    auto [in, arrived] = links_->room(bucket.rows * bucket.width(), size(), buffer);
    const at::Tensor sent = in.view({size(), bucket.rows, bucket.width()}),
                     received = arrived.view({size(), bucket.rows, bucket.width()});
    bucket.for_blocks(rank(),
                      [&](int64_t row, int64_t at, int64_t within, int64_t place, int64_t count) {
                        sent[0][row].narrow(0, within, count).copy_(own(at, place, count));
                      });
    for (int64_t r = 1; r < size(); ++r) sent[r].copy_(sent[0]);
    // An all-gather of gloo's would take as much memory again, in a thread of its own.
    links_->run(what, [&] { return links_->gloo->alltoall_base(arrived, in, equal, equal); });
    for (int64_t r = 0; r < size(); ++r)
      bucket.for_blocks(r, [&](int64_t row, int64_t at, int64_t within, int64_t, int64_t count) {
        buffer.narrow(0, at, count).copy_(received[r][row].narrow(0, within, count));
      });
  });
}

void Ranks::gather_slices(const at::Tensor& slice, at::Tensor& buffer, int64_t first, int64_t last,
                          const char* what) {
  if (alone()) {
    buffer.narrow(0, first, last - first).copy_(slice.narrow(0, first, last - first));
    return;
  }
  gather_slices(
      [&](int64_t, int64_t place, int64_t count) { return slice.narrow(0, place, count); }, buffer,
      first, last, what);
}

void Ranks::gather_slices(at::Tensor& buffer, const char* what) {
  if (alone()) return;
  gather_slices([&](int64_t at, int64_t, int64_t count) { return buffer.narrow(0, at, count); },
                buffer, 0, buffer.numel(), what);
}

void Ranks::copy_from_first(at::Tensor& buffer, const char* what) {
  if (alone()) return;
  links_->agree_alike({buffer.numel()}, size(), what);
  struct Piece {
    std::vector<at::Tensor> tensors;
    c10::intrusive_ptr<c10d::Work> work;
  };
  const auto send = [&](int64_t begin) {
    Piece out;
    if (begin >= buffer.numel()) return out;
    out.tensors = {buffer.narrow(0, begin, std::min(kPiece, buffer.numel() - begin))};
    out.work = links_->gloo->broadcast(out.tensors);
    return out;
  };
  std::string hashes;
  Piece next = send(0);
  for (int64_t begin = 0; begin < buffer.numel(); begin += kPiece) {
    const Piece piece = std::exchange(next, send(begin + kPiece));  // on its way beside the hash
    links_->run(what, [&] { return piece.work; });
    const at::Tensor& here = piece.tensors.front();
    hashes += hash_bytes(here.const_data_ptr(), static_cast<size_t>(here.nbytes()));
  }
  const std::vector<std::string> all = gather(std::move(hashes), what);
  for (size_t r = 0; r < all.size(); ++r)
    if (all[r] != all.front())
      fail_run(what, ": rank ", r, " has received other bytes than were sent");
}

void Ranks::leave() {
  if (alone()) return;
  links_->agree({}, size(), "leave");
  links_->watch->leave();
}

void Ranks::fail(const std::string& why, int code) noexcept {
  if (!alone()) links_->watch->fail(why, code);
}

}  // namespace vernier
