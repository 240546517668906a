// What would make a job smaller.
#include <algorithm>
#include <functional>

#include "core/base/errors.h"
#include "rollout/device_steps.h"
#include "rollout/engine.h"
#include "trainer/rank_memory.h"

namespace vernier {
namespace {

/// Bytes that are held under some settings.
using Peak = std::function<int64_t(const PlanSettings&)>;

// Other settings, one after the other.
class Changes {
 public:
  Changes(const PlannedJob& job, const PlanSettings& settings, Peak peak, int64_t budget)
      : job_(job), settings_(settings), peak_(std::move(peak)), budget_(budget) {}

  template <class Change>
  void add(const std::string& keys, const Change& change) {
    out_.push_back({keys, settings_});
    change(out_.back().settings);
  }

  // Halves a number until the job fits, or it cannot become smaller.
  template <class Number>
  void halve(const std::string& key, Number PlanSettings::*field, Number most, Number least) {
    if (most == 0) return;  // the job has none of it
    PlanSettings with = settings_;
    with.*field = std::min(with.*field, most);
    while (with.*field / 2 >= least && peak_(with) > budget_) with.*field /= 2;
    if (with.*field < settings_.*field) out_.push_back({cat(key, "=", with.*field), with});
  }

  void of_precision() {
    const bool bf16 = settings_.training.precision == kernels::Precision::bf16;
    const WeightFormat same = bf16 ? kernels::bf16_format() : WeightFormat::fp32;
    if (settings_.weights != same)  // the packed weights of training, and no others
      add(cat("rollout.weights=", bf16 ? "bf16" : "fp32"),
          [&](PlanSettings& with) { with.weights = same; });
    if (!bf16)
      add("trainer.precision=bf16 rollout.weights=bf16", [&](PlanSettings& with) {
        with.training.precision = kernels::Precision::bf16;
        with.weights = kernels::bf16_format();
      });
  }
  // On a GPU that is one copy for training and drawing.
  void of_device_precision() {
    if (settings_.training.precision == kernels::Precision::bf16 &&
        settings_.weights != WeightFormat::fp32)
      return;
    add("trainer.precision=bf16 rollout.weights=bf16", [&](PlanSettings& with) {
      with.training.precision = kernels::Precision::bf16;
      with.weights = kernels::bf16_format();
    });
  }
  void of_moments() {
    if (!settings_.moments_in_bytes)
      add("trainer.optimizer=adamw_8bit",
          [&](PlanSettings& with) { with.moments_in_bytes = true; });
  }
  void of_recomputing() {
    if (!settings_.training.recompute)
      add("trainer.activation_checkpointing=true",
          [&](PlanSettings& with) { with.training.recompute = true; });
  }
  void of_batches() {
    halve("trainer.max_tokens_per_microbatch", &PlanSettings::max_tokens, job_.update_tokens(),
          job_.longest_sequence());
    int64_t sequences = 0;
    for (const auto& draw : draws())
      if (draw) sequences = std::max(sequences, draw->sequences);
    halve("rollout.max_running", &PlanSettings::max_running, sequences, int64_t{1});
  }

  // What several ranks share out.
  void of_sharing(const PlannedRanks& ranks) {
    if (ranks.count - settings_.rollout_ranks == 1) return;  // who train
    if (settings_.shard == "none")
      add("trainer.shard=optimizer", [](PlanSettings& with) { with.shard = "optimizer"; });
    // Responses of the start policy are drawn with whole weights.
    if (settings_.shard != "full" && job_.config().chain.plan().reference_generations == 0)
      add("trainer.shard=full", [](PlanSettings& with) { with.shard = "full"; });
  }
  void of_roles(const PlannedRanks& ranks) {
    if (settings_.rollout_ranks > 0 || ranks.count == 1 || job_.config().cluster.workers.on())
      return;
    const int64_t half = ranks.count / 2;
    add(cat("rollout.mode=disaggregated rollout.ranks=", half),
        [&](PlanSettings& with) { with.rollout_ranks = half; });
  }
  // Down to the room of one response.
  void of_device_cache() {
    int64_t tokens = 0;
    for (const auto& draw : draws())
      if (draw)
        tokens =
            std::max(tokens, draw->longest_prompt + job_.config().rollout.max_completion_length);
    const int64_t page = device_page_bytes(job_.model().spec(), settings_.weights);
    const double least = static_cast<double>(page * (tokens / kernels::kKeyBlock + 2)) / 1e9;
    halve("rollout.kv_cache_gb", &PlanSettings::kv_cache_gb, settings_.kv_cache_gb, least);
  }

  // Those that are smaller.
  std::vector<PlanChange> take() {
    const int64_t now = peak_(settings_);
    std::erase_if(out_, [&](const PlanChange& change) { return peak_(change.settings) >= now; });
    return std::move(out_);
  }

 private:
  std::vector<std::optional<PlannedDraw>> draws() const {
    return {job_.rollout(), job_.evaluation(), job_.reference()};
  }

  const PlannedJob& job_;
  const PlanSettings& settings_;
  Peak peak_;
  int64_t budget_;
  std::vector<PlanChange> out_;
};

}  // namespace

std::vector<PlanChange> smaller_settings(const PlannedJob& job, const PlanSettings& settings,
                                         int64_t base, int64_t budget) {
  Changes changes(
      job, settings,
      [&](const PlanSettings& with) { return plan_memory(job, with, base, budget).peak(); },
      budget);
  changes.of_precision();
  changes.of_moments();
  changes.of_recomputing();
  changes.of_batches();
  return changes.take();
}

std::vector<PlanChange> smaller_rank_settings(const PlannedJob& job, const PlanSettings& settings,
                                              const PlannedRanks& ranks) {
  Changes changes(
      job, settings, [&](const PlanSettings& with) { return ranks_peak(job, with, ranks); },
      ranks.budget);
  ranks.gpu ? changes.of_device_precision() : changes.of_precision();
  if (!ranks.gpu) changes.of_moments();
  changes.of_sharing(ranks);
  changes.of_recomputing();
  changes.of_batches();
  if (ranks.gpu) changes.of_device_cache();
  changes.of_roles(ranks);
  return changes.take();
}

std::vector<PlanChange> enough_for_ranks(const PlannedJob& job, const PlanSettings& settings,
                                         const PlannedRanks& ranks) {
  std::vector<PlanChange> out;
  std::vector<PlanChange> left = smaller_rank_settings(job, settings, ranks);
  while (!left.empty()) {
    const auto fitting = std::ranges::find_if(left, [&](const PlanChange& one) {
      return ranks_peak(job, one.settings, ranks) <= ranks.budget;
    });
    out.push_back(fitting != left.end() ? *fitting : left.front());
    if (fitting != left.end()) return out;
    left = smaller_rank_settings(job, out.back().settings, ranks);
  }
  return out;
}

}  // namespace vernier
