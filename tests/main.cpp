// The test program. Seeds are fixed in the tests; arguments are doctest's.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdlib>
#include <cstring>

#include "core/comm/local_ranks.h"
#include "rewards/outside/spawner.h"
#include "tests/orphan.h"
#include "tests/ranks_case.h"

int main(int argc, char** argv) {
  const vernier::SpawnerProcess spawner;  // before there are threads
  // What a test runs to kill it.
  if (argc == 3 && std::strcmp(argv[1], "--hold-programs") == 0)
    return vernier::testing::hold_programs(argv[2]);
#ifdef VERNIER_TORCH_TESTS
  if (argc == 3 && std::strcmp(argv[1], "--ranks") == 0)
    return vernier::run_local_ranks(std::atoi(argv[2]), {"--rank"});
  if (argc == 3 && std::strcmp(argv[1], "--gpu-ranks") == 0)
    return vernier::run_local_ranks(std::atoi(argv[2]), {"--gpu-rank"});
  if (argc == 2 && std::strcmp(argv[1], "--rank") == 0) return vernier::testing::check_ranks();
  if (argc == 2 && std::strcmp(argv[1], "--gpu-rank") == 0)
    return vernier::testing::check_gpu_ranks();
#endif
  return doctest::Context(argc, argv).run();
}
