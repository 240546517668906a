#include "core/kernels/threads.h"

#include <ATen/Parallel.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "core/base/pool.h"

namespace vernier {

void set_threads(int64_t threads, int64_t processes) {
  // Those that the process may run on: a launcher that binds ranks to cores has shared them out.
  int64_t cores = std::max(1U, std::thread::hardware_concurrency());
  if (cores >= ::sysconf(_SC_NPROCESSORS_ONLN)) cores = std::max<int64_t>(1, cores / processes);
  set_kernel_threads(static_cast<int>(threads > 0 ? threads : cores));
  at::set_num_threads(1);
}

}  // namespace vernier
