// What a configuration says of the ranks of a job.
#pragma once

#include <string>

#include "core/base/config.h"

namespace vernier {

/// [cluster]
struct ClusterConfig {
  std::string interface;  // network interface of the ranks' connections, where there are more hosts
  double deadline_s = 60, start_deadline_s = 600;

  void bind(Binder& config);
};

}  // namespace vernier
