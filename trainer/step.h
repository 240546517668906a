// One optimizer step: packing, micro-batches, loss, update.
#pragma once

#include <atomic>
#include <functional>
#include <span>
#include <vector>

#include "algos/algorithm.h"
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

/// Speed and share of the dense peak of an update, from its metrics, for the line of a step.
std::string training_speed(Decoder& decoder, const Metrics& metrics);

/// Whether tokens of a response enter an update: it has a reward (with `by_channel`, a part of
/// one), is not masked, holds a drawn token, and the policy ended it.
bool enters(const Response& response, bool by_channel);

/// The table of scored groups. With `by_channel` (Algorithm::uses_channels) a response of which
/// some parts of the reward abstained is active; it has no reward either way.
GroupTable make_table(std::span<const Group> groups, bool by_channel = false);

/// What gives the tokens their numbers where credit asks for them.
struct CreditModels {
  Decoder* policy = nullptr;
  // Where Algorithm::reference_kl() asks for one; of a decoder with adapters the weights without.
  Decoder* reference = nullptr;
  double temperature = 1;
  int64_t max_tokens = 0;  // of a micro-batch
};

/// Writes the advantages of a step into its responses, and a KL that is in the reward to `metrics`.
void assign_credit(Algorithm& algorithm, std::span<Group> groups, const CreditModels& models,
                   Metrics& metrics);

/// The samples of the groups [first, last) with the advantages that the responses carry. Responses
/// that are not active in make_table() (without a reward, masked, not ended by the policy) are left
/// out (and counted by the caller).
Update make_update(const std::vector<Group>& groups, size_t first, size_t last,
                   int64_t max_completion_length, bool by_channel = false);

/// Fills Sample::old (or ::reference, of a decoder with adapters without them) by one pass without
/// gradient over `decoder`.
void fill_logprobs(Decoder& decoder, Update& update, double temperature, int64_t max_tokens,
                   bool reference);

/// Forward, backward and AdamW. Micro-batches are filled to `max_tokens` prompt and response
/// tokens, longest samples first; their number does not change the gradient beyond rounding. Adds
/// loss, entropy, gradient norm, mismatch and the algorithm's numbers to `metrics`. `on_gradient`
/// (may be empty) sees the decoder with its accumulated gradient, before it is clipped.
UpdateResult optimizer_step(Decoder& decoder, OptimizerState& state, Algorithm& algorithm,
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
