// What one rank of a job holds, on a CPU or a GPU, by what it does among the others.
#pragma once

#include "trainer/plan.h"

namespace vernier {

/// A rank. By itself, as it is here, a whole job on a CPU.
struct RankPlace {
  int64_t drawing = 1, training = 1;  // ranks that do
  bool draws = true, trains = true;   // this one
  bool gpu = false;                   // it has one, of whose memory a plan is then
  bool ahead = false;                 // weights come while it draws with older ones

  const char* name() const;
};

/// The ranks of a job, and what each of them is given.
struct PlannedRanks {
  int64_t count = 1;
  bool gpu = false;
  int64_t base = 0, budget = 0;  // bytes: what it holds without a model, and what it may hold
  bool ahead = false;            // those that only sample draw on while new weights come
};

/// What a process holds on a GPU beside what is added up: its context, kernels and work space of
/// the libraries, buffers of NCCL. Assumed; we have measured none of it.
inline constexpr int64_t kGpuBase = 2'000'000'000;

struct RankMemory {
  RankPlace place;
  MemoryPlan memory;
};

/// From the second step on. On a GPU what passes take stays with the allocator, and what the engine
/// takes stays with the engine, so one phase has all of the other; the host's memory is not told.
/// The base of a CPU is that of plan_memory().
MemoryPlan rank_memory(const PlannedJob& job, const PlanSettings& settings, const RankPlace& place,
                       int64_t base, int64_t budget);

/// Of each kind of rank: one where all draw and train, else of those that train and those that only
/// sample (settings.rollout_ranks).
std::vector<RankMemory> ranks_memory(const PlannedJob& job, const PlanSettings& settings,
                                     const PlannedRanks& ranks);
/// Of the kind that holds most.
int64_t ranks_peak(const PlannedJob& job, const PlanSettings& settings, const PlannedRanks& ranks);

/// As smaller_settings(), of all kinds of ranks, in the order of what they cost: those first that
/// share something out, then those that compute again, then those that do less at a time.
std::vector<PlanChange> smaller_rank_settings(const PlannedJob& job, const PlanSettings& settings,
                                              const PlannedRanks& ranks);
/// Of these the first that is enough by itself; where none is, the first one and on from there.
/// Each has the settings of those before it.
std::vector<PlanChange> enough_for_ranks(const PlannedJob& job, const PlanSettings& settings,
                                         const PlannedRanks& ranks);

}  // namespace vernier
