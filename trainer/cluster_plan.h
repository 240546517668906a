// What a job would take on a cluster: step time, bubble, staleness and cost of its set-ups.
#pragma once

#include <string>
#include <vector>

#include "trainer/cluster_sim.h"
#include "trainer/rank_memory.h"
#include "trainer/step_time.h"

namespace vernier {

/// "nodes=2,gpus=8,link=50": the cluster of a plan.
struct ClusterShape {
  int64_t nodes = 1, gpus = 1;  // ranks of a node
  double link = 0;              // GB/s that a node has to the others
  double local = 0;             // GB/s between ranks of a node
  std::string device = "cpu";   // or one of devices()
  double decode_share = 0.5;    // of the memory's bandwidth, and of the peak, while drawing
  double train_share = 0.4;     // of the dense peak while training
  double price = 0;             // of a rank's hour

  int64_t ranks() const { return nodes * gpus; }
  bool measured() const { return device == "cpu"; }
  /// Bytes of a GPU's memory, by its data sheet.
  int64_t gpu_bytes() const;
};

/// Throws UsageError that names the key.
ClusterShape read_cluster(const std::string& text);

/// Lengths of the groups of the newest `steps` of a run's recorded rollouts; their prompts are not
/// looked at. `path` is the run, its rollouts, or one file of them. Throws UsageError where there
/// are none.
std::vector<SimulatedGroup> recorded_groups(const std::string& path, int64_t steps);

/// What a step is made of on each rank, and between them.
struct ClusterCosts {
  SimulatedEngine engine;
  TrainRates train;            // of a rank
  double optimizer_s = 0;      // of an update of all weights
  double pack_s = 0;           // after every update, for drawing
  double local = 0, link = 0;  // bytes/s
};

/// From rates that were measured; `copy` is bytes/s between ranks of this machine.
ClusterCosts measured_costs(const StepRates& rates, const PlanSettings& settings,
                            const ClusterShape& shape, double copy);
/// From the data sheet of a GPU and the shares of it that are assumed.
ClusterCosts assumed_costs(const PlannedJob& job, const PlanSettings& settings,
                           const ClusterShape& shape);

/// One way to run the job on the cluster.
struct ClusterSetup {
  std::string name;
  SimulatedSetup ranks;
  SimulatedStep step;
  double update_s = 0, sync_s = 0;
  double tokens_per_s = 0;       // trained, of all ranks
  double hours_per_million = 0;  // of a rank, for a million trained tokens
  int64_t peak_bytes = 0;        // of the rank that holds most
};

struct ClusterPlan {
  double mean_length = 0, trained_tokens = 0;  // of a step
  std::vector<ClusterSetup> setups;
};

/// Colocated; disaggregated and asynchronous with the split of ranks that is fastest, of all or of
/// sixteenths, where the configuration does not give rollout.ranks. `groups` are drawn in that
/// order. `ranks` are those of `shape`.
ClusterPlan plan_cluster(const PlannedJob& job, const PlanSettings& settings,
                         const ClusterShape& shape, const PlannedRanks& ranks,
                         const ClusterCosts& costs, std::vector<SimulatedGroup> groups,
                         double reward_s);

}  // namespace vernier
