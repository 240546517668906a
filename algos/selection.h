// Choices among the tokens of a whole update (or of a block of its prompts). Each function sees the
// tokens of one such scope and returns a number for each.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/base/rng.h"

namespace vernier {

/// (A - mean(A)) (logprob - mean(logprob)). Source of this and of the next two: "The Entropy
/// Mechanism of Reinforcement Learning for Reasoning Language Models", arXiv:2505.22617; verl.
std::vector<double> covariance(std::span<const double> advantage, std::span<const double> logprob);

/// 1 for the max(1, floor(ratio n)) tokens of largest covariance, which KL-Cov pulls back by
/// coef |logprob - old|; 0 elsewhere. The earlier of equals comes first.
std::vector<double> kl_cov_selection(std::span<const double> covariance, double ratio);

/// 0 for max(1, floor(ratio n)) random tokens of those with low < covariance < high that are not
/// clipped already (all of them where they are fewer), which Clip-Cov leaves out; 1 elsewhere.
std::vector<double> clip_cov_mask(std::span<const double> covariance,
                                  std::span<const double> clipped, double ratio, double low,
                                  double high, Rng rng);

/// 1 for the tokens whose entropy is at least the quantile 1 - share (interpolated), 0 elsewhere.
/// "Beyond the 80/20 Rule", arXiv:2506.01939; TRL `top_entropy_quantile`.
std::vector<double> top_entropy_mask(std::span<const double> entropy, double share);

/// 0 for the fewest tokens of largest gap^2, gap = rollout - old, without which the mean of gap^2
/// is below the threshold; one token always stays. M2PO, arXiv:2510.01161; AReaL.
std::vector<double> m2po_mask(std::span<const double> gap, double threshold);

}  // namespace vernier
