// plan --cluster: what a step takes on several ranks, by how they are set up, and what a rank
// holds.
#include <ATen/ATen.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <thread>

#include "core/base/buffer.h"
#include "core/base/bytes.h"
#include "core/base/clock.h"
#include "core/base/errors.h"
#include "core/base/json.h"
#include "core/comm/local_ranks.h"
#include "core/comm/ranks.h"
#include "core/comm/slices.h"
#include "core/kernels/threads.h"
#include "tools/commands.h"
#include "tools/plan_config.h"
#include "trainer/cluster_plan.h"
#include "trainer/rank_memory.h"

namespace vernier {
namespace {

constexpr int64_t kRecordedSteps = 5;  // of whose lengths a step is drawn

struct Measured {
  StepRates rates;
  double copy = 0;  // bytes/s between ranks
  int64_t processes = 1;
};

// Bytes a second by which a sum gets to all ranks, as a ring would have it.
double copy_speed(Ranks& ranks) {
  if (ranks.alone()) return 0;
  constexpr int64_t kNumbers = int64_t{8} << 20;
  at::Tensor buffer = at::zeros({kNumbers}),
             slice = at::zeros({Slices(kNumbers, ranks.size()).each()});
  double best = 0;
  for (int round = 0; round < 3; ++round) {
    ranks.any(false, "round");
    const Clock clock;
    ranks.sum_to_slices(
        buffer, 0, kNumbers,
        [&](int64_t place, const at::Tensor& sum) {
          slice.narrow(0, place, sum.numel()).copy_(sum);
        },
        "sum");
    ranks.gather_slices(slice, buffer, 0, kNumbers, "gather");
    const auto size = static_cast<double>(ranks.size());
    best = std::max(best, 2.0 * 4 * kNumbers * (size - 1) / size / clock.seconds());
  }
  return best;
}

// Every rate as the mean over the ranks, which measure at the same time: they share memory.
void share_rates(Ranks& ranks, StepRates& rates) {
  DrawRates& draw = rates.draw;
  TrainRates& train = rates.train;
  const std::vector<Seconds*> all = {
      &draw.few_rows,       &draw.many_rows,      &draw.token_seen,
      &draw.prompt_token,   &draw.pack,           &train.forward_token,
      &train.forward_seen,  &train.forward_head,  &train.backward_token,
      &train.backward_seen, &train.backward_head, &train.backward_batch,
      &train.pack,          &rates.optimizer};
  std::vector<double> own;
  for (const Seconds* one : all)
    for (const double seconds : {one->low, one->middle, one->high}) own.push_back(seconds);
  for (Seconds* one : all) *one = {};
  for (const std::string& bytes : ranks.gather(bytes_of(own), "rates")) {
    const auto of_rank = from_bytes<std::vector<double>>(bytes, "rates");
    for (size_t i = 0; i < all.size(); ++i)
      *all[i] = *all[i] + Seconds{of_rank.at(3 * i), of_rank.at(3 * i + 1), of_rank.at(3 * i + 2)} *
                              (1 / static_cast<double>(ranks.size()));
  }
}

// As many processes as a node has, where this machine has the cores for them.
int64_t processes_of(const ClusterShape& shape, const RunConfig& config) {
  if (!shape.measured()) return 1;
  const int64_t cores = std::max<int64_t>(1, std::thread::hardware_concurrency());
  const int64_t threads = std::max<int64_t>(1, config.run.threads);
  return shape.gpus * threads <= cores ? shape.gpus : 1;
}

std::string label_of(const ClusterShape& shape, int64_t processes) {
  if (!shape.measured())
    return cat("extrapolation: a ", shape.device, " at ", fixed(100 * shape.decode_share, 0),
               " % of its memory's bandwidth while drawing and ", fixed(100 * shape.train_share, 0),
               " % of its dense peak while training is assumed, not measured");
  const std::string measured = cat("measured on this machine, ", processes,
                                   processes == 1 ? " process" : " processes at once");
  if (shape.ranks() == processes) return measured;
  return cat("extrapolation to ", shape.ranks(), " ranks; ", measured);
}

// What ranks hold as the configuration has them, and what would make them fit.
struct ClusterMemory {
  PlannedRanks ranks;
  std::vector<RankMemory> kinds;
  std::vector<PlanChange> changes, together;
  int64_t peak = 0;

  ClusterMemory(const PlannedJob& job, const PlanSettings& settings, const PlannedRanks& all)
      : ranks(all), kinds(ranks_memory(job, settings, all)), peak(ranks_peak(job, settings, all)) {
    if (fits()) return;
    changes = smaller_rank_settings(job, settings, ranks);
    together = enough_for_ranks(job, settings, ranks);
  }

  bool fits() const { return peak <= ranks.budget; }
};

// Of each of the job's, which share a machine's memory out.
PlannedRanks ranks_of(const ClusterShape& shape, const RunConfig& config, int64_t base,
                      double memory_gb) {
  const int64_t given = shape.measured() ? machine_memory() / shape.gpus : shape.gpu_bytes();
  return {.count = shape.ranks(),
          .gpu = !shape.measured(),
          .base = base,
          .budget = memory_gb > 0 ? static_cast<int64_t>(memory_gb * 1e9) : given,
          .ahead = config.max_staleness > 0};
}

void print_changes(const PlannedJob& job, const ClusterMemory& memory,
                   const std::vector<PlanChange>& changes) {
  for (const PlanChange& one : changes)
    std::printf("  --set %-50s %8s MB less\n", one.keys.c_str(),
                megabytes(memory.peak - ranks_peak(job, one.settings, memory.ranks)).c_str());
}

void print(const PlannedJob& job, const ClusterMemory& memory) {
  for (const RankMemory& one : memory.kinds) {
    const RankPlace& place = one.place;
    std::printf("\na rank that %s, of %lld", place.name(),
                static_cast<long long>(place.trains ? place.training : place.drawing));
    std::printf(place.gpu ? "; of a GPU, the first row is assumed\n" : "\n");
    print_kinds(one.memory);
    print_fit(one.memory, memory.ranks.budget);
  }
  if (memory.fits()) return;
  std::printf("\neach by itself, the cheapest first\n");
  print_changes(job, memory, memory.changes);
  const bool enough = !memory.together.empty() && ranks_peak(job, memory.together.back().settings,
                                                             memory.ranks) <= memory.ranks.budget;
  std::printf(enough ? "\nenough, one after the other\n"
                     : "\nno settings make it fit: it needs more ranks, more memory or a smaller "
                       "model\n");
  print_changes(job, memory, memory.together);
}

Json changes_json(const PlannedJob& job, const ClusterMemory& memory,
                  const std::vector<PlanChange>& changes) {
  Json out = Json::array();
  for (const PlanChange& one : changes)
    out.push_back(
        {{"keys", one.keys}, {"peak_bytes", ranks_peak(job, one.settings, memory.ranks)}});
  return out;
}

Json json_of(const PlannedJob& job, const ClusterMemory& memory) {
  Json kinds = Json::array();
  for (const RankMemory& one : memory.kinds)
    kinds.push_back({{"name", one.place.name()},
                     {"drawing", one.place.drawing},
                     {"training", one.place.training},
                     {"peak_bytes", peaks_json(one.memory)},
                     {"fits", one.memory.peak() <= memory.ranks.budget},
                     {"cache_pages", one.memory.cache_pages},
                     {"cache_pages_wanted", one.memory.cache_pages_wanted},
                     {"kinds", kinds_json(one.memory)}});
  Json out = {{"given_bytes", memory.ranks.budget},
              {"gpu", memory.ranks.gpu},
              {"fits", memory.fits()},
              {"ranks", kinds}};
  if (memory.fits()) return out;
  out["changes"] = changes_json(job, memory, memory.changes);
  out["together"] = changes_json(job, memory, memory.together);
  return out;
}

void print(const ClusterPlan& plan, const ClusterShape& shape, const std::string& label) {
  std::printf("%lld nodes of %lld ranks; %s\n", static_cast<long long>(shape.nodes),
              static_cast<long long>(shape.gpus), label.c_str());
  std::printf("responses of %.1f tokens in the mean, %.0f trained tokens a step\n\n",
              plan.mean_length, plan.trained_tokens);
  std::printf("%-22s%6s%7s%10s%10s%10s%9s%10s%7s%12s%12s%9s\n", "", "draw", "train", "step s",
              "update s", "sync s", "bubble", "staleness", "rows", "tokens/s", "rank h/M", "GB");
  for (const ClusterSetup& one : plan.setups)
    std::printf("%-22s%6lld%7lld%10.3f%10.3f%10.3f%8.1f%%%10.2f%7.1f%12.0f%12.3f%9.1f\n",
                one.name.c_str(), static_cast<long long>(one.ranks.drawing),
                static_cast<long long>(one.ranks.training), one.step.step_s, one.update_s,
                one.sync_s, 100 * one.step.bubble, one.step.staleness, one.step.rows,
                one.tokens_per_s, one.hours_per_million, static_cast<double>(one.peak_bytes) / 1e9);
  std::printf(
      "\ndraw, train: ranks; bubble: share of their time with nothing to do; rank h/M: "
      "hours of a rank for a million trained tokens; GB: of memory, of the rank that holds most");
  if (shape.price > 0) {
    std::printf(" at %g each:\n", shape.price);
    for (const ClusterSetup& one : plan.setups)
      std::printf("  %-22s%.3f a million trained tokens\n", one.name.c_str(),
                  one.hours_per_million * shape.price);
  } else {
    std::printf("\n");
  }
}

Json json_of(const ClusterPlan& plan, const ClusterShape& shape, const std::string& label,
             int64_t processes) {
  Json setups = Json::array();
  for (const ClusterSetup& one : plan.setups) {
    Json row = {{"name", one.name},
                {"drawing", one.ranks.drawing},
                {"training", one.ranks.training},
                {"max_staleness", one.ranks.max_staleness},
                {"step_s", one.step.step_s},
                {"draw_s", one.step.draw_s},
                {"update_s", one.update_s},
                {"sync_s", one.sync_s},
                {"bubble", one.step.bubble},
                {"staleness", one.step.staleness},
                {"rows", one.step.rows},
                {"trained_tokens_per_s", one.tokens_per_s},
                {"rank_hours_per_million_tokens", one.hours_per_million},
                {"peak_bytes", one.peak_bytes}};
    if (shape.price > 0) row["cost_per_million_tokens"] = one.hours_per_million * shape.price;
    setups.push_back(row);
  }
  return {{"ranks", shape.ranks()},
          {"measured_processes", processes},
          {"label", label},
          {"mean_length", plan.mean_length},
          {"trained_tokens", plan.trained_tokens},
          {"setups", setups}};
}

double mean_length(const std::vector<SimulatedGroup>& groups) {
  double sum = 0, count = 0;
  for (const SimulatedGroup& group : groups)
    for (const double length : group.lengths) {
      sum += length;
      ++count;
    }
  return sum / count;
}

void plan_here(const PlanOptions& options, const RunConfig& config, const ClusterShape& shape,
               Ranks& ranks) {
  set_threads(config.run.threads, {.processes = ranks.size()});
  std::vector<SimulatedGroup> groups;
  if (!options.lengths.empty()) groups = recorded_groups(options.lengths, kRecordedSteps);
  // What is measured is measured at such lengths.
  const PlannedJob job(config, groups.empty() ? options.mean_length : mean_length(groups), true);
  if (!job.rollout()) fail("plan --cluster: the job has no RL steps (run.steps = 0)");
  const int64_t base = shape.measured() ? measure_base() : kGpuBase;
  if (config.tensor_parallel_size > 1)
    fail("plan --cluster: rollout.tensor_parallel_size: ranks are simulated with whole models");
  const PlanSettings settings(config);
  ClusterCosts costs;
  if (shape.measured()) {
    ranks.any(false, "start");
    StepRates rates = StepMeter(job).rates(settings);
    if (!ranks.alone()) share_rates(ranks, rates);
    costs = measured_costs(rates, settings, shape, copy_speed(ranks));
    if (shape.gpus > 1 && costs.local == 0)
      fail("--cluster: gpus=", shape.gpus,
           " are more processes than this machine has cores for, so "
           "local, the GB/s between the ranks of a node, has to be given");
  } else {
    costs = assumed_costs(job, settings, shape);
  }
  const PlannedDraw& draw = *job.rollout();
  if (groups.empty())
    groups.push_back({.prompt = draw.mean_prompt,
                      .lengths = std::vector<double>(static_cast<size_t>(draw.num_generations),
                                                     draw.mean_length)});
  for (SimulatedGroup& group : groups) group.prompt = draw.mean_prompt;
  const PlannedRanks planned = ranks_of(shape, config, base, options.memory_gb);
  const ClusterPlan plan =
      plan_cluster(job, settings, shape, planned, costs, std::move(groups), options.reward_s);
  if (!ranks.first()) return;
  const ClusterMemory memory(job, settings, planned);
  const std::string label = label_of(shape, ranks.size());
  if (!options.json) {
    print(plan, shape, label);
    return print(job, memory);
  }
  Json out = json_of(plan, shape, label, ranks.size());
  out["memory"] = json_of(job, memory);
  std::printf("%s\n", dump_json(out).c_str());
}

}  // namespace

int plan_cluster_command(const PlanOptions& options, const std::vector<std::string>& arguments) {
  const ClusterShape shape = read_cluster(options.cluster);
  if (!options.lengths.empty() && options.mean_length > 0)
    fail("--mean-length: --lengths has the lengths already; give one of them");
  ConfigFile file = ConfigFile::load(options.configs, options.overrides);
  const std::unique_ptr<RunConfig> config = read_only(file);
  if (config->run.device == "cuda" && shape.measured())
    fail("--cluster: run.device is \"cuda\"; name the GPU: device=a100, h100 or h200");
  const Identity identity = identity_from(process_environment());
  const int64_t processes = processes_of(shape, *config);
  if (identity.launcher == "alone" && processes > 1) return run_local_ranks(processes, arguments);
  if (identity.world_size != processes && identity.launcher != "alone")
    fail("plan --cluster: is not for the ranks of a job; start it by itself");
  Ranks ranks(identity, config->cluster, nullptr);
  ranks.run_job([&] { plan_here(options, *config, shape, ranks); });
  return 0;
}

}  // namespace vernier
