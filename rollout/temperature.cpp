// Alone, so that the reader of requests can be fuzzed without the kernels that rollout_config.cpp
// asks.
#include "core/base/text.h"
#include "rollout/rollout_config.h"

namespace vernier {

std::string temperature_problem(double temperature) {
  if (temperature == 0 || temperature >= 1e-3) return "";
  return cat(temperature, " is neither 0 (the most probable token) nor at least 0.001");
}

}  // namespace vernier
