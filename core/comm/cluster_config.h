// What a configuration says of the ranks of a job.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "core/base/config.h"

namespace vernier {

/// [cluster.workers]
struct WorkersConfig {
  std::string listen;  // HOST:PORT; empty: nobody may join
  std::string secret;  // file
  int64_t at_start = 0;

  bool on() const { return !listen.empty(); }
  void bind(Binder& config);
};

/// HOST and PORT of HOST:PORT, [HOST]:PORT for an IPv6 address; none where it is neither.
std::optional<std::pair<std::string, int>> host_and_port(const std::string& text);

/// Raises UsageError (under the name `key` of what gave it) where this machine has no such network
/// interface; empty: none is named.
void check_interface(const std::string& interface, const char* key);

/// [cluster]
struct ClusterConfig {
  std::string interface;  // network interface of the ranks' connections, where there are more hosts
  double deadline_s = 60, start_deadline_s = 600;
  int64_t flight_recorder = 2000;  // operations of NCCL
  WorkersConfig workers;

  void bind(Binder& config);
};

}  // namespace vernier
