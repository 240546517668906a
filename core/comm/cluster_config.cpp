#include "core/comm/cluster_config.h"

#include <ifaddrs.h>

#include <charconv>
#include <memory>
#include <set>
#include <vector>

#include "core/base/errors.h"
#include "core/base/text.h"

namespace vernier {

std::optional<std::pair<std::string, int>> host_and_port(const std::string& text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) return std::nullopt;
  std::string host = text.substr(0, colon);
  if (host.front() == '[' && host.back() == ']')
    host = host.substr(1, host.size() - 2);
  else if (host.find(':') != std::string::npos)
    return std::nullopt;
  int port = 0;
  const char *begin = text.data() + colon + 1, *end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(begin, end, port);
  if (host.empty() || error != std::errc() || stopped != end || port < 0 || port > 65535)
    return std::nullopt;
  return std::pair(host, port);
}

void check_interface(const std::string& interface, const char* key) {
  ifaddrs* list = nullptr;
  if (interface.empty() || ::getifaddrs(&list) != 0) return;
  const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> held(list, ::freeifaddrs);
  std::set<std::string> names;
  for (const ifaddrs* one = list; one != nullptr; one = one->ifa_next) names.insert(one->ifa_name);
  if (!names.contains(interface))
    fail(key, ": \"", interface, "\" is no network interface of this machine, which has ",
         join(std::vector<std::string>(names.begin(), names.end()), ", "));
}

void WorkersConfig::bind(Binder& config) {
  config.text("listen", listen,
              "HOST:PORT where workers join (vernier worker), HOST being an address of this "
              "machine; port 0: any that is free, which the log tells; empty: nobody may join");
  config.text("secret", secret,
              "file with the secret that job and workers share, which only its owner may read; of "
              "at least 16 bytes, as openssl rand -hex 32 writes");
  config.number("at_start", at_start, 0, 4096,
                "workers that the first step waits for, as long as cluster.start_deadline_s");
  config.only_if("at_start", on(), "listen = \"\"");
  config.only_if("secret", on(), "listen = \"\"");
  if (on() && !host_and_port(listen))
    config.error("listen", "'" + listen + "' is not HOST:PORT, as 127.0.0.1:29600");
  if (on() && secret.empty())
    config.error("secret", "is not given, and workers are to join: nobody may without one");
}

void ClusterConfig::bind(Binder& config) {
  config.text("interface", interface,
              "network interface that the ranks of several machines, and workers, speak over, such "
              "as eth0; c10d has no authentication: the network has to be trusted");
  config.number("deadline_s", deadline_s, 1.0, 86400.0,
                "seconds without a sign of life after which a rank ends the job, and a worker is "
                "taken for lost");
  config.number("start_deadline_s", start_deadline_s, 1.0, 86400.0,
                "the same while the ranks meet, load and save");
  config.number("flight_recorder", flight_recorder, 0, 1 << 20,
                "run.device = \"cuda\": operations of NCCL that each rank remembers; its log has "
                "them where the job ends because a rank is gone or stuck");
  config.table("workers", [&](Binder& table) { workers.bind(table); });
}

}  // namespace vernier
