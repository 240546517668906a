// Weights from one process to another: Ranks::copy_from_first beside gloo's own broadcast.
#include <ATen/ATen.h>
#include <unistd.h>

#include <algorithm>
#include <torch/csrc/distributed/c10d/FileStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include "core/base/clock.h"
#include "core/base/errors.h"
#include "core/base/files.h"
#include "core/comm/local_ranks.h"
#include "core/comm/ranks.h"
#include "tools/bench_parts.h"

namespace vernier {

int bench_sync(const SyncBench& options, const std::vector<std::string>& arguments) {
  const Identity identity = identity_from(process_environment());
  if (identity.launcher == "alone") {
    std::vector<std::string> words = arguments;
    const fs::path store = fs::temp_directory_path() / cat("vernier-sync-", ::getpid());
    words.insert(words.end(), {"--store", store.string()});
    const int code = run_local_ranks(options.ranks, words);
    fs::remove(store);
    return code;
  }
  Ranks ranks(identity, {.interface = "", .deadline_s = 60, .start_deadline_s = 60, .workers = {}},
              nullptr);
  const auto gloo = c10d::ProcessGroupGloo::Options::create(std::chrono::seconds(60));
  gloo->devices.push_back(c10d::ProcessGroupGloo::createDeviceForHostname("127.0.0.1"));
  c10d::ProcessGroupGloo peer(
      c10::make_intrusive<c10d::FileStore>(options.store, static_cast<int>(ranks.size())),
      static_cast<int>(ranks.rank()), static_cast<int>(ranks.size()), gloo);
  at::Tensor weights = at::full({options.parameters}, static_cast<float>(ranks.rank()));
  std::vector<double> ours, theirs;
  for (int64_t round = 0; round < options.rounds; ++round) {
    ranks.any(false, "round");
    const Clock own;
    ranks.copy_from_first(weights, 0, "weights");
    ours.push_back(own.seconds());
    ranks.any(false, "round");
    std::vector<at::Tensor> tensors = {weights};
    const Clock other;
    peer.broadcast(tensors)->wait();
    ranks.any(false, "round");  // a sender is done before the other has it all
    theirs.push_back(other.seconds());
  }
  const double gigabytes = static_cast<double>(weights.nbytes()) / 1e9;
  if (ranks.first()) {
    const Json out = {{"ranks", ranks.size()},
                      {"parameters", options.parameters},
                      {"rounds", options.rounds},
                      {"sync_s", median(ours)},
                      {"sync_gb_per_s", gigabytes / median(ours)},
                      {"gloo_gb_per_s", gigabytes / median(theirs)},
                      {"share_of_gloo", median(theirs) / median(ours)}};
    std::printf("%s\n", dump_json(out).c_str());
  }
  ranks.leave();
  return 0;
}

}  // namespace vernier
