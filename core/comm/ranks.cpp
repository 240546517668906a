#include "core/comm/ranks.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <optional>
#include <thread>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include "core/base/errors.h"
#include "core/base/files.h"
#include "core/base/pulse.h"
#include "core/comm/buckets.h"
#include "core/comm/device_group.h"
#include "core/comm/meeting.h"
#include "core/comm/slices.h"
#include "core/comm/watch.h"

namespace vernier {
namespace {

using std::chrono::milliseconds;

// Of gloo's own; ours is the watch's, which tells a slow rank from one that is gone.
constexpr auto kNever = std::chrono::hours(24 * 30);
// Of a broadcast, whose hash is taken beside it.
constexpr int64_t kPiece = 1 << 23;

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

// All calls are of the main thread; the watch has a connection of its own.
struct Ranks::Links {
  // For buckets of all ranks.
  struct Room {
    at::Tensor sent, received;
  };

  c10::intrusive_ptr<c10d::Store> store;
  c10::intrusive_ptr<c10d::ProcessGroupGloo> gloo;
  c10::intrusive_ptr<c10d::Backend> nccl;  // null: buffers are on CPUs
  std::shared_ptr<Watch> watch;            // null: nobody watches
  int64_t calls = 0, noted = -1;
  std::vector<Room> rooms;  // that nobody uses

  // For so many numbers.
  Room take_room(int64_t numbers, const at::Tensor& like) {
    Room room;
    if (!rooms.empty()) {
      room = std::move(rooms.back());
      rooms.pop_back();
    }
    if (!room.sent.defined() || room.sent.numel() < numbers ||
        room.sent.device() != like.device()) {
      room = {};  // before the other one takes its memory
      room.sent = at::zeros({numbers}, like.options().requires_grad(false));
      room.received = at::empty_like(room.sent);
    }
    return room;
  }

  // For a buffer.
  c10d::Backend& group(const at::Tensor& buffer) const {
    if (!buffer.is_cuda()) return *gloo;
    ensure(nccl != nullptr, "ranks that use GPUs");
    return *nccl;
  }

  // Waits for an operation. NCCL lets a stream wait in place of the thread, which is to notice when
  // another rank is gone.
  static void wait_for(const c10::intrusive_ptr<c10d::Work>& work, bool of_gpu) {
    work->wait();
    if (!of_gpu) return;
    while (!work->isCompleted()) std::this_thread::sleep_for(std::chrono::microseconds(20));
    if (const std::exception_ptr problem = work->exception()) std::rethrow_exception(problem);
  }

  // Something of an operation of a group. What it fails with is less than what the watch will find:
  // that ends the process with the name of who is gone.
  template <class Body>
  auto attempt(const std::string& what, const Body& body) {
    // Who nobody watches over is no reason for others to wait; each operation has its own deadline.
    std::optional<pulse::Waiting> waiting;
    if (watch) waiting.emplace(what);
    pulse::beat();
    if (watch && std::exchange(noted, calls) != calls) watch->note(cat(calls, " ", what));
    try {
      return body();
    } catch (const std::exception& problem) {
      if (watch) watch->lost(what, reason_of(problem));
      fail_run(what, ": the other ranks cannot be reached: ", reason_of(problem));
    }
  }

  // Runs one operation.
  template <class Start>
  void run(const std::string& what, const Start& start, bool of_gpu = false) {
    attempt(what, [&] { wait_for(start(), of_gpu); });
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
  check_interface(config.interface, "cluster.interface");
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
             config.start_deadline_s, " s (cluster.start_deadline_s): ", reason_of(problem));
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
  if (all.links_->nccl != nullptr) open_nccl(name);
}

void Ranks::open_nccl(const std::string& name) {
  links_->nccl =
      open_device_group(c10::make_intrusive<c10d::PrefixStore>(cat("nccl ", name), links_->store),
                        name, rank(), size());
}

void Ranks::use_gpu() {
  if (alone()) return;
  const std::vector<std::string> gpus = gather(choose_gpu(identity_.local_rank), "GPUs");
  // Tests put two ranks on one GPU: with NCCL_HOSTID they say that they are on different hosts.
  for (size_t r = 0; r < gpus.size() && std::getenv("NCCL_HOSTID") == nullptr; ++r)
    for (size_t other = r + 1; other < gpus.size(); ++other)
      if (gpus[r] == gpus[other])
        vernier::fail("run.device: \"cuda\": ranks ", r, " and ", other,
                      " are on one GPU, and NCCL wants one for each: start as many ranks as there "
                      "are GPUs");
  open_nccl("all");
  links_->watch->set_last_words([] { return "NCCL's flight recorder: " + flight_record(); });
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
             " s (cluster.deadline_s): ", reason_of(problem));
  }
  links_->gloo->setTimeout(milliseconds(static_cast<int64_t>(config.deadline_s * 1000)));
}

// All of its operations are over, and a communicator that is torn down in turn with others waits
// for them: without a watch nothing would end that.
Ranks::~Ranks() {
  if (links_ == nullptr || links_->nccl == nullptr) return;
  const Deadline ending(config_.deadline_s, cat("rank ", rank(), ": NCCL does not come to an end"));
  links_->nccl->abort();
}

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

int64_t bucket_bytes(const at::Tensor& buffer) {
  return buffer.is_cuda() ? Ranks::kGpuBucketBytes : Ranks::kBucketBytes;
}

}  // namespace

// Goes through the buckets of a stretch, one of which is on its way from the beginning on: put()
// fills one with rows for every rank, take() is given one with rows of every rank.
class Ranks::BucketExchange final : public Pending {
 public:
  using Body = std::function<void(const Bucket& bucket, const at::Tensor& rows)>;

  BucketExchange(Links& links, int64_t ranks, const at::Tensor& buffer, int64_t first, int64_t last,
                 const char* what, Body put, Body take)
      : links_(links),
        buffer_(buffer),
        what_(what),
        slices_(buffer.numel(), ranks),
        put_(std::move(put)),
        take_(std::move(take)) {
    links_.agree_alike({first, last}, ranks, what);
    for_buckets(slices_, first, last, bucket_bytes(buffer),
                [&](const Bucket& bucket) { buckets_.push_back(bucket); });
    send();
  }

  void finish() override {
    while (next_ < buckets_.size()) {
      links_.attempt(what_, [&] { Links::wait_for(work_, buffer_.is_cuda()); });
      take_(buckets_[next_], rows(room_.received));
      ++next_;
      send();
    }
    if (room_.sent.defined()) links_.rooms.push_back(std::exchange(room_, {}));
  }

 private:
  int64_t numbers() const {
    const Bucket& bucket = buckets_[next_];
    return slices_.ranks * bucket.rows * bucket.width();
  }
  at::Tensor rows(const at::Tensor& all) const {
    const Bucket& bucket = buckets_[next_];
    return all.narrow(0, 0, numbers()).view({slices_.ranks, bucket.rows, bucket.width()});
  }

  void send() {
    if (next_ == buckets_.size()) return;
    if (!room_.sent.defined()) room_ = links_.take_room(most(), buffer_);
    put_(buckets_[next_], rows(room_.sent));
    at::Tensor in = room_.sent.narrow(0, 0, numbers()),
               out = room_.received.narrow(0, 0, numbers());
    std::vector<int64_t> equal;
    // An all-gather of gloo's would take as much memory again, in a thread of its own.
    work_ = links_.attempt(
        what_, [&] { return links_.group(buffer_).alltoall_base(out, in, equal, equal); });
  }

  // Of the largest bucket.
  int64_t most() const {
    int64_t out = 0;
    for (const Bucket& bucket : buckets_)
      out = std::max(out, slices_.ranks * bucket.rows * bucket.width());
    return out;
  }

  Links& links_;
  const at::Tensor buffer_;
  const char* what_;
  const Slices slices_;
  const Body put_, take_;
  std::vector<Bucket> buckets_;
  size_t next_ = 0;  // that is on its way
  Links::Room room_;
  c10::intrusive_ptr<c10d::Work> work_;
};

namespace {

// Of a process that is alone.
struct Done final : Pending {
  void finish() override {}
};

}  // namespace

std::unique_ptr<Pending> Ranks::begin_sum_to_slices(const at::Tensor& buffer, int64_t first,
                                                    int64_t last, TakeSum take, const char* what) {
  if (alone()) {
    take(first, buffer.narrow(0, first, last - first));
    return std::make_unique<Done>();
  }
  const auto put = [buffer](const Bucket& bucket, const at::Tensor& sent) {
    for (int64_t r = 0; r < sent.size(0); ++r)
      bucket.for_blocks(r, [&](int64_t row, int64_t at, int64_t within, int64_t, int64_t count) {
        sent[r][row].narrow(0, within, count).copy_(buffer.narrow(0, at, count));
      });
  };
  const auto sum = [own = rank(), take = std::move(take)](const Bucket& bucket,
                                                          const at::Tensor& received) {
    for (int64_t stride = 1; stride < received.size(0); stride *= 2)
      for (int64_t r = 0; r + stride < received.size(0); r += 2 * stride)
        received[r].add_(received[r + stride]);
    bucket.for_blocks(own, [&](int64_t row, int64_t, int64_t within, int64_t place, int64_t count) {
      take(place, received[0][row].narrow(0, within, count));
    });
  };
  return std::make_unique<BucketExchange>(*links_, size(), buffer, first, last, what, put, sum);
}

void Ranks::sum_to_slices(const at::Tensor& buffer, int64_t first, int64_t last,
                          const TakeSum& take, const char* what) {
  begin_sum_to_slices(buffer, first, last, take, what)->finish();
}

namespace {

// own(place in the buffer, place in the slice, numbers) is what rank `rank` has of the buffer.
template <class Own>
auto put_own(int64_t rank, const Own& own) {
  return [rank, own](const Bucket& bucket, const at::Tensor& sent) {
    bucket.for_blocks(rank,
                      [&](int64_t row, int64_t at, int64_t within, int64_t place, int64_t count) {
                        sent[0][row].narrow(0, within, count).copy_(own(at, place, count));
                      });
    for (int64_t r = 1; r < sent.size(0); ++r) sent[r].copy_(sent[0]);
  };
}

auto take_all(const at::Tensor& buffer) {
  return [buffer](const Bucket& bucket, const at::Tensor& received) {
    for (int64_t r = 0; r < received.size(0); ++r)
      bucket.for_blocks(r, [&](int64_t row, int64_t at, int64_t within, int64_t, int64_t count) {
        buffer.narrow(0, at, count).copy_(received[r][row].narrow(0, within, count));
      });
  };
}

}  // namespace

std::unique_ptr<Pending> Ranks::begin_gather_slices(const at::Tensor& slice, at::Tensor& buffer,
                                                    int64_t first, int64_t last, const char* what) {
  if (alone()) {
    buffer.narrow(0, first, last - first).copy_(slice.narrow(0, first, last - first));
    return std::make_unique<Done>();
  }
  const auto own = [slice](int64_t, int64_t place, int64_t count) {
    return slice.narrow(0, place, count);
  };
  return std::make_unique<BucketExchange>(*links_, size(), buffer, first, last, what,
                                          put_own(rank(), own), take_all(buffer));
}

void Ranks::gather_slices(const at::Tensor& slice, at::Tensor& buffer, int64_t first, int64_t last,
                          const char* what) {
  begin_gather_slices(slice, buffer, first, last, what)->finish();
}

void Ranks::gather_slices(at::Tensor& buffer, const char* what) {
  if (alone()) return;
  const auto own = [buffer](int64_t at, int64_t, int64_t count) {
    return buffer.narrow(0, at, count);
  };
  BucketExchange(*links_, size(), buffer, 0, buffer.numel(), what, put_own(rank(), own),
                 take_all(buffer))
      .finish();
}

// Every number is summed by one rank, in an order that the ring gives, and sent to all.
void Ranks::sum_in_place(float* numbers, int64_t count, const char* what) {
  if (alone()) return;
  std::vector<at::Tensor> all = {at::from_blob(numbers, {count}, at::kFloat)};
  links_->run(what, [&] { return links_->gloo->allreduce(all); });
}

void Ranks::copy_from_first(at::Tensor& buffer, int64_t version, const char* what) {
  if (alone()) return;
  links_->agree_alike({buffer.numel(), version}, size(), what);
  struct Piece {
    std::vector<at::Tensor> tensors;
    c10::intrusive_ptr<c10d::Work> work;
  };
  const auto send = [&](int64_t begin) {
    Piece out;
    if (begin >= buffer.numel()) return out;
    out.tensors = {buffer.narrow(0, begin, std::min(kPiece, buffer.numel() - begin))};
    out.work = links_->attempt(what, [&] { return links_->group(buffer).broadcast(out.tensors); });
    return out;
  };
  std::string hashes;
  Piece next = send(0);
  for (int64_t begin = 0; begin < buffer.numel(); begin += kPiece) {
    const Piece piece = std::exchange(next, send(begin + kPiece));  // on its way beside the hash
    links_->run(
        what, [&] { return piece.work; }, buffer.is_cuda());
    const at::Tensor here = piece.tensors.front().cpu();
    hashes += hash_bytes(here.const_data_ptr(), static_cast<size_t>(here.nbytes()));
  }
  const std::vector<std::string> all = gather(std::move(hashes), what);
  for (size_t r = 0; r < all.size(); ++r)
    if (all[r] != all.front())
      fail_run(what, ": rank ", r, " has received other bytes than were sent");
}

void Ranks::run_job(const std::function<void()>& body) {
  try {
    body();
  } catch (const Interrupted&) {
    leave();
    throw;
  } catch (const UsageError& problem) {
    fail(problem.what(), 2);
    throw;
  } catch (const std::exception& problem) {
    fail(problem.what(), 1);
    throw;
  }
  leave();
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
