// What an RL step takes in time, from what its parts take.
#pragma once

#include <cstdint>

#include "trainer/measure.h"

namespace vernier {

/// Of one step once memory has been written to for the first time. Scoring, saving, evaluations and
/// the rewards' monitoring set are not counted.
struct StepTime {
  Seconds prompts, decoding, forward, backward, optimizer;
  Seconds reference;  // drawing the start policy's responses, as long as prompts are new
  int64_t passes = 0, microbatches = 0;  // of decoding, and of an update

  Seconds all() const { return reference + prompts + decoding + forward + backward + optimizer; }
};
/// Passes over the tokens of a step besides that which goes back; `several`: micro-batches of an
/// update.
int64_t passes_besides(const RunConfig& config, int64_t updates, bool several);

/// A pass with `rows` rows, each of which sees `seen` tokens. Below `rates.few` rows it is not
/// taken to be faster.
Seconds pass_time(const DrawRates& rates, double rows, double seen);

/// `cache_room`: MemoryPlan::cache_room() of the same settings; the start policy's cache is taken
/// to have as much.
StepTime step_time(const PlannedJob& job, const PlanSettings& settings, const StepRates& rates,
                   double cache_room);

}  // namespace vernier
