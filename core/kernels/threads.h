// Threads of a process: the kernels' own pool, and torch's.
#pragma once

#include <cstdint>

namespace vernier {

/// Processes that compute beside each other on this machine.
struct Neighbours {
  int64_t processes = 1;
  /// Who started them may have given each of them cores of its own; else they have the same ones.
  bool may_be_bound = false;
};

/// Sets the pool of the kernels to `threads` (0: one a core that this process may run on; where it
/// has them together with its neighbours, its share), and torch's own to one: two pools would fight
/// for the cores.
void set_threads(int64_t threads, const Neighbours& neighbours = {});

}  // namespace vernier
