// The outer loop of a run: warm start, then collect, score, step, evaluate, save.
#pragma once

#include <string>
#include <vector>

namespace vernier {

struct TrainOptions {
  std::vector<std::string> config_paths;  // later ones over earlier ones
  std::vector<std::string> overrides;
  std::string run_dir;          // in place of run.dir
  std::string resume = "auto";  // auto, never, or the folder of a checkpoint
};

/// Runs the job to its end. Throws Interrupted after it has saved because a signal asked it to
/// leave, UsageError for mistakes of the user, RunError where the run cannot go on.
void train(const TrainOptions& options);

}  // namespace vernier
