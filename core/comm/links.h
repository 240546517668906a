// How a process reaches the others of a group: for those who write Ranks.
#pragma once

#include <ATen/ATen.h>

#include <chrono>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <utility>
#include <vector>

#include "core/base/errors.h"
#include "core/base/pulse.h"
#include "core/base/task_thread.h"
#include "core/comm/meeting.h"
#include "core/comm/ranks.h"
#include "core/comm/watch.h"

namespace vernier {

// All calls are of one thread at a time, the main one or, while that waits in a pass back on a GPU,
// autograd's; the watch has a connection of its own, and so have buckets that
// are exchanged beside it.
struct Ranks::Links {
  // For a bucket of all ranks.
  struct Room {
    at::Tensor sent, received;

    void fit(int64_t numbers, const at::Tensor& like) {
      if (sent.defined() && sent.numel() >= numbers && sent.device() == like.device()) return;
      *this = {};  // before the other one takes its memory
      sent = at::zeros({numbers}, like.options().requires_grad(false));
      received = at::empty_like(sent);
    }
  };
  struct Beside {
    c10::intrusive_ptr<c10d::Backend> group;
    Room room;
    TaskThread mover;  // goes first
  };

  std::string group_name;
  c10::intrusive_ptr<c10d::Store> store;
  c10::intrusive_ptr<c10d::ProcessGroupGloo> gloo;
  c10::intrusive_ptr<c10d::Backend> nccl;  // null: buffers are on CPUs
  std::shared_ptr<Watch> watch;            // null: nobody watches
  int64_t calls = 0, noted = -1;
  Room room;
  std::unique_ptr<Beside> beside, nccl_beside;  // from their first use on

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
      fail_run(what, ": the other processes cannot be reached: ", reason_of(problem));
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

  // A few sizes on their way in front of a call, by rank, with its number and name: these must
  // agree. All calls send the same number of them, so that ranks which have come apart can say so.
  static constexpr int64_t kMostSizes = 2;
  at::Tensor agree(const std::vector<int64_t>& sizes, int64_t ranks, const char* what) {
    const auto name = static_cast<int64_t>(std::hash<std::string_view>()(what) >> 1);
    ensure(std::ssize(sizes) <= kMostSizes, "sizes of a call");
    std::vector<int64_t> mine = {++calls, name};
    mine.insert(mine.end(), sizes.begin(), sizes.end());
    mine.resize(static_cast<size_t>(2 + kMostSizes));
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

c10::intrusive_ptr<c10d::ProcessGroupGloo> open_gloo(const c10::intrusive_ptr<c10d::Store>& store,
                                                     const std::string& name, int64_t rank,
                                                     int64_t size, const ClusterConfig& config);
c10::intrusive_ptr<c10d::Backend> open_nccl(const c10::intrusive_ptr<c10d::Store>& store,
                                            const std::string& name, int64_t rank, int64_t size);

}  // namespace vernier
