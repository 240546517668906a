// Threads of a process: the kernels' own pool, and torch's.
#pragma once

#include <cstdint>

namespace vernier {

/// Sets the pool of the kernels to `threads` (0: one a core that this process may run on; where
/// that is all of the machine, its `processes` share them out), and torch's own to one: two pools
/// would fight for the cores.
void set_threads(int64_t threads, int64_t processes = 1);

}  // namespace vernier
