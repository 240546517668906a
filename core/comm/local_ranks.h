// Several ranks on this machine without a launcher: `vernier train --nproc 4`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace vernier {

/// Exit code of a rank that has saved and left on a signal.
inline constexpr int kRequeueCode = 75;

/// Runs this program `count` times with `arguments` (its own name not among them), each as one rank
/// in a process group of its own, and waits for all. SIGTERM, SIGINT and SIGUSR1 are passed on;
/// where the ranks `handle` them these are held back until they do.
/// When one ends badly the others get 5 seconds to find out and are then killed; they also
/// die when this process does. To be called before there is a second thread.
///
/// Once one has ended well the others get half a minute to do so too.
///
/// Returns the exit code of the job: 0, 75 where they saved and left, else that of the rank that
/// ended badly first (1 where a signal killed it), which is named on standard error.
int run_local_ranks(int64_t count, const std::vector<std::string>& arguments, bool handle = false);

}  // namespace vernier
