// The test program. Seeds are fixed in the tests; arguments are doctest's.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstring>

#include "rewards/outside/spawner.h"
#include "tests/orphan.h"

int main(int argc, char** argv) {
  const vernier::SpawnerProcess spawner;  // before there are threads
  // What a test runs to kill it.
  if (argc == 3 && std::strcmp(argv[1], "--hold-programs") == 0)
    return vernier::testing::hold_programs(argv[2]);
  return doctest::Context(argc, argv).run();
}
