// Who this process is among the ranks of a job, as its launcher says.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace vernier {

struct Identity {
  int64_t rank = 0, world_size = 1;
  int64_t local_rank = 0, local_world_size = 1;  // on this machine
  std::string launcher = "alone";
  // Where the ranks meet: rank 0 listens there, or under torchrun its agent does.
  std::string address;
  uint16_t port = 0;
  std::optional<int> listener;  // socket that rank 0 was handed, bound and listening
  bool agent_store = false;     // the store is the agent's: no rank of ours listens

  bool on_one_machine() const { return local_world_size == world_size; }
  /// Whether the launcher may have given each rank cores of its own, as srun and mpirun do.
  bool may_be_bound() const { return launcher == "Slurm" || launcher == "Open MPI"; }
};

/// Looks up a variable of the environment.
using Environment = std::function<std::optional<std::string>(const char*)>;
Environment process_environment();

/// The first of these that applies: RANK and WORLD_SIZE (torchrun, --nproc, Kubernetes);
/// OMPI_COMM_WORLD_* (Open MPI); a Slurm step of more than one task (a batch shell alone, which has
/// SLURM_PROCID too, is one process); else this process is alone. Throws UsageError that names the
/// variable where one is missing, is no number, or does not fit another.
Identity identity_from(const Environment& environment);

/// "rank 1 of 4 (torchrun; 1 of 2 on this machine; store at 10.0.0.1:29500)", or
/// "alone".
std::string description_of(const Identity& identity);

/// The first host in a list as Slurm writes it: "gpu[03-07,9],login" is "gpu03". Throws
/// UsageError on an empty list or an open bracket.
std::string first_host(const std::string& list);

}  // namespace vernier
