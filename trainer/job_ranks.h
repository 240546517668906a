// How the ranks of a job share it, by its configuration.
#pragma once

#include <optional>
#include <string>

#include "core/comm/ranks.h"
#include "trainer/gradient_sum.h"
#include "trainer/run_config.h"

namespace vernier {

/// Throws UsageError on what this job cannot do with so many ranks, before anything is loaded, and
/// where a rank has another configuration (`effective`) than the first one.
void check_ranks(const RunConfig& config, const std::string& effective, Ranks& ranks);

/// The ranks that train, where the last ones only sample; none: all do both.
std::optional<Ranks> trainers_of(const RunConfig& config, Ranks& ranks);

/// Half of what a machine has free is for the cache of one process: where several draw on it, each
/// gets its share of that. To be called when weights and moments are there.
void share_memory(RunConfig& config, const Team& team);

}  // namespace vernier
