// What an RL step takes in time, from what its parts take.
#pragma once

#include <cstdint>

#include "trainer/measure.h"

namespace vernier {

/// Of one step once memory has been written to for the first time; scoring and saving not counted.
struct StepTime {
  Seconds prompts, decoding, forward, backward, optimizer;
  int64_t passes = 0, microbatches = 0;  // of decoding, and of an update

  Seconds all() const { return prompts + decoding + forward + backward + optimizer; }
};
/// `cache_room`: MemoryPlan::cache_room() of the same settings.
StepTime step_time(const PlannedJob& job, const PlanSettings& settings, const StepRates& rates,
                   double cache_room);

}  // namespace vernier
