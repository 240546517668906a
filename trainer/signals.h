// What signals ask of a job or a worker.
#pragma once

#include <atomic>

namespace vernier {

/// Becomes true with the first SIGTERM, SIGINT or SIGUSR1 after install_signal_handlers(), which
/// asks to save and leave; or when another rank was asked to.
std::atomic<bool>& stop_requested();

/// The second signal ends the process at once. SIGPIPE ends it never.
void install_signal_handlers();

}  // namespace vernier
