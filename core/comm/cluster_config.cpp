#include "core/comm/cluster_config.h"

namespace vernier {

void ClusterConfig::bind(Binder& config) {
  config.text("interface", interface,
              "network interface that the ranks of several machines speak over, such as eth0; c10d "
              "has no authentication: the network has to be trusted");
  config.number("deadline_s", deadline_s, 1.0, 86400.0,
                "seconds without a sign of life after which a rank ends the job");
  config.number("start_deadline_s", start_deadline_s, 1.0, 86400.0,
                "the same while the ranks meet, load and save");
}

}  // namespace vernier
