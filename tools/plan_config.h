// What the commands that plan a job share.
#pragma once

#include <memory>
#include <string>

#include "core/base/config.h"
#include "core/base/json.h"
#include "trainer/plan.h"

namespace vernier {

/// The configuration of a job of which nothing is scored: a reward from outside is looked at, and
/// not started.
std::unique_ptr<RunConfig> read_only(ConfigFile& file);

/// In MB of 2^20, as metrics and a run's last line have it.
std::string megabytes(int64_t bytes);

/// Kinds by phase as a table; whether it fits, and what that says of the cache.
void print_kinds(const MemoryPlan& memory);
void print_fit(const MemoryPlan& memory, int64_t budget);
/// Arrays of kinds, and peaks by phase.
Json kinds_json(const MemoryPlan& memory);
Json peaks_json(const MemoryPlan& memory);

}  // namespace vernier
