// The ranks of a job and what they tell each other, over c10d: gloo, and NCCL for buffers on GPUs.
//
// Every rank calls the same functions in the same order; `what` names the call in messages. Where
// ranks have come apart (another order, another size) the next call says so on all of them.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/base/pending.h"
#include "core/comm/cluster_config.h"
#include "core/comm/identity.h"

struct CUstream_st;  // cudaStream_t

namespace at {
class Tensor;
}

namespace vernier {

/// A store where processes meet that come and go.
class MeetingPlace {
 public:
  /// Of the one who waits for the others; listens at an address of this machine, at any free port.
  /// RunError where that cannot be.
  explicit MeetingPlace(const std::string& host);
  /// Of the others. RunError where nobody listens there within `seconds`.
  MeetingPlace(const std::string& host, int port, double seconds);
  ~MeetingPlace();
  MeetingPlace(const MeetingPlace&) = delete;
  MeetingPlace& operator=(const MeetingPlace&) = delete;

  int port() const { return port_; }

 private:
  friend class Ranks;
  struct Store;
  int port_ = 0;
  std::unique_ptr<Store> store_;
};

/// A buffer of rank 0 that is on its way to the others.
class Copy {
 public:
  virtual ~Copy() = default;
  /// On rank 0: its numbers from `first` on, behind those that were sent before. They are read
  /// until finish() returns.
  virtual void send(int64_t first, const at::Tensor& values) = 0;
  /// Whether finish() would wait for nobody. RunError where it does not come to an end.
  virtual bool here() = 0;
  /// Waits for what was sent so far, or on the others for all of it. False where it is not here as
  /// it was sent.
  [[nodiscard]] virtual bool finish() = 0;
};

class Ranks {
 public:
  /// What a collective has on its way at a time takes, up to 32 ranks, and as much again what
  /// arrives.
  static constexpr int64_t kBucketBytes = int64_t{8} << 20;
  /// The same of buffers on GPUs, whose links are faster.
  static constexpr int64_t kGpuBucketBytes = int64_t{64} << 20;

  /// A process that is alone: every call returns what it was given.
  Ranks();
  /// Joins the others. `stop` (may be null) becomes true soon after that of any rank has. Throws
  /// UsageError where the environment or the configuration is wrong for them, RunError where they
  /// do not meet.
  Ranks(const Identity& identity, const ClusterConfig& config, std::atomic<bool>* stop);
  /// Some of the ranks among themselves, numbered in the order of `members`, who all make it; of a
  /// rank that is not in it rank() is size(). It may not outlive `all`.
  Ranks(Ranks& all, const std::string& name, const std::vector<int64_t>& members);
  /// Processes that come and go: all that say the same name, which nobody has said before, at one
  /// place. Nobody watches over them: what does not answer within config.deadline_s is a RunError,
  /// behind which only the destructor may be called. Nobody leaves or fails.
  Ranks(const MeetingPlace& place, const std::string& name, int64_t rank, int64_t size,
        const ClusterConfig& config);
  /// Without leave() or fail() before, the others hear nothing: they wait for their deadline.
  ~Ranks();
  Ranks(const Ranks&) = delete;
  Ranks& operator=(const Ranks&) = delete;

  /// From now on this process computes on a GPU of its own, by its place on the machine, and
  /// buffers there go over NCCL; so it is in groups that are made of this one later. UsageError
  /// where there is none, or another rank has the same.
  void use_gpu();

  int64_t rank() const { return rank_; }
  int64_t size() const { return size_; }
  bool alone() const { return size() == 1; }
  bool member() const { return rank() < size(); }
  bool first() const { return rank() == 0; }
  /// Of the job.
  const Identity& identity() const { return identity_; }

  /// The bytes of every rank, by rank, on all of them.
  std::vector<std::string> gather(std::string mine, const char* what);
  /// The bytes of every rank on rank 0; elsewhere empty ones.
  std::vector<std::string> gather_to_first(std::string mine, const char* what);
  /// Gives `to_each[r]` to rank r; returns what each rank gave to this one.
  std::vector<std::string> exchange(std::vector<std::string> to_each, const char* what);
  /// The bytes of rank 0.
  std::string from_first(std::string mine, const char* what);
  /// Whether it holds on any rank.
  bool any(bool here, const char* what);
  /// The value of every rank, by rank.
  std::vector<int64_t> gather_numbers(int64_t mine, const char* what);

  /// Adds to a counter that all ranks see, 0 at first; what it is then. It waits for nobody.
  int64_t count(const std::string& counter, int64_t more);
  /// Numbers from 0 on, each to one of the ranks that ask, of the draw that the ranks began last
  /// with begin_claims().
  int64_t claim() { return count(draw_name(), 1) - 1; }
  void begin_claims() { ++claims_; }
  /// Another name for every draw, the same on all ranks.
  std::string draw_name() const;

  /// Of a stretch of the flat fp32 buffers of all ranks, which have `of` numbers each, the sum:
  /// what of it is in this rank's slice (of Slices), as it arrives, with its place there. `numbers`
  /// are the buffer's from `first` on, as many on all ranks. Summed in the tree
  /// ((0 + 1) + (2 + 3)) + ... over ranks, in that order whoever asks.
  using TakeSum = std::function<void(int64_t place, const at::Tensor& sum)>;
  void sum_to_slices(const at::Tensor& numbers, int64_t first, int64_t of, const TakeSum& take,
                     const char* what);
  /// Fills such a stretch from the slices of all ranks; `slice` is this one's.
  void gather_slices(const at::Tensor& slice, at::Tensor& numbers, int64_t first, int64_t of,
                     const char* what);
  /// The same two beside what this process does; on a GPU behind what it has begun there. Until
  /// they are finished `take` may be called by another thread, and what they read or fill is nobody
  /// else's. All ranks begin theirs in one order.
  std::unique_ptr<Pending> begin_sum_to_slices(const at::Tensor& numbers, int64_t first, int64_t of,
                                               TakeSum take, const char* what);
  std::unique_ptr<Pending> begin_gather_slices(const at::Tensor& slice, at::Tensor& numbers,
                                               int64_t first, int64_t of, const char* what);
  /// Fills `buffer` with what the ranks have of it: each has its slice in its place there.
  void gather_slices(at::Tensor& buffer, const char* what);
  /// Puts the sum over all ranks in place of `count` numbers, the same bits on all of them.
  void sum_in_place(float* numbers, int64_t count, const char* what);
  /// The same of numbers (fp32 or bf16) on GPUs, behind what is in `stream` and before what comes
  /// to it; returns at once, and may be recorded in a graph once it was called without.
  void sum_in_stream(at::Tensor numbers, CUstream_st* stream, const char* what);
  /// Fills `buffer`, which is flat, with that of rank 0. It goes in pieces, each with its hash:
  /// RunError on all ranks where one arrived otherwise than it was sent, or where a rank waits for
  /// another `version` of it.
  void copy_from_first(at::Tensor& buffer, int64_t version, const char* what);
  /// The same, beside whatever the processes do: until it has ended, this group is not to be called
  /// otherwise. Pieces do not go over the `cuts`, of which all have the same. Rank 0 sends what
  /// lies between some of them at a time; its own buffer only says how much that is.
  std::unique_ptr<Copy> begin_copy(at::Tensor& buffer, std::vector<int64_t> cuts, int64_t version,
                                   const char* what);
  /// Waits for it, and for all to say that it has arrived: RunError as above.
  void end_copy(Copy& copy, const char* what);

  /// Runs `body` to its end, or that of the job: leave() behind it and where a signal interrupts
  /// it, fail() where it throws something else, with the exit code of that.
  void run_job(const std::function<void()>& body);
  /// The job is over, or was left on a signal, on all ranks.
  void leave();
  /// This rank cannot go on and ends with exit code `code`: tells the others why, who then end with
  /// it too.
  void fail(const std::string& why, int code) noexcept;

 private:
  struct Links;  // store, group and watch

  class BucketExchange;
  class BesideExchange;
  class CopyOfFirst;

  void agree_on(const at::Tensor& numbers, int64_t first, const char* what);
  BucketExchange summing(const at::Tensor& numbers, int64_t first, int64_t of, TakeSum take) const;
  BucketExchange gathering(const at::Tensor& slice, const at::Tensor& numbers, int64_t first,
                           int64_t of) const;
  void run_exchange(const BucketExchange& exchange, const char* what);
  std::unique_ptr<Pending> begin_exchange(BucketExchange exchange, const char* what);

  Identity identity_;
  ClusterConfig config_;
  int64_t rank_ = 0, size_ = 1;
  int64_t claims_ = 0;
  std::unique_ptr<Links> links_;
};

}  // namespace vernier
