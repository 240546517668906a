// The warm start: imitation of a task's demonstrations before RL.
#pragma once

#include <atomic>
#include <functional>
#include <utility>
#include <vector>

#include "trainer/gradient_sum.h"
#include "trainer/run_folder.h"
#include "trainer/step.h"
#include "trainer/trainee.h"

namespace vernier {

/// [sft] steps of cross-entropy on demonstrations. What a step trains on depends on seed and step
/// alone.
class WarmStart {
 public:
  WarmStart(const RunConfig& config, Trainee& trainee, const Team& team)
      : config_(config), trainee_(trainee), team_(team) {}

  /// Throws UsageError where a demonstration of the coming steps does not fit the model.
  void check();

  /// The steps that are left; then the trainee stands at RL step 0 with a new optimizer state.
  /// Calls `save` at every checkpoint that is due. Throws Interrupted soon after `stop` becomes
  /// true, between two steps.
  void run(RunFolder& folder, const std::atomic<bool>& stop, const std::function<void()>& save);

 private:
  // Batches whose demonstrations are sorted by length together. One ends where the curriculum does.
  struct Bucket {
    int64_t number, first_step, batches;
    bool early;
  };

  Bucket bucket_at(int64_t step) const;
  void fill_demonstrations(const Bucket& bucket);
  Example example_of(const Demonstration& one) const;
  std::vector<Example> batch_of(int64_t step);
  void show(const Metrics& metrics, double seconds, int64_t steps_done) const;

  const RunConfig& config_;
  Trainee& trainee_;
  const Team& team_;
  std::vector<Demonstration> demonstrations_;  // of bucket_
  int64_t bucket_ = -1;
};

}  // namespace vernier
