#include "trainer/rank_memory.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "core/comm/buckets.h"
#include "core/comm/ranks.h"
#include "core/model/kv_cache.h"
#include "rollout/device_steps.h"
#include "rollout/engine.h"
#include "trainer/adamw.h"
#include "trainer/gradient_sum.h"
#include "trainer/sharded_weights.h"

namespace vernier {

const char* RankPlace::name() const {
  if (draws && trains) return "draws and trains";
  return draws ? "only samples" : "trains";
}

namespace {

// The pages of a cache that serves some draws, and those that are written.
struct CachePages {
  int64_t wanted = 0, written = 0, in_use = 0;
  StepLimits limits;  // of a runner that serves them, the largest
};

// Fills a MemoryPlan, kind by kind.
class RankSum {
 public:
  RankSum(const PlannedJob& job, const PlanSettings& settings, const RankPlace& place, int64_t base,
          int64_t budget)
      : job_(job), settings_(settings), place_(place), base_(base), budget_(budget) {
    const RunConfig& config = job.config();
    learns_ = place.trains && config.run.steps > 0;
    warms_ = place.trains && config.sft.steps > 0;
    const bool samples = place.draws && (config.run.steps > 0 || config.run.eval_every > 0);
    plan_.has = {true, warms_, samples, learns_};
    // What ranks share out among them is each rank's where one alone trains.
    const bool several = place.trains && place.training > 1;
    sharded_ = several && settings.shard == "full";
    slices_moments_ = several && settings.shard != "none";
  }

  MemoryPlan run() {
    add_model();
    add_between_ranks();
    add_reference();
    place_.gpu ? add_rounded() : add_packed();
    add_passes();
    add_sampling();
    return std::move(plan_);
  }

 private:
  void add(const std::string& name, int64_t loading, int64_t warm, int64_t sampling,
           int64_t learning) {
    if (loading + warm + sampling + learning == 0) return;
    plan_.kinds.push_back({name, {loading, warm, sampling, learning}});
    for (size_t phase = 0; phase < plan_.has.size(); ++phase)
      if (!plan_.has[phase]) plan_.kinds.back().bytes[phase] = 0;
  }
  void add_always(const std::string& name, int64_t bytes) { add(name, bytes, bytes, bytes, bytes); }
  // Once there, it stays.
  void add_from(const std::string& name, bool before_sampling, int64_t bytes) {
    add(name, 0, bytes, before_sampling ? bytes : 0, bytes);
  }
  // What passes take: a GPU's allocator keeps it for the next ones.
  void add_of_passes(const std::string& name, int64_t warm, int64_t learning, bool stays = false) {
    add(name, 0, warm, stays || place_.gpu ? learning : 0, learning);
  }

  bool passes() const { return warms_ || learns_; }
  bool samples() const { return plan_.has[kSampling]; }
  bool rounds() const { return settings_.training.precision == kernels::Precision::bf16; }
  // All weights are here: drawn with, or not shared out.
  bool whole() const { return place_.draws || !sharded_; }
  // With the gaps between them. The decoder only gives them to be written.
  int64_t weight_count() const { return const_cast<Decoder&>(job_.model()).weights().numel(); }
  int64_t slice_count() const { return Slices(weight_count(), place_.training).each(); }
  // An update is computed in so many.
  int64_t parts() const {
    return job_.config().run.deterministic ? Team::kVirtualShards : place_.training;
  }

  void add_model() {
    const int64_t weights = 4 * weight_count();
    const int64_t moments =
        place_.trains ? OptimizerState::bytes(slices_moments_ ? slice_count() : weight_count(),
                                              settings_.moments_in_bytes)
                      : 0;
    add_always(place_.gpu ? "context and libraries" : "process and libraries", base_);
    if (whole()) add_always(sharded_ ? "weights for drawing" : "weights", weights);
    if (sharded_) add_always("slice of the weights", 4 * slice_count());
    if (place_.ahead) add_always("weights on their way", weights);
    // The files are closed before the moments come.
    if (!place_.gpu)
      add("files of the model", std::max<int64_t>(0, job_.file_bytes() - moments), 0, 0, 0);
    if (!sharded_ && place_.trains) add_from("gradients", passes(), weights);
    add_always("moments of AdamW", moments);
  }

  // The sum of the gradients, what is on its way to and from other ranks, units that are gathered.
  void add_between_ranks() {
    if (parts() == 1 || !passes()) return;
    const auto rounds_of_sum = static_cast<uint64_t>(parts() / place_.training);
    const int64_t depth = std::bit_width(rounds_of_sum);  // of the tree over them, and the sum
    add_of_passes("sum of the gradients", 4 * slice_count() * depth, 4 * slice_count() * depth);
    if (place_.training == 1) return;
    const int64_t bucket = largest_bucket(
        weight_count(), place_.training, place_.gpu ? Ranks::kGpuBucketBytes : Ranks::kBucketBytes);
    // What is sent and what arrives, and for whole weights again beside units.
    const int64_t rooms = sharded_ && place_.draws ? 2 : 1;
    add_from("on its way between ranks", true, rooms * 2 * bucket);
    if (!sharded_) return;
    const int64_t gathered = ShardedWeights::most_bytes(job_.model(), place_.gpu && rounds(), true);
    add_of_passes("units of the weights", gathered, gathered);
  }

  void add_reference() {
    const RunConfig& config = job_.config();
    if (config.run.steps == 0 || !config.needs_reference()) return;
    const bool asked = place_.draws && job_.reference().has_value();
    const Algorithm& algorithm = *config.algorithm;
    const bool reads =
        algorithm.reference_kl() > 0 &&
        ((place_.trains && place_.draws) ||
         (place_.trains ? algorithm.loss_reads_reference() : algorithm.credit_needs().reference));
    const int64_t bytes = 4 * (sharded_ ? slice_count() : weight_count());
    const int64_t all =
        bytes + (place_.gpu ? rounded_reference(asked, reads) : packed_reference(asked, reads));
    add("reference policy", 0, 0, all, all);
  }

  int64_t packed_reference(bool asked, bool reads) const {
    const auto drawn_with = asked ? std::optional(settings_.weights) : std::nullopt;
    const auto read_with = reads ? std::optional(settings_.training.precision) : std::nullopt;
    int64_t all =
        sharded_ ? (reads ? packed_unit() : 0) : packed_bytes(job_.model(), drawn_with, read_with);
    if (reads) {
      const PassMemory pass = forward_pass(job_.model(), largest(), settings_.training,
                                           /*threads=*/0);
      all += pass.kept + pass.scratch + pass.head;
    }
    return all;
  }

  // Its passes find the memory that those of training give back.
  int64_t rounded_reference(bool asked, bool reads) const {
    const bool drawn = asked && settings_.weights != WeightFormat::fp32;
    int64_t all = !sharded_ && (drawn || (reads && rounds())) ? 2 * weight_count() : 0;
    if (reads && !passes()) {
      const PassMemory pass = device_forward_pass(job_.model(), largest(), settings_.training);
      all += pass.all();
    }
    return all;
  }

  BatchSize largest() const { return job_.largest(settings_.max_tokens, parts()); }

  // Of one layer as training reads it.
  int64_t packed_unit() const {
    return packed_bytes(job_.model(), std::nullopt, settings_.training.precision) /
           std::ssize(job_.model().layers());
  }

  void add_packed() {
    const kernels::Precision precision = settings_.training.precision;
    const auto drawing = samples() ? std::optional(settings_.weights) : std::nullopt;
    const auto training = passes() && !sharded_ ? std::optional(precision) : std::nullopt;
    const int64_t unit = sharded_ && passes() ? packed_unit() : 0;
    const int64_t warm = sharded_ ? unit : packed_bytes(job_.model(), std::nullopt, precision);
    const int64_t all = packed_bytes(job_.model(), drawing, training) + unit;
    add("packed weights", 0, warm, all, all);
    if (place_.trains)
      add_from("a layer packed for gradients", passes(),
               backward_packed_bytes(job_.model(), precision));
  }

  // One copy for engine and training (Decoder::bf16_weights).
  void add_rounded() {
    const bool drawn = samples() && settings_.weights != WeightFormat::fp32;
    const bool trained = passes() && !sharded_ && rounds();
    const int64_t bytes = drawn || trained ? 2 * weight_count() : 0;
    add("weights in bf16", 0, trained ? bytes : 0, bytes, bytes);
  }

  void add_passes() {
    if (!passes()) return;
    const BatchSize warm = job_.largest_demonstrations(settings_.max_tokens, parts());
    const BatchSize rl = largest();
    const BatchSize both{.rows = std::max(warm.rows, rl.rows),
                         .head_rows = std::max(warm.head_rows, rl.head_rows),
                         .keys = std::max(warm.keys, rl.keys),
                         .longest = std::max(warm.longest, rl.longest)};
    const auto pass = [&](const BatchSize& batch) {
      return place_.gpu ? device_training_pass(job_.model(), batch, settings_.training)
                        : training_pass(job_.model(), batch, settings_.training, job_.threads());
    };
    const PassMemory first = pass(warm), all = pass(both);
    kept_ = all.kept;
    add_of_passes("activations", first.kept, all.kept, true);
    add_of_passes("hidden states", first.hidden, all.hidden);
    add_of_passes("arrays of a layer", first.scratch, all.scratch, true);
    add_of_passes("arrays of the head", first.head, all.head, true);
  }

  // Responses that the engine is opened for, by the rule of Engine::generate().
  int64_t opened_for(const PlannedDraw& draw) const {
    if (place_.drawing == 1) return draw.sequences;
    const PromptShare share{.next = [] { return int64_t{0}; }, .ranks = place_.drawing};
    return share.most_open(draw.sequences, settings_.max_running) + draw.of_configuration;
  }
  // Those that a rank draws in all.
  int64_t share_of(const PlannedDraw& draw) const {
    const int64_t groups = draw.sequences / draw.num_generations;
    return (groups + place_.drawing - 1) / place_.drawing * draw.num_generations;
  }

  CachePages pages_of(const std::vector<std::optional<PlannedDraw>>& draws) const {
    CachePages out;
    RolloutConfig config = job_.config().rollout;
    config.max_running = settings_.max_running;
    for (const auto& draw : draws) {
      if (!draw) continue;
      const int64_t running = std::min(settings_.max_running, opened_for(*draw));
      config.num_generations = draw->of_configuration;
      const int64_t wanted = Engine::pages_wanted(config, running, draw->longest_prompt);
      config.num_generations = draw->num_generations;
      const int64_t written = Engine::pages_written(
          config, share_of(*draw), std::llround(draw->mean_prompt), draw->mean_length);
      out.wanted = std::max(out.wanted, wanted);
      out.written = std::max(out.written, std::min(wanted, written));
      out.limits.slots = std::max(out.limits.slots, running);
      out.limits.longest =
          std::max(out.limits.longest, draw->longest_prompt + config.max_completion_length);
    }
    if (const auto& draw = job_.rollout()) {
      config.num_generations = draw->num_generations;
      out.in_use = Engine::pages_written(config, std::min(settings_.max_running, share_of(*draw)),
                                         std::llround(draw->mean_prompt), draw->mean_length);
    }
    out.limits.step_tokens = settings_.max_step_tokens;
    out.limits.weights = settings_.weights;
    return out;
  }

  // Bytes that the cache may have.
  int64_t cache_limit() const {
    if (settings_.kv_cache_gb > 0) return static_cast<int64_t>(settings_.kv_cache_gb * 1e9);
    // Of a GPU the run asks for a size; a plan without one takes what the rest leaves.
    const int64_t held = place_.gpu ? plan_.peak() : plan_.of(kLoading);
    return std::max<int64_t>(0, budget_ - held) / (place_.gpu ? 1 : 2);
  }

  void add_sampling() {
    if (!samples()) return;
    const CachePages pages = pages_of({job_.rollout(), job_.evaluation()});
    plan_.cache_pages_wanted = pages.wanted;
    plan_.cache_pages_in_use = pages.in_use;
    place_.gpu ? add_device_engine(pages) : add_engine(pages);
    // The rule of Learner::update().
    plan_.releases_activations = !place_.gpu && learns_ && budget_ - plan_.of(kLearning) < kept_;
    if (!plan_.releases_activations) return;
    for (MemoryKind& kind : plan_.kinds)
      if (kind.name == "activations") kind.bytes[kSampling] = 0;
  }

  void add_engine(const CachePages& pages) {
    const ModelSpec& spec = job_.model().spec();
    const int64_t page = KvCache::page_bytes(spec), limit = cache_limit();
    plan_.cache_pages = std::min(pages.wanted, limit / page);
    const int64_t cache = page * std::min(plan_.cache_pages, pages.written);
    add("key-value cache", 0, 0, cache, cache);
    const int64_t arrays = Decoder::pass_bytes(spec, settings_.max_step_tokens) +
                           Engine::draw_bytes(spec, settings_.max_running);
    add("arrays of sampling", 0, 0, arrays, arrays);
    if (!job_.reference()) return;  // it has an engine of its own
    const CachePages own = pages_of({job_.reference()});
    const int64_t most = std::min({own.wanted, own.written, limit / page});
    add("sampling of the reference", 0, 0, page * most + arrays, page * most + arrays);
  }

  // All pages are taken when it is made.
  void add_device_engine(const CachePages& pages) {
    const ModelSpec& spec = job_.model().spec();
    const int64_t page = device_page_bytes(spec, settings_.weights);
    const int64_t arrays = device_step_bytes(spec, pages.limits);
    add("arrays of sampling", 0, 0, arrays, arrays);
    const int64_t limit = cache_limit();
    plan_.cache_pages = std::min(pages.wanted, limit / page);
    add("key-value cache", 0, 0, page * plan_.cache_pages, page * plan_.cache_pages);
    if (!job_.reference()) return;
    const CachePages own = pages_of({job_.reference()});
    const int64_t all =
        device_step_bytes(spec, own.limits) + page * std::min(own.wanted, limit / page);
    add("sampling of the reference", 0, 0, all, all);
  }

  const PlannedJob& job_;
  const PlanSettings& settings_;
  const RankPlace& place_;
  int64_t base_, budget_, kept_ = 0;
  bool learns_ = false, warms_ = false;
  bool sharded_ = false, slices_moments_ = false;
  MemoryPlan plan_;
};

}  // namespace

MemoryPlan rank_memory(const PlannedJob& job, const PlanSettings& settings, const RankPlace& place,
                       int64_t base, int64_t budget) {
  return RankSum(job, settings, place, base, budget).run();
}

MemoryPlan plan_memory(const PlannedJob& job, const PlanSettings& settings, int64_t base,
                       int64_t budget) {
  return rank_memory(job, settings, {}, base, budget);
}

std::vector<RankMemory> ranks_memory(const PlannedJob& job, const PlanSettings& settings,
                                     const PlannedRanks& ranks) {
  std::vector<RankMemory> out;
  const auto see = [&](const RankPlace& place) {
    out.push_back({place, rank_memory(job, settings, place, ranks.base, ranks.budget)});
  };
  const int64_t sampling = settings.rollout_ranks;
  if (sampling == 0) {
    see({.drawing = ranks.count, .training = ranks.count, .gpu = ranks.gpu});
    return out;
  }
  const RankPlace apart{.drawing = sampling, .training = ranks.count - sampling, .gpu = ranks.gpu};
  RankPlace trains = apart, draws = apart;
  trains.draws = draws.trains = false;
  draws.ahead = ranks.ahead;
  see(trains);
  see(draws);
  return out;
}

int64_t ranks_peak(const PlannedJob& job, const PlanSettings& settings, const PlannedRanks& ranks) {
  int64_t most = 0;
  for (const RankMemory& one : ranks_memory(job, settings, ranks))
    most = std::max(most, one.memory.peak());
  return most;
}

}  // namespace vernier
