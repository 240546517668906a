// vernier worker: draws for a running job.
#include "tools/commands.h"
#include "trainer/signals.h"
#include "trainer/worker.h"

namespace vernier {

int worker_command(const JoinOptions& options) {
  install_signal_handlers();
  return work({.join = options.join,
               .secret = options.secret,
               .interface = options.interface,
               .threads = options.threads},
              stop_requested());
}

}  // namespace vernier
