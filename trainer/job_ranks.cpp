#include "trainer/job_ranks.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "core/base/buffer.h"
#include "core/base/errors.h"
#include "core/base/files.h"

namespace vernier {

void check_ranks(const RunConfig& config, const std::string& effective, Ranks& ranks) {
  if (config.rollout_ranks >= ranks.size())
    fail("rollout.ranks: ", config.rollout_ranks, " of ", ranks.size(),
         " ranks cannot only sample: at least one has to train");
  const int64_t trainers = ranks.size() - config.rollout_ranks;
  if (config.run.deterministic && Team::kVirtualShards % trainers != 0)
    fail("run.deterministic: ", trainers, " ranks cannot share ", Team::kVirtualShards,
         " parts of an update evenly; let 1, 2, 4 or 8 train");
  if (ranks.alone()) return;
  if (config.run.device == "cuda")
    fail("run.device: \"cuda\" is for one rank so far; ranks train on CPUs");
  const std::string own = hash_bytes(effective.data(), effective.size());
  const std::vector<std::string> all = ranks.gather(own, "configuration");
  for (size_t r = 0; r < all.size(); ++r)
    if (all[r] != all.front())
      fail("the configuration of rank ", r,
           " is another than that of rank 0: every rank is to be "
           "started with the same files and options");
}

std::optional<Ranks> trainers_of(const RunConfig& config, Ranks& ranks) {
  if (config.rollout_ranks == 0) return std::nullopt;
  std::vector<int64_t> members(static_cast<size_t>(ranks.size() - config.rollout_ranks));
  std::iota(members.begin(), members.end(), int64_t{0});
  return std::optional<Ranks>(std::in_place, ranks, "trainers", members);
}

void share_memory(RunConfig& config, const Team& team) {
  const int64_t processes = std::min(team.ranks.identity().local_world_size, team.drawing_ranks());
  if (config.rollout.kv_cache_gb > 0 || processes == 1) return;
  config.rollout.kv_cache_gb =
      static_cast<double>(available_memory()) / 2e9 / static_cast<double>(processes);
}

}  // namespace vernier
