#include "core/kernels/threads.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <thread>

#include "core/base/pool.h"

namespace vernier {

void set_threads(int64_t threads) {
  const auto cores = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  set_kernel_threads(threads > 0 ? static_cast<int>(threads) : cores);
  at::set_num_threads(1);
}

}  // namespace vernier
