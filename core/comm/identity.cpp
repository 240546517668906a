#include "core/comm/identity.h"

#include <xxhash.h>

#include <charconv>
#include <cstdlib>
#include <limits>

#include "core/base/errors.h"

namespace vernier {
namespace {

// Ports that no well-known service has and that the system hands out to nobody by itself.
constexpr int64_t kFirstPort = 20000, kPorts = 10000;

class Variables {
 public:
  explicit Variables(const Environment& environment) : environment_(environment) {}

  std::optional<std::string> text(const char* name) const {
    std::optional<std::string> found = environment_(name);
    return found && !found->empty() ? found : std::nullopt;
  }

  std::optional<int64_t> number(const char* name, int64_t most) const {
    const std::optional<std::string> found = text(name);
    if (!found) return std::nullopt;
    int64_t value = -1;
    const char* end = found->data() + found->size();
    const auto parsed = std::from_chars(found->data(), end, value);
    if (parsed.ec != std::errc() || parsed.ptr != end || value < 0 || value > most)
      fail("environment: ", name, " = \"", *found, "\": expected a number from 0 to ", most);
    return value;
  }

  int64_t needed(const char* name, const char* beside, int64_t most) const {
    if (const auto found = number(name, most)) return *found;
    fail("environment: ", name, " is not set, ", beside, " is: a rank needs both");
  }

 private:
  const Environment& environment_;
};

constexpr int64_t kMostRanks = 1 << 20;

void check(const Identity& one, const char* rank, const char* size, const char* local_rank,
           const char* local_size) {
  if (one.world_size < 1 || one.rank >= one.world_size)
    fail("environment: ", rank, " = ", one.rank, " and ", size, " = ", one.world_size,
         ": ranks go from 0 to the size less 1");
  if (one.local_world_size < 1 || one.local_rank >= one.local_world_size ||
      one.local_world_size > one.world_size)
    fail("environment: ", local_rank, " = ", one.local_rank, " and ", local_size, " = ",
         one.local_world_size,
         ": ranks of a machine go from 0 to their number less 1, which is at "
         "most the ",
         one.world_size, " of ", size);
}

void set_meeting(const Variables& env, Identity& out) {
  out.address = env.text("MASTER_ADDR").value_or(out.address);
  if (const auto port = env.number("MASTER_PORT", std::numeric_limits<uint16_t>::max()))
    out.port = static_cast<uint16_t>(*port);
  if (out.world_size == 1) return;
  if (out.address.empty())
    fail("environment: MASTER_ADDR is not set: the host of rank 0, where the ranks meet");
  if (out.port == 0)
    fail("environment: MASTER_PORT is not set: a free port on ", out.address,
         ", where the ranks meet");
}

// A port of the job, the same on all of its hosts.
uint16_t port_of(uint64_t job) {
  return static_cast<uint16_t>(kFirstPort + static_cast<int64_t>(job % kPorts));
}

Identity of_variables(const Variables& env) {
  Identity out;
  out.launcher = env.text("TORCHELASTIC_RUN_ID") ? "torchrun"
                 : env.text("VERNIER_STORE_FD")  ? "--nproc"
                                                 : "RANK and WORLD_SIZE";
  out.rank = env.needed("RANK", "WORLD_SIZE", kMostRanks);
  out.world_size = env.needed("WORLD_SIZE", "RANK", kMostRanks);
  out.local_rank = env.number("LOCAL_RANK", kMostRanks).value_or(0);
  out.local_world_size = env.number("LOCAL_WORLD_SIZE", kMostRanks).value_or(1);
  out.agent_store = env.text("TORCHELASTIC_USE_AGENT_STORE").value_or("") == "True";
  if (const auto fd = env.number("VERNIER_STORE_FD", kMostRanks); fd && out.rank == 0)
    out.listener = static_cast<int>(*fd);
  check(out, "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE");
  set_meeting(env, out);
  return out;
}

Identity of_open_mpi(const Variables& env) {
  Identity out;
  out.launcher = "Open MPI";
  out.rank = env.needed("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", kMostRanks);
  out.world_size = env.needed("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", kMostRanks);
  out.local_rank = env.number("OMPI_COMM_WORLD_LOCAL_RANK", kMostRanks).value_or(0);
  out.local_world_size = env.number("OMPI_COMM_WORLD_LOCAL_SIZE", kMostRanks).value_or(1);
  check(out, "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK",
        "OMPI_COMM_WORLD_LOCAL_SIZE");
  if (out.on_one_machine()) out.address = "127.0.0.1";
  const std::string job =
      env.text("PMIX_NAMESPACE").value_or(env.text("OMPI_MCA_ess_base_jobid").value_or(""));
  if (!job.empty()) out.port = port_of(XXH3_64bits(job.data(), job.size()));
  set_meeting(env, out);
  return out;
}

// Tasks on this node, of a list such as "2(x3),1" by node.
int64_t tasks_here(const std::string& list, int64_t node) {
  size_t at = 0;
  while (at < list.size()) {
    size_t end = list.find(',', at);
    if (end == std::string::npos) end = list.size();
    const std::string part = list.substr(at, end - at);
    int64_t tasks = 0, times = 1;
    const char *first = part.data(), *last = part.data() + part.size();
    auto parsed = std::from_chars(first, last, tasks);
    if (parsed.ec == std::errc() && parsed.ptr + 2 < last && parsed.ptr[0] == '(' &&
        parsed.ptr[1] == 'x')
      parsed = std::from_chars(parsed.ptr + 2, last, times);
    if (parsed.ec != std::errc()) break;
    if (node < times) return tasks;
    node -= times;
    at = end + 1;
  }
  fail("environment: SLURM_STEP_TASKS_PER_NODE = \"", list,
       "\": expected the tasks of every node, such as 2(x3),1");
}

Identity of_slurm(const Variables& env) {
  Identity out;
  out.launcher = "Slurm";
  out.rank = env.needed("SLURM_PROCID", "SLURM_STEP_ID", kMostRanks);
  out.world_size = env.needed("SLURM_STEP_NUM_TASKS", "SLURM_STEP_ID", kMostRanks);
  out.local_rank = env.needed("SLURM_LOCALID", "SLURM_STEP_ID", kMostRanks);
  const std::string tasks = env.text("SLURM_STEP_TASKS_PER_NODE").value_or("");
  out.local_world_size =
      tasks.empty() ? out.world_size
                    : tasks_here(tasks, env.number("SLURM_NODEID", kMostRanks).value_or(0));
  check(out, "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID",
        tasks.empty() ? "SLURM_STEP_NUM_TASKS" : "SLURM_STEP_TASKS_PER_NODE");
  const auto job = env.number("SLURM_JOB_ID", std::numeric_limits<int64_t>::max());
  const auto step = env.number("SLURM_STEP_ID", std::numeric_limits<int64_t>::max());
  if (job) out.port = port_of(static_cast<uint64_t>(*job) * 31 + static_cast<uint64_t>(*step));
  const std::string nodes = env.text("SLURM_STEP_NODELIST").value_or("");
  if (out.on_one_machine())
    out.address = "127.0.0.1";
  else if (!nodes.empty())
    out.address = first_host(nodes);
  set_meeting(env, out);
  return out;
}

}  // namespace

Environment process_environment() {
  return [](const char* name) -> std::optional<std::string> {
    const char* value = std::getenv(name);
    return value == nullptr ? std::nullopt : std::optional<std::string>(value);
  };
}

Identity identity_from(const Environment& environment) {
  const Variables env(environment);
  if (env.text("RANK") || env.text("WORLD_SIZE")) return of_variables(env);
  if (env.text("OMPI_COMM_WORLD_RANK") || env.text("OMPI_COMM_WORLD_SIZE")) return of_open_mpi(env);
  if (env.text("SLURM_STEP_ID") && env.number("SLURM_STEP_NUM_TASKS", kMostRanks).value_or(1) > 1)
    return of_slurm(env);
  return {};
}

std::string description_of(const Identity& one) {
  if (one.launcher == "alone") return "alone";
  std::string out = cat("rank ", one.rank, " of ", one.world_size, " (", one.launcher);
  if (!one.on_one_machine())
    out += cat("; ", one.local_rank, " of ", one.local_world_size, " on this machine");
  if (one.world_size > 1) out += cat("; store at ", one.address, ":", one.port);
  return out + ")";
}

std::string first_host(const std::string& list) {
  const size_t bracket = list.find('['), comma = list.find(',');
  const auto wrong = [&] {
    fail("environment: SLURM_STEP_NODELIST = \"", list,
         "\": expected hosts, such as gpu[01-04,7],login");
  };
  if (bracket == std::string::npos || comma < bracket) {
    const std::string host = list.substr(0, comma);
    if (host.empty()) wrong();
    return host;
  }
  const size_t close = list.find(']', bracket);
  if (close == std::string::npos) wrong();
  const size_t end = list.find_first_of("-,]", bracket);
  const std::string number = list.substr(bracket + 1, end - bracket - 1);
  if (number.empty()) wrong();
  size_t rest = list.find(',', close);
  if (const size_t next = list.find('[', close); next < rest) wrong();
  if (rest == std::string::npos) rest = list.size();
  return list.substr(0, bracket) + number + list.substr(close + 1, rest - close - 1);
}

}  // namespace vernier
