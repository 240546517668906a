#include "trainer/step_time.h"

#include <cmath>

#include "core/model/flops.h"

namespace vernier {
namespace {

struct Decoding {
  Seconds time;
  int64_t passes = 0;
};

// Responses that all have the mean length take the fewest passes. Where it is below `limit` some
// will reach that, and the last passes have few rows.
Decoding decoding_of(const PlannedDraw& draw, const PlanSettings& settings, const DrawRates& rates,
                     double cache_room, double limit) {
  const auto sequences = static_cast<double>(draw.sequences);
  const auto wanted = static_cast<double>(std::min(settings.max_running, draw.sequences));
  const double running = std::max(1.0, wanted * cache_room);  // the others wait for pages
  const double drawn = sequences * draw.mean_drawn;
  const double even = drawn / running;
  const double long_tail = even + limit - draw.mean_drawn;
  const double seen = draw.mean_prompt + draw.mean_length / 2;
  const auto time = [&](double passes) { return pass_time(rates, drawn / passes, seen) * passes; };
  Decoding out{.time = time(long_tail), .passes = std::llround(long_tail)};
  out.time.low = time(even).low;
  return out;
}

// A prompt is computed once for all responses to it.
Seconds prompts_of(const PlannedDraw& draw, const DrawRates& rates) {
  const auto prompts =
      static_cast<double>(draw.sequences) / static_cast<double>(draw.num_generations);
  return rates.prompt_token * (prompts * draw.mean_prompt);
}

}  // namespace

Seconds pass_time(const DrawRates& rates, double rows, double seen) {
  const auto few = static_cast<double>(rates.few), many = static_cast<double>(rates.many);
  const double share = many > few ? std::max(0.0, (rows - few) / (many - few)) : 0;
  return rates.few_rows * (1 - share) + rates.many_rows * share +
         rates.token_seen * (rows * std::max(0.0, seen - rates.seen));
}

int64_t passes_besides(const RunConfig& config, int64_t updates, bool several) {
  const Algorithm& algorithm = *config.algorithm;
  const CreditNeeds needs = algorithm.credit_needs();
  return (needs.old || needs.square_mass ? 1 : 0) + (needs.reference ? 1 : 0) +
         (updates > 1 && config.old_logprobs == "recompute" ? 1 : 0) +
         (algorithm.loss_reads_reference() ? 1 : 0) +
         (algorithm.coupled() != Coupled::nothing && several ? 1 : 0);
}

StepTime step_time(const PlannedJob& job, const PlanSettings& settings, const StepRates& rates,
                   double cache_room) {
  StepTime out;
  if (!job.rollout()) return out;
  const RunConfig& config = job.config();
  const auto limit = static_cast<double>(config.rollout.max_completion_length);
  const Decoding own = decoding_of(*job.rollout(), settings, rates.draw, cache_room, limit);
  out.decoding = own.time;
  out.passes = own.passes;
  out.prompts = prompts_of(*job.rollout(), rates.draw) + rates.draw.pack;
  if (const auto& reference = job.reference())
    out.reference = prompts_of(*reference, rates.draw) +
                    decoding_of(*reference, settings, rates.draw, cache_room, limit).time;
  TrainingWork work;
  const std::vector<PackedBatch> batches = job.microbatches(settings.max_tokens);
  for (const PackedBatch& batch : batches) work.add(batch.tokens, std::ssize(batch.rows));
  out.microbatches = std::ssize(batches);
  const auto updates = static_cast<double>(job.updates());
  const double share = job.share_of_first_update();
  const auto number = [](int64_t value) { return static_cast<double>(value); };
  const Seconds forward = rates.train.forward_token * number(work.tokens) +
                          rates.train.forward_seen * work.seen +
                          rates.train.forward_head * number(work.head_tokens);
  const int64_t more = passes_besides(config, job.updates(), batches.size() > 1);
  out.forward = forward * (number(1 + more) * share) + rates.train.pack * updates;
  out.backward =
      (rates.train.backward_token * number(work.tokens) + rates.train.backward_seen * work.seen +
       rates.train.backward_head * number(work.head_tokens) +
       rates.train.backward_batch * number(out.microbatches)) *
      share;
  out.optimizer = rates.optimizer * updates;
  return out;
}

}  // namespace vernier
