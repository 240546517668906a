// Pieces that several losses share, each with its equation.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "algos/algorithm.h"

namespace vernier {

/// Names of the loss aggregations (those of verl and TRL).
const std::vector<std::string>& loss_aggregations();

/// Weight of every token [T], so that the aggregated loss is sum_t weight_t L_t:
///
///   token-mean               1 / N
///   token-sum                1
///   seq-mean-token-sum       1 / S
///   seq-mean-token-mean      1 / (S n_i)
///   seq-mean-token-sum-norm  1 / (S H), H the largest completion length
///
/// N tokens and S responses of the whole update, n_i tokens of the response.
at::Tensor aggregation_weights(const TokenBatch& batch, const std::string& mode);

/// max(-A rho, -A clip(rho, 1 - low, 1 + high)) per token, rho = exp(logprob - old).
/// PPO, arXiv:1707.06347; two bounds, DAPO, arXiv:2503.14476.
at::Tensor clipped_loss(const at::Tensor& log_ratio, const at::Tensor& advantage, double low,
                        double high);

/// k3 = exp(-d) + d - 1, d = logprob - reference, per token: non-negative, unbiased for
/// KL(policy || reference). Schulman, "Approximating KL divergence", 2020.
at::Tensor k3(const at::Tensor& logprob, const at::Tensor& reference);

/// softmax of values / tau, in double.
std::vector<double> softmax(std::span<const double> values, double tau);
/// tau log(mean(exp(values / tau))), in double.
double log_mean_exp(std::span<const double> values, double tau);

/// Sum of a tensor's elements as a number, outside the graph.
double sum_of(const at::Tensor& values);

}  // namespace vernier
