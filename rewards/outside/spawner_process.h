// What runs in the spawner's own process.
#pragma once

#include <sys/types.h>

#include <string>

namespace vernier {

/// Serves requests from `socket` until its other end is closed, or process `parent` has ended. Ends
/// the process.
[[noreturn]] void run_spawner(int socket, pid_t parent);

/// Hosts a library in a process of its own: questions on standard input, answers on standard
/// output. Ends the process.
[[noreturn]] void host_library(const std::string& path, const std::string& config);

}  // namespace vernier
