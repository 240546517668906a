#include "core/comm/nccl_environment.h"

#include <cstdlib>
#include <string>

#include "core/base/text.h"

namespace vernier {

void set_nccl_environment(const ClusterConfig& config) {
  const auto set = [](const char* name, const std::string& value, bool always = false) {
    ::setenv(name, value.c_str(), always ? 1 : 0);
  };
  // Our watch says who is gone, with a name: torch's watchdog is neither to end the process before
  // it (torchrun asks for that), nor to tell later tries of the job through the launcher's store
  // that they are to end.
  set("TORCH_NCCL_ASYNC_ERROR_HANDLING", "0", /*always=*/true);
  set("TORCH_NCCL_RETHROW_CUDA_ERRORS", "0", /*always=*/true);
  set("TORCH_NCCL_ENABLE_MONITORING", "0");
  set("TORCH_NCCL_DUMP_ON_TIMEOUT", "0");
  set("TORCH_NCCL_WAIT_TIMEOUT_DUMP_MILSEC", "1000");
  // What the configuration says holds; an older name of the same would go before it.
  ::unsetenv("TORCH_NCCL_TRACE_BUFFER_SIZE");
  set("TORCH_FR_BUFFER_SIZE", cat(config.flight_recorder), /*always=*/true);
  // "=": the whole name.
  if (config.interface.empty())
    set("NCCL_SOCKET_IFNAME", "lo");
  else
    set("NCCL_SOCKET_IFNAME", "=" + config.interface, /*always=*/true);
}

}  // namespace vernier
