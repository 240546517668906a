// plan: what a job takes in memory and time, and what would make it fit.
#include <algorithm>
#include <cstdio>

#include "core/base/buffer.h"
#include "core/base/errors.h"
#include "core/base/json.h"
#include "core/base/pool.h"
#include "core/kernels/machine.h"
#include "core/kernels/threads.h"
#include "tools/commands.h"
#include "tools/plan_config.h"
#include "trainer/step_time.h"

namespace vernier {
namespace {

// A change of settings with what it does to the peak and to a step.
struct Effect {
  PlanChange change;
  int64_t peak = 0;
  double step_s = 0;
};

struct Plan {
  const PlannedJob& job;
  PlanSettings settings;
  int64_t base, budget;
  MemoryPlan memory;
  StepTime time;
  std::optional<int64_t> largest;
  std::vector<Effect> changes;   // cheapest first; only where the job does not fit
  std::vector<Effect> together;  // those that make it fit, each over the ones before
};

std::vector<Effect> effects_of(const Plan& plan, const PlanSettings& settings, StepMeter& meter) {
  std::vector<Effect> out;
  for (PlanChange& change : smaller_settings(plan.job, settings, plan.base, plan.budget)) {
    const MemoryPlan memory = plan_memory(plan.job, change.settings, plan.base, plan.budget);
    const double seconds = plan.memory.has[kLearning]
                               ? step_time(plan.job, change.settings, meter.rates(change.settings),
                                           memory.cache_room())
                                     .all()
                                     .middle
                               : 0;
    out.push_back({std::move(change), memory.peak(), seconds});
  }
  std::stable_sort(out.begin(), out.end(),
                   [](const Effect& a, const Effect& b) { return a.step_s < b.step_s; });
  return out;
}

// The cheapest that fits by itself; where none does, the cheapest, and on from there.
void find_changes(Plan& plan, StepMeter& meter) {
  plan.changes = effects_of(plan, plan.settings, meter);
  std::vector<Effect> left = plan.changes;
  while (!left.empty()) {
    const auto fitting = std::find_if(left.begin(), left.end(),
                                      [&](const Effect& one) { return one.peak <= plan.budget; });
    plan.together.push_back(fitting != left.end() ? *fitting : left.front());
    if (fitting != left.end()) return;
    left = effects_of(plan, plan.together.back().change.settings, meter);
  }
}

Json seconds_json(const Seconds& seconds) {
  return {{"low", seconds.low}, {"middle", seconds.middle}, {"high", seconds.high}};
}

Json effects_json(const std::vector<Effect>& effects) {
  Json out = Json::array();
  for (const Effect& one : effects)
    out.push_back({{"keys", one.change.keys}, {"peak_bytes", one.peak}, {"step_s", one.step_s}});
  return out;
}

Json model_json(const PlannedJob& job) {
  const Decoder& model = job.model();
  const ModelSpec& spec = model.spec();
  return {{"parameters", model.num_parameters()}, {"embedding", spec.vocab_size * spec.hidden_size},
          {"trained", model.num_parameters()},    {"layers", spec.num_hidden_layers},
          {"hidden_size", spec.hidden_size},      {"vocab_size", spec.vocab_size}};
}

Json memory_json(const Plan& plan) {
  return {{"given_bytes", plan.budget},
          {"free_bytes", available_memory()},
          {"peak_bytes", peaks_json(plan.memory)},
          {"fits", plan.memory.peak() <= plan.budget},
          {"activations_released_after_steps", plan.memory.releases_activations},
          {"kinds", kinds_json(plan.memory)}};
}

Json time_json(const Plan& plan) {
  const StepTime& time = plan.time;
  return {{"reference_s", seconds_json(time.reference)},
          {"prompts_s", seconds_json(time.prompts)},
          {"decoding_s", seconds_json(time.decoding)},
          {"forward_s", seconds_json(time.forward)},
          {"backward_s", seconds_json(time.backward)},
          {"optimizer_s", seconds_json(time.optimizer)},
          {"step_s", seconds_json(time.all())},
          {"decoding_passes", time.passes},
          {"microbatches", time.microbatches}};
}

Json machine_json() {
  return {{"kernels", kernels::instruction_set()},
          {"threads", kernel_pool().threads()},
          {"read_gb_per_s", kernels::read_gb_per_s()},
          {"fp32_gflops", kernels::peak_gflops(kernels::WeightFormat::fp32)},
          {"bf16_gflops", kernels::peak_gflops(kernels::bf16_format())}};
}

Json json_of(const Plan& plan) {
  Json out = {{"model", model_json(plan.job)}, {"memory", memory_json(plan)}};
  if (plan.memory.has[kLearning]) {
    out["mean_length"] = plan.job.rollout()->mean_length;
    out["machine"] = machine_json();
    out["time"] = time_json(plan);
    out["max_tokens_per_microbatch"] = plan.settings.max_tokens;
    out["largest_microbatch"] = plan.largest ? Json(*plan.largest) : Json(nullptr);
    out["update_tokens"] = plan.job.update_tokens();
  }
  if (!plan.changes.empty()) {
    out["changes"] = effects_json(plan.changes);
    out["together"] = effects_json(plan.together);
  }
  return out;
}

void print_memory(const Plan& plan) {
  std::printf("\n");
  print_kinds(plan.memory);
  print_fit(plan.memory, plan.budget);
  const int64_t free = available_memory(), peak = plan.memory.peak();
  if (peak <= plan.budget && peak > free)
    std::printf("only %s MB are free now\n", megabytes(free).c_str());
  if (plan.memory.releases_activations)
    std::printf("activations are given back after every step: rollouts would lack the memory\n");
}

void print_time(const Plan& plan) {
  const StepTime& time = plan.time;
  std::printf("\ntime of a step, s (lowest to highest)\n");
  const auto row = [](const char* name, const Seconds& seconds) {
    std::printf("  %-30s%11.3f   %.3f to %.3f\n", name, seconds.middle, seconds.low, seconds.high);
  };
  if (plan.job.reference()) row("start policy, first epoch", time.reference);
  row("prompts", time.prompts);
  row("decoding", time.decoding);
  row("forward", time.forward);
  row("backward", time.backward);
  row("optimizer", time.optimizer);
  row("all", time.all());
  std::printf("\n%lld passes of decoding, %lld micro-batches an update, %lld updates a step\n",
              static_cast<long long>(time.passes), static_cast<long long>(time.microbatches),
              static_cast<long long>(plan.job.updates()));
}

void print_effects(const Plan& plan, const std::vector<Effect>& effects) {
  const double step = plan.time.all().middle;
  for (const Effect& one : effects)
    std::printf("  --set %-50s %8s MB less, %+.0f %% time\n", one.change.keys.c_str(),
                megabytes(plan.memory.peak() - one.peak).c_str(),
                step > 0 ? 100 * (one.step_s / step - 1) : 0.0);
}

void print(const Plan& plan) {
  const Decoder& model = plan.job.model();
  std::printf("parameters %lld, all trained; %lld of them token embeddings\n",
              static_cast<long long>(model.num_parameters()),
              static_cast<long long>(model.spec().vocab_size * model.spec().hidden_size));
  if (plan.job.rollout())
    std::printf("assumed: prompts of the first step, responses of %.1f tokens\n",
                plan.job.rollout()->mean_length);
  print_memory(plan);
  if (plan.memory.has[kLearning]) {
    print_time(plan);
    std::printf("max_tokens_per_microbatch: %lld is set, ",
                static_cast<long long>(plan.settings.max_tokens));
    if (!plan.largest)
      std::printf("no value fits\n");
    else if (*plan.largest == plan.job.update_tokens())
      std::printf("all %lld of an update fit in one\n", static_cast<long long>(*plan.largest));
    else
      std::printf("%lld is the largest that fits\n", static_cast<long long>(*plan.largest));
  }
  if (plan.memory.peak() <= plan.budget) return;
  std::printf("\neach by itself, in order of its cost\n");
  print_effects(plan, plan.changes);
  if (plan.together.empty() || plan.together.back().peak > plan.budget)
    std::printf("\nno settings make it fit: it needs more memory or a smaller model\n");
  else
    std::printf("\nenough, one after the other\n");
  print_effects(plan, plan.together);
}

}  // namespace

std::unique_ptr<RunConfig> read_only(ConfigFile& file) {
  auto config = std::make_unique<RunConfig>();
  config->scoring.only_read = true;
  file.bind([&](Binder& root) { config->bind(root); });
  return config;
}

void plan_command(const PlanOptions& options) {
  if (!options.lengths.empty() || options.reward_s > 0)
    fail("--lengths and --reward-s: go with --cluster");
  ConfigFile file = ConfigFile::load(options.configs, options.overrides);
  const std::unique_ptr<RunConfig> config = read_only(file);
  set_threads(config->run.threads);
  const PlannedJob job(*config, options.mean_length);
  Plan plan{.job = job,
            .settings = PlanSettings(*config),
            .base = measure_base(),
            .budget = options.memory_gb > 0 ? static_cast<int64_t>(options.memory_gb * 1e9)
                                            : machine_memory(),
            .memory = {},
            .time = {},
            .largest = {},
            .changes = {},
            .together = {}};
  plan.memory = plan_memory(job, plan.settings, plan.base, plan.budget);
  StepMeter meter(job);
  if (plan.memory.has[kLearning]) {
    plan.time = step_time(job, plan.settings, meter.rates(plan.settings), plan.memory.cache_room());
    plan.largest = largest_microbatch(job, plan.settings, plan.base, plan.budget);
  }
  if (plan.memory.peak() > plan.budget) find_changes(plan, meter);
  if (options.json)
    std::printf("%s\n", dump_json(json_of(plan)).c_str());
  else
    print(plan);
}

}  // namespace vernier
