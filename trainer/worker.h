// A rollout worker: joins a running job, draws what it is given, and leaves.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

namespace vernier {

struct WorkerOptions {
  std::string join;       // HOST:PORT
  std::string secret;     // file
  std::string interface;  // of the weights' connections; empty: loopback
  int64_t threads = 0;    // 0: one a core
};

/// Draws until the job is over, and returns the exit code that the job gives its workers; or until
/// `stop` becomes true: then 0, and the job has what was open drawn by others. Throws UsageError
/// for mistakes of the user, RunError where the job cannot be reached or is gone.
int work(const WorkerOptions& options, const std::atomic<bool>& stop);

}  // namespace vernier
