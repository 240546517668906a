#include "trainer/job_ranks.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "core/base/buffer.h"
#include "core/base/errors.h"
#include "core/base/files.h"

namespace vernier {

void check_ranks(const RunConfig& config, const std::string& effective, const std::string& folder,
                 Ranks& ranks) {
  if (config.rollout_ranks >= ranks.size())
    fail("rollout.ranks: ", config.rollout_ranks, " of ", ranks.size(),
         " ranks cannot only sample: at least one has to train");
  const int64_t trainers = ranks.size() - config.rollout_ranks;
  if (config.run.deterministic && Team::kVirtualShards % trainers != 0)
    fail("run.deterministic: ", trainers, " ranks cannot share ", Team::kVirtualShards,
         " parts of an update evenly; let 1, 2, 4 or 8 train");
  if (ranks.alone()) return;
  const std::string own = hash_bytes(effective.data(), effective.size());
  const std::vector<std::string> all = ranks.gather(own, "configuration");
  for (size_t r = 0; r < all.size(); ++r)
    if (all[r] != all.front())
      fail("the configuration of rank ", r,
           " is another than that of rank 0: every rank is to be "
           "started with the same files and options");
  const std::vector<std::string> folders = ranks.gather(folder, "run folder");
  for (size_t r = 0; r < folders.size(); ++r)
    if (folders[r] != folders.front())
      fail("the run folder of rank ", r, " is ", folders[r], ", that of rank 0 ", folders.front(),
           ": all ranks share one");
}

namespace {

std::vector<int64_t> ranks_from(int64_t first, int64_t count) {
  std::vector<int64_t> members(static_cast<size_t>(count));
  std::iota(members.begin(), members.end(), first);
  return members;
}

}  // namespace

Team team_of(const RunConfig& config, Ranks& ranks, RankGroups& groups) {
  const int64_t size = config.tensor_parallel_size, trainers = ranks.size() - config.rollout_ranks;
  if (config.rollout_ranks > 0) groups.trainers.emplace(ranks, "trainers", ranks_from(0, trainers));
  if (size > 1 && ranks.rank() >= trainers) {
    const int64_t first = trainers + (ranks.rank() - trainers) / size * size;
    groups.partners.emplace(ranks, cat("parts from rank ", first), ranks_from(first, size));
  }
  return {.ranks = ranks,
          .trainers = groups.trainers ? *groups.trainers : ranks,
          .deterministic = config.run.deterministic,
          .together = size,
          .partners = groups.partners ? &*groups.partners : nullptr};
}

namespace {

class RankParts final : public Parts {
 public:
  explicit RankParts(Ranks& ranks) : ranks_(ranks) {}
  void sum(float* numbers, int64_t count) override { ranks_.sum_in_place(numbers, count, kSum); }
  void sum(at::Tensor numbers, CUstream_st* stream) override {
    ranks_.sum_in_stream(std::move(numbers), stream, kSum);
  }
  int64_t least(int64_t mine) override {
    return std::ranges::min(ranks_.gather_numbers(mine, "least of the parts"));
  }

 private:
  static constexpr const char* kSum = "sum over the parts of a layer";
  Ranks& ranks_;
};

}  // namespace

std::unique_ptr<Parts> parts_of(Ranks& ranks) { return std::make_unique<RankParts>(ranks); }

void share_memory(RunConfig& config, const Team& team) {
  const int64_t processes =
      std::min(team.ranks.identity().local_world_size, team.drawing_ranks() * team.together);
  // A GPU is one process's, and parts of a model agree on its pages where they are taken.
  if (config.rollout.kv_cache_gb > 0 || config.device().is_cuda() ||
      (processes == 1 && team.partners == nullptr))
    return;
  int64_t bytes = available_memory() / 2 / processes;
  // Who draw the same have caches of one size.
  if (team.partners != nullptr)
    bytes = std::ranges::min(team.partners->gather_numbers(bytes, "memory for a cache"));
  config.rollout.kv_cache_gb = static_cast<double>(bytes) / 1e9;
}

}  // namespace vernier
