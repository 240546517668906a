// What ranks that train together hold of a model's weights, gradients and moments, and how fast
// they are, by trainer.shard.
#include <ATen/ATen.h>

#include "core/base/buffer.h"
#include "core/base/clock.h"
#include "core/base/pool.h"
#include "core/comm/local_ranks.h"
#include "core/kernels/threads.h"
#include "core/model/memory.h"
#include "tools/bench_parts.h"
#include "trainer/sharded_weights.h"
#include "trainer/step.h"

namespace vernier {
namespace {

std::unique_ptr<OptimizerState> moments_of(Decoder& decoder, const std::string& shard,
                                           Ranks& ranks) {
  if (shard == "none") return std::make_unique<OptimizerState>(decoder);
  return std::make_unique<OptimizerState>(decoder, false, ranks);
}

// One micro-batch a rank.
double step(Decoder& decoder, OptimizerState& state, const Team& team, const ShardBench& options,
            int64_t round) {
  std::vector<Example> examples;
  for (Prompt& prompt :
       random_prompts(team.trainers.size(), options.tokens + 1, decoder.spec().vocab_size, round))
    examples.push_back(
        {.prompt = {prompt.ids.front()},
         .response = std::vector<int32_t>(prompt.ids.begin() + 1, prompt.ids.end())});
  const Clock clock;
  Metrics metrics;
  sft_step(decoder, state, examples, static_cast<double>(options.tokens), options.tokens + 1, {},
           1e-6, metrics, team);
  return clock.seconds();
}

// Of the two largest units, numbers.
int64_t two_largest(const Decoder& decoder) {
  std::vector<int64_t> sizes;
  for (const Unit& unit : decoder.units()) sizes.push_back(unit.end - unit.begin);
  // Embeddings that are the head are both.
  if (decoder.spec().tie_word_embeddings) sizes.push_back(sizes.front());
  std::ranges::sort(sizes, std::greater());
  return sizes[0] + sizes[1];
}

}  // namespace

int bench_shard(const ShardBench& options, const std::vector<std::string>& arguments) {
  const Identity identity = identity_from(process_environment());
  if (identity.launcher == "alone" && options.ranks > 1)
    return run_local_ranks(options.ranks, arguments);
  set_threads(0, {.processes = identity.local_world_size});
  Ranks ranks(identity, {.interface = "", .deadline_s = 600, .start_deadline_s = 60, .workers = {}},
              nullptr);
  const Team team{.ranks = ranks, .trainers = ranks};
  const ModelSpec spec = shape_named(options.shape);
  const TrainingOptions training{.precision = kernels::Precision::fp32, .recompute = true};
  {  // what torch and the collectives take once
    Decoder tiny(shape_named("tiny"), true);
    tiny.randomize(1, 0.02, 1);
    OptimizerState state(tiny);
    step(tiny, state, team, {.tokens = 64}, 0);
  }
  const int64_t base = resident_memory();
  const bool full = options.shard == "full" && !ranks.alone();
  Decoder decoder(spec, true, at::kFloat, full ? at::kMeta : at::kCPU);
  decoder.training = training;
  std::unique_ptr<ShardedWeights> weights;
  const auto fill = [&](int64_t unit) { decoder.randomize(1, 0.02, 1, unit); };
  if (full)
    weights = std::make_unique<ShardedWeights>(decoder, ranks, at::kCPU, fill);
  else
    decoder.randomize(1, 0.02, 1);
  const std::unique_ptr<OptimizerState> state = moments_of(decoder, options.shard, ranks);
  step(decoder, *state, team, options, 0);
  const int64_t between = resident_memory();
  reset_peak_memory();
  std::vector<double> seconds;
  for (int64_t round = 1; round <= options.steps; ++round)
    seconds.push_back(step(decoder, *state, team, options, round));
  const int64_t activations =
      training_pass(decoder, {.rows = options.tokens, .head_rows = options.tokens}, training,
                    kernel_pool().threads())
          .all();
  const auto mb = [](int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); };
  const auto most = [&](int64_t here) {
    return mb(std::ranges::max(ranks.gather_numbers(here, "memory")));
  };
  const double peak = most(peak_memory() - base - activations), held = most(between - base);
  const int64_t state_bytes = 16 * decoder.weights().numel();
  if (ranks.first()) {
    const Json out = {
        {"ranks", ranks.size()},
        {"shard", options.shard},
        {"parameters", decoder.num_parameters()},
        {"step_s", median(seconds)},
        {"tokens_per_s", static_cast<double>(ranks.size() * options.tokens) / median(seconds)},
        {"state_of_all_mb", mb(state_bytes)},
        {"activations_mb", mb(activations)},
        {"most_of_a_rank_mb", peak},
        {"share_mb", mb(state_bytes) / static_cast<double>(ranks.size())},
        {"two_units_mb", mb(4 * two_largest(decoder))},
        {"bucket_mb", mb(2 * Ranks::kBucketBytes)},
        {"between_steps_mb", held},
        {"units_begun_ahead", weights == nullptr
                                  ? Json(nullptr)
                                  : Json(static_cast<double>(weights->begun_ahead()) /
                                         static_cast<double>(weights->brought()))}};
    std::printf("%s\n", dump_json(out).c_str());
  }
  ranks.leave();
  return 0;
}

}  // namespace vernier
