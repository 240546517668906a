// How the ranks of a job share it, by its configuration.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "core/comm/ranks.h"
#include "core/model/decoder.h"
#include "trainer/gradient_sum.h"
#include "trainer/run_config.h"

namespace vernier {

/// Throws UsageError on what this job cannot do with so many ranks, before anything is loaded, and
/// where a rank has another configuration (`effective`) or run folder than the first one.
void check_ranks(const RunConfig& config, const std::string& effective, const std::string& folder,
                 Ranks& ranks);

/// Groups among the ranks of a job.
struct RankGroups {
  std::optional<Ranks> trainers;  // where the last ranks only sample; none: all do both
  std::optional<Ranks> partners;  // that compute one model in parts with this one when they draw
};

/// The team of this job; makes its groups.
Team team_of(const RunConfig& config, Ranks& ranks, RankGroups& groups);

/// The ranks of a group as the parts of a model; they outlive the decoder that computes with them.
std::unique_ptr<Parts> parts_of(Ranks& ranks);

/// Half of what a machine has free is for the cache of one process: where several draw on it, each
/// gets its share of that. To be called when weights and moments are there.
void share_memory(RunConfig& config, const Team& team);

}  // namespace vernier
