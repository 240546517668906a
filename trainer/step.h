// One optimizer step: packing, micro-batches, loss, update.
#pragma once

#include <atomic>
#include <functional>
#include <vector>

#include "core/metrics/metrics.h"
#include "trainer/adamw.h"

namespace vernier {

/// A response on its way into an update.
struct Sample {
  const std::vector<int32_t>* prompt_ids = nullptr;
  const Response* response = nullptr;  // its first num_tokens tokens enter, less forced ones
  double advantage = 0;
  int64_t place = 0;  // in the update's table
  std::vector<float> old,
      reference;                 // log-probabilities of what enters; no `old`: the current policy's
  bool old_is_recorded = false;  // `old` is what the engine recorded
};

/// The samples of one update with the table that credit and coupling read.
struct Update {
  GroupTable table;
  std::vector<Sample> samples;
  UpdateTotals totals;
};

/// The table of scored groups.
GroupTable make_table(std::span<const Group> groups);

/// The samples of the groups [first, last) with the advantages that the responses carry. Responses
/// without a reward, masked ones and those that the policy did not end are left out (and counted by
/// the caller).
Update make_update(const std::vector<Group>& groups, size_t first, size_t last,
                   int64_t max_completion_length);

/// Fills Sample::old (or ::reference) by one pass without gradient over `decoder`.
void fill_logprobs(Decoder& decoder, Update& update, double temperature, int64_t max_tokens,
                   bool reference);

/// Forward, backward and AdamW. Micro-batches are filled to `max_tokens` prompt and response
/// tokens, longest samples first; their number does not change the gradient beyond rounding. Adds
/// loss, entropy, gradient norm and the algorithm's numbers to `metrics`. `on_gradient` (may be
/// empty) sees the decoder with its accumulated gradient, before it is clipped.
UpdateResult optimizer_step(Decoder& decoder, OptimizerState& state, const Algorithm& algorithm,
                            Update& update, double temperature, int64_t max_tokens,
                            const OptimizerConfig& optimizer, double learning_rate,
                            const std::atomic<bool>* stop, Metrics& metrics,
                            const std::function<void(Decoder&)>& on_gradient = {});

/// One SFT step on prompt and response ids: minus the sum of the responses' log-probabilities over
/// `divisor`.
UpdateResult sft_step(
    Decoder& decoder, OptimizerState& state,
    const std::vector<std::pair<std::vector<int32_t>, std::vector<int32_t>>>& pairs, double divisor,
    int64_t max_tokens, const OptimizerConfig& optimizer, double learning_rate, Metrics& metrics);

}  // namespace vernier
