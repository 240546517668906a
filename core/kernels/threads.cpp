#include "core/kernels/threads.h"

#include <ATen/Parallel.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "core/base/pool.h"

namespace vernier {

namespace {

// Those that the process may run on: a launcher that binds ranks to cores has shared them out.
int64_t own_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1U, std::thread::hardware_concurrency());  // more cores than the set has room for
}

}  // namespace

void set_threads(int64_t threads, const Neighbours& neighbours) {
  int64_t cores = own_cores();
  const bool bound = neighbours.may_be_bound && cores < ::sysconf(_SC_NPROCESSORS_ONLN);
  if (!bound) cores = std::max<int64_t>(1, cores / neighbours.processes);
  set_kernel_threads(static_cast<int>(threads > 0 ? threads : cores));
  at::set_num_threads(1);
}

}  // namespace vernier
