// Drawing a token from logits.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

namespace vernier {

struct SamplingParams {
  double temperature = 1.0;  // 0: the most probable token
  int64_t top_k = 0;         // keep the k most probable tokens; 0: all
  double top_p = 1.0;        // keep the fewest tokens that hold this much of what top_k left
  double min_p = 0.0;        // keep tokens of at least this share of the top token's probability
  double repetition_penalty = 1.0;            // over the ids of prompt and response; 1: none
  std::map<int64_t, double> logit_bias = {};  // is added to the logit of an id

  /// Whether logits change before they are divided by the temperature.
  bool adjusts() const { return repetition_penalty != 1.0 || !logit_bias.empty(); }
};

struct Drawn {
  int32_t id = 0;
  float logprob =
      0;  // under softmax(logits / temperature), before anything else; temperature 1 if 0
  float sampled = 0;  // of the distribution that it was drawn from; 0 where it was certain
};

namespace kernels {

/// Draws one token from logits [V] with `uniform` in [0, 1): the smallest id whose cumulative
/// probability exceeds it, over the kept tokens in order of id. What is done to the logits comes in
/// this order: repetition_penalty (over `seen`, each id once), logit_bias, temperature, top_k,
/// top_p, min_p; among tokens of one probability the smaller id goes first. `banned` (-1: none) is
/// never drawn. `scratch` is reused between calls. NaN in the logits gives a NaN log-probability.
/// Where neither penalty nor bias nor filter nor ban is on, `sampled` is `logprob`.
Drawn sample_token(const float* logits, int64_t vocabulary, const SamplingParams& params,
                   int32_t banned, double uniform, std::vector<int32_t>& scratch,
                   std::span<const int32_t> seen = {});

/// Log-probability of `id` under softmax(logits / temperature), temperature 1 if 0: Drawn::logprob
/// of a token that was not drawn.
float token_logprob(const float* logits, int64_t vocabulary, int32_t id, double temperature);

/// The `count` most probable tokens under the same (fewer where the vocabulary is smaller) with
/// their log-probabilities, most probable first, the smaller id first among equals.
std::vector<std::pair<int32_t, float>> top_logprobs(const float* logits, int64_t vocabulary,
                                                    int64_t count, double temperature);

/// Penalty and bias, in place. A penalty p makes a logit z of a seen id z / p where z > 0 and z p
/// elsewhere. Source: arXiv:1909.05858, in the form that `transformers` gave it for z < 0.
void adjust_logits(float* logits, const SamplingParams& params, std::span<const int32_t> seen);

namespace ref {
/// Probabilities [V] after temperature and filters, in double, by sorting everything: what
/// sample_token draws from where penalty and bias are off.
std::vector<double> filtered_probabilities(const float* logits, int64_t vocabulary,
                                           const SamplingParams& params, int32_t banned);
}  // namespace ref
}  // namespace kernels
}  // namespace vernier
