// What the commands that plan a job share.
#pragma once

#include <memory>

#include "core/base/config.h"
#include "trainer/run_config.h"

namespace vernier {

/// The configuration of a job of which nothing is scored: a reward from outside is looked at, and
/// not started.
std::unique_ptr<RunConfig> read_only(ConfigFile& file);

}  // namespace vernier
