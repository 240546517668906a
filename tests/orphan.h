// A process that holds programs and is killed, for the test that nothing is left of them.
#pragma once

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "rewards/outside/spawner.h"

namespace vernier::testing {

/// Starts `script` with Python twice, prints the process ids, and waits to be killed.
inline int hold_programs(const std::string& script) {
  std::vector<std::unique_ptr<Child>> held;
  for (int i = 0; i < 2; ++i) {
    ChildSpec spec;
    spec.command = {"python3", script};
    held.push_back(std::make_unique<Child>(spec));
    std::printf("%d\n", static_cast<int>(held.back()->pid()));
  }
  std::fflush(stdout);
  std::this_thread::sleep_for(std::chrono::minutes(1));
  return 0;
}

}  // namespace vernier::testing
