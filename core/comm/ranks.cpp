#include "core/comm/ranks.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include "core/base/errors.h"
#include "core/comm/device_group.h"
#include "core/comm/links.h"
#include "core/comm/meeting.h"
#include "core/comm/watch.h"

namespace vernier {
namespace {

using std::chrono::milliseconds;

// Of gloo's own; ours is the watch's, which tells a slow rank from one that is gone.
constexpr auto kNever = std::chrono::hours(24 * 30);

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

c10::intrusive_ptr<c10d::Backend> open_nccl(const c10::intrusive_ptr<c10d::Store>& store,
                                            const std::string& name, int64_t rank, int64_t size) {
  return open_device_group(c10::make_intrusive<c10d::PrefixStore>(cat("nccl ", name), store), name,
                           rank, size);
}

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
  links_->group_name = name;
  links_->gloo = open_gloo(links_->store, name, rank(), size(), config_);
  if (all.links_->nccl != nullptr) links_->nccl = open_nccl(links_->store, name, rank(), size());
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
  links_->nccl = open_nccl(links_->store, "all", rank(), size());
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
  if (links_->nccl_beside) links_->nccl_beside->group->abort();
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
  links_->agree({}, size(), what);
  at::Tensor sizes = at::tensor(out_sizes), theirs = at::empty({size()}, at::kLong);
  std::vector<int64_t> one_each, one_from_each;  // which empty lists stand for
  links_->run(what,
              [&] { return links_->gloo->alltoall_base(theirs, sizes, one_from_each, one_each); });
  const auto* begin = theirs.const_data_ptr<int64_t>();
  const std::vector<int64_t> in_sizes(begin, begin + size());
  const int64_t total = theirs.sum().item<int64_t>();
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
  return links_->attempt("a counter of all ranks",
                         [&] { return links_->store->add(cat("counts/", counter), more); });
}

std::string Ranks::draw_name() const { return cat("draw ", claims_); }

// Every number is summed by one rank, in an order that the ring gives, and sent to all.
void Ranks::sum_in_place(float* numbers, int64_t count, const char* what) {
  if (alone()) return;
  std::vector<at::Tensor> all = {at::from_blob(numbers, {count}, at::kFloat)};
  links_->run(what, [&] { return links_->gloo->allreduce(all); });
}

void Ranks::sum_in_stream(at::Tensor numbers, CUstream_st* stream, const char* what) {
  if (alone()) return;
  links_->attempt(what, [&] { add_up(links_->group(numbers), numbers, stream); });
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
