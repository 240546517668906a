// Threads of a process: the kernels' own pool, and torch's.
#pragma once

#include <cstdint>

namespace vernier {

/// Sets the pool of the kernels to `threads` (0: one a core), and torch's own to one: two pools
/// would fight for the cores.
void set_threads(int64_t threads);

}  // namespace vernier
