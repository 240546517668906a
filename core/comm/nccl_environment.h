// What NCCL and torch's part of it find in the environment of a rank.
#pragma once

#include "core/comm/cluster_config.h"

namespace vernier {

/// Sets it for this process, which has no other thread and no group yet: errors come to who waits
/// for an operation, the last operations are remembered, and sockets are where those of the ranks
/// are. What a user has set stays, but for what would end the process in the watch's place.
void set_nccl_environment(const ClusterConfig& config);

}  // namespace vernier
