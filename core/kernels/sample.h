// Drawing a token from logits.
#pragma once

#include <cstdint>
#include <vector>

namespace vernier {

struct SamplingParams {
  double temperature = 1.0;  // 0: the most probable token
  int64_t top_k = 0;         // keep the k most probable tokens; 0: all
  double top_p = 1.0;        // keep the fewest tokens that hold this much of what top_k left
  double min_p = 0.0;        // keep tokens of at least this share of the top token's probability
};

struct Drawn {
  int32_t id = 0;
  float logprob = 0;  // under softmax(logits / temperature), before any filter; temperature 1 if 0
};

namespace kernels {

/// Draws one token from logits [V] with `uniform` in [0, 1): the smallest id whose cumulative
/// probability exceeds it, over the kept tokens in order of id. Filters apply in the order top_k,
/// top_p, min_p; among tokens of one probability the smaller id goes first. `banned` (-1: none) is
/// never drawn. `scratch` is reused between calls. NaN in the logits gives a NaN log-probability.
Drawn sample_token(const float* logits, int64_t vocabulary, const SamplingParams& params,
                   int32_t banned, double uniform, std::vector<int32_t>& scratch);

namespace ref {
/// Probabilities [V] after temperature and filters, in double, by sorting everything: what
/// sample_token draws from.
std::vector<double> filtered_probabilities(const float* logits, int64_t vocabulary,
                                           const SamplingParams& params, int32_t banned);
}  // namespace ref
}  // namespace kernels
}  // namespace vernier
