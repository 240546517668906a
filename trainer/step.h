// One optimizer step: packing, micro-batches, loss, update.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "core/metrics/metrics.h"
#include "trainer/adamw.h"
#include "trainer/gradient_sum.h"
#include "trainer/update.h"

namespace vernier {

/// Speed and share of the dense peak of an update, from its metrics, for the line of a step.
std::string training_speed(Decoder& decoder, const Metrics& metrics);

/// Forward, backward and AdamW. Micro-batches are filled to `max_tokens` prompt and response
/// tokens, longest samples first; their number does not change the gradient beyond rounding. Adds
/// loss, entropy, gradient norm, mismatch and the algorithm's numbers to `metrics`. `on_gradient`
/// (may be empty) sees the decoder with its accumulated gradient, before it is clipped. Called on
/// every rank of `team` that trains: numbers and gradient are those of the whole update on all of
/// them, and Interrupted is thrown on all.
UpdateResult optimizer_step(Decoder& decoder, OptimizerState& state, Algorithm& algorithm,
                            Update& update, double temperature, int64_t max_tokens,
                            const OptimizerConfig& optimizer, double learning_rate,
                            const std::atomic<bool>* stop, Metrics& metrics,
                            const std::function<void(Decoder&)>& on_gradient = {},
                            const Team& team = Team::alone());

/// A prompt and what follows it. RoPE takes token p to be at (p + offset) / scale.
struct Example {
  std::vector<int32_t> prompt, response;
  double scale = 1, offset = 0;
};

/// One SFT step: minus the sum of the responses' log-probabilities over `divisor`.
UpdateResult sft_step(Decoder& decoder, OptimizerState& state, const std::vector<Example>& examples,
                      double divisor, int64_t max_tokens, const OptimizerConfig& optimizer,
                      double learning_rate, Metrics& metrics, const Team& team = Team::alone());

}  // namespace vernier
