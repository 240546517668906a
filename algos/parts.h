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

/// What a sum over tokens is divided by.
struct Denominators {
  double tokens = 1;     // N
  double sequences = 1;  // S
  at::Tensor lengths;    // [B], fp64, n_i
};

/// Those of the whole update; with `masked`, masked responses count among the sequences.
Denominators denominators_of(const TokenBatch& batch, bool masked = false);

/// Those of the tokens that `kept` [T] has a 1 for; `update` is the whole update.
Denominators kept_denominators(const TokenBatch& update, const at::Tensor& kept);

/// Weight of every token [T], so that the aggregated loss is sum_t weight_t L_t:
///
///   token-mean               1 / N
///   token-sum                1
///   seq-mean-token-sum       1 / S
///   seq-mean-token-mean      1 / (S n_i)
///   seq-mean-token-sum-norm  1 / (S H), H the largest completion length
///
/// N tokens and S responses of the whole update, n_i tokens of the response.
at::Tensor aggregation_weights(const TokenBatch& batch, const std::string& mode,
                               const Denominators& by);
at::Tensor aggregation_weights(const TokenBatch& batch, const std::string& mode);

/// Sums over the tokens of each response, [T] -> [B], in fp64; the gradient passes.
at::Tensor sum_by_sequence(const at::Tensor& token, const TokenBatch& batch);
/// Means over the tokens of each response, likewise.
at::Tensor mean_by_sequence(const at::Tensor& token, const TokenBatch& batch);
/// A number a response for each of its tokens, [B] -> [T], in the type of the batch.
at::Tensor spread(const at::Tensor& sequence, const TokenBatch& batch);

/// Names of the estimators of KL(policy || reference) on sampled tokens.
const std::vector<std::string>& kl_estimators();

/// Of d = logprob - reference, per token (Schulman, "Approximating KL divergence", 2020):
///
///   k1   d                  unbiased, of either sign
///   abs  |d|
///   k2   d^2 / 2            its gradient is that of the divergence, in expectation
///   k3   exp(-d) + d - 1    unbiased, not negative
///   k1+, abs+, k3+          the value of the estimator with the gradient of k2 (verl)
///   k3_corrected            k3; the caller multiplies it with the ratio (DeepSeek-V3.2, TRL)
///
/// `clamp`: "none" (TRL); "verl": -d of k3 to [-20, 20], then the result to [-10, 10];
/// "openrlhf": the result of every estimator to [-10, 10].
at::Tensor kl_estimate(const std::string& estimator, const std::string& clamp, const at::Tensor& d);

/// softmax of values / tau, in double.
std::vector<double> softmax(std::span<const double> values, double tau);
/// tau log(mean(exp(values / tau))), in double.
double log_mean_exp(std::span<const double> values, double tau);

/// Sum of a tensor's elements as a number, outside the graph.
double sum_of(const at::Tensor& values);

/// The elements of a tensor as numbers.
std::vector<double> numbers_of(const at::Tensor& values);

/// Groups of a scope: all of the table, or (`scope` "block") 4, the prompts of a micro-batch of
/// DisCO's and DRPO's official code (32 sequences, 8 a prompt).
int64_t groups_of_scope(const GroupTable& table, const std::string& scope);

}  // namespace vernier
