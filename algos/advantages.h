// The advantage estimators of the field, on the table of a whole step.
#pragma once

#include <string>
#include <vector>

#include "algos/algorithm.h"

namespace vernier {

/// Names of the estimators.
const std::vector<std::string>& advantage_estimators();

struct AdvantageOptions {
  std::string estimator = "grpo";
  std::string scale = "group";        // grpo: group, batch, none
  double eps = 1e-6;                  // added to a standard deviation
  std::string group_of_one = "verl";  // "verl": keeps its reward; "trl": 0
  std::string whitening = "verl";     // "verl": variance with n - 1; "openrlhf": with n
  double gamma = 1;                   // reinforce_plus_plus
  std::string gdpo_norm = "trl";      // "trl": over responses; "verl": over tokens
  std::string gdpo_missing = "trl";   // "trl": left out of the sum; "nvlabs": counts as 0
  double lambda = 0.1;                // drpo_norm
  double capacity = 0;                // drpo_norm, tokens
  double lead_low = 0.4, lead_high = 1.5, lead_center = 0.75, lead_slope = 10;  // grpo_lead
  double diet_alpha = 0.5;  // diet: weight of the length advantage where all are right
  int64_t diet_period = 0;  // diet: steps of a cycle of that weight; 0: constant
};

/// eps of an estimator under a scale where nothing else is asked for.
double default_eps(const std::string& estimator, const std::string& scale);

/// Whether a group's advantages depend on the other groups of the step.
bool spans_step(const AdvantageOptions& options);

/// Whether it reads the reward; drpo_norm reads the verdict.
bool reads_reward(const std::string& estimator);

/// Mean and deviation (n - 1) of the rewards of a group. A group that was drawn as one response has
/// mean 0 and std 1 by verl's rule and its own mean by TRL's; one that is left over of many is its
/// own mean. `counted`: those with a reward, masked ones too.
struct GroupStatistics {
  double mean = 0, std = 1;
  int64_t counted = 0;
};
GroupStatistics group_statistics(const GroupTable& table, const std::vector<double>& reward,
                                 int64_t group, const std::string& group_of_one);

/// Advantages, with r_i the reward of response i, mean and std over its group (n - 1), T_i its
/// length, G the group's size:
///
///   grpo        (r_i - mean) / (std + eps)                          arXiv:2402.03300
///               scale "none": r_i - mean, Dr. GRPO arXiv:2503.20783; "batch": std over all rewards
///               of the step, arXiv:2508.08221
///   rloo        (G r_i - sum r) / (G - 1)                           arXiv:2402.14740
///   reinforce_plus_plus           return_t = r_t + gamma return_{t+1}, r_t = r_i at the last token
///               - `penalty`, then whitened over all tokens          arXiv:2501.03262
///   reinforce_plus_plus_baseline  r_i - mean, then whitened over all tokens; DLER's
///   remax       return_t - r of the greedy response to the prompt, return_t = r_i less the penalty
///               from t on                                           arXiv:2310.10505
///   opo         r_i - sum T r / sum T                               arXiv:2505.23585
///   gpg         alpha (r_i - mean), alpha = responses / max(1, rewards that are not 0), of the
///   step
///                                                                   arXiv:2504.02546
///   grpo_passk  (r_max - r_second) / (std + eps) for the best response, 0 elsewhere     verl
///   gdpo        s_i = sum_k w_k (r^k_i - mean^k) / (std^k + eps) over the reward's parts, then
///               (s - mean) / (std + eps) over the responses of the step (TRL), or whitened over
///               its tokens (verl)                                   arXiv:2601.05242
///   naive       r_i: a reward that is an advantage already (AdaptThink's, BRPO's)
///   grpo_lead   a = grpo's; a w(p) where a > 0, else a w(1 - p), p the share of right responses,
///               w(x) = low + (high - low) / (1 + exp(slope (x - center)))
///                                       arXiv:2504.09696, aeroplanepaper/GRPO-LEAD
///   diet        A_r - alpha p A_L, both by group and (n - 1): A_r of the reward, A_L of the
///   length;
///               with a period the weight is alpha (1 - cos(2 pi (step - 1) / period)) / 2
///               (arXiv:2505.19217: that the two are normalised apart was read, alpha p was not)
///   otb         G_t - B_t, B_t = sum_j G_jt W_jt / (sum_j W_jt + 1e-8), G_t the return,
///               W_t = sum_{s<=t} (1 - 2 p_s + sum_v p_v^2); B_t = 0 for the unique longest
///               response past the second-longest length                      verl
///               optimal_token_baseline
///   drpo_norm   by the verdict: A+ n softmax((1 - T_i / capacity) / lambda) over the n right
///               answers, A- for wrong ones; A+, A- are grpo's of the verdict. Never negative on a
///               right answer; its sum is 0; lambda = inf is grpo
///
/// Whitened: (A - mean) / sqrt(var + 1e-8) with n - 1 (verl), or / sqrt(max(var, 1e-8)) with n
/// (OpenRLHF), over the tokens of active responses. A response without a reward has 0 and enters
/// nothing; a masked one enters group statistics.
///
/// `penalty` [B][tokens] is taken off the reward, token by token or as its sum; empty: nothing.
Credit advantages(const GroupTable& table, const AdvantageOptions& options,
                  const TokenColumn& penalty);

}  // namespace vernier
