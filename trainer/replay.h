// Optimizer steps on stored rollouts: no sampling, the same credit and the same updates as a run.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace vernier {

struct ReplayOptions {
  std::vector<std::string> config_paths;  // later ones over earlier ones
  std::vector<std::string> overrides;
  std::vector<std::string> rollouts;  // files of rollout rows, or rollouts folders of runs
  std::string run_dir;                // in place of run.dir
  std::string model;                  // in place of the configuration's
  std::string save_gradients;         // safetensors file for the gradient of the first update
  int64_t steps = 0;                  // stored steps at most; 0: all
  bool rescore = false;               // rewards, transforms and filter anew, not as stored
};

/// One RL step for each stored step, in order, from the model of the configuration on; no warm
/// start. Writes configuration, metrics and a checkpoint after the last step into the run folder,
/// which must be a new one. Groups that the stored step did not train on stay out, unless they are
/// scored again.
///
/// Throws UsageError on rows without token fields (log.rollouts.token_fields), with file and line;
/// on steps that are out of order; and on files without a row.
void replay(const ReplayOptions& options);

}  // namespace vernier
