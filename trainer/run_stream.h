// The groups of a run that are drawn ahead of their steps.
#pragma once

#include <memory>

#include "rollout/group_stream.h"
#include "rollout/prompts.h"
#include "trainer/trainee.h"

namespace vernier {

/// Null where rollout.max_staleness is 0 and nobody may join. All that is given lives as long as
/// the stream; `workers` (may be null) draw for this rank. Warns where the loss will not know that
/// tokens are of older weights.
std::unique_ptr<GroupStream> make_stream(const RunConfig& config, const Trainee& trainee,
                                         const PromptSource& prompts, const Team& team,
                                         Engine& engine, RemoteDrawers* workers);

}  // namespace vernier
