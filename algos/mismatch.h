// What makes up for responses drawn by other numbers than those that train: the engine's
// log-probabilities (`rollout`) against those of the update's start (`old`).
//
//   x_t = old - rollout     w_t = exp(x_t)     w_seq = exp(sum_t x_t)     w_geo = exp(mean_t x_t)
//
// All of it is constant: no gradient flows through a weight. Log-weights are bounded to [-20, 20]
// before exp.
#pragma once

#include <string>
#include <vector>

#include "core/batch.h"

namespace vernier {

/// Names of the corrections and of the rejection rules.
const std::vector<std::string>& corrections();
const std::vector<std::string>& rejection_rules();
/// Whether the rule holds a ratio between two bounds (k1).
bool bounds_ratio(const std::string& rejection_rule);

struct CorrectionOptions {
  std::string kind = "none";
  double low = 0, high = 2;            // C_lo, C_hi
  bool normalize = false;              // by the mean of the weights that are kept
  std::vector<std::string> rejection;  // all of them must let a token pass
  std::vector<double> rejection_low;   // of the k1 rules, in order; empty: 1 / high
  std::vector<double> rejection_high;  // of every rule
  std::string rejection_denominator = "areal";
  double opsm_threshold = 0;  // 0: off
  double m2po_threshold = 0;  // 0: off

  /// Lower bound of rule i, the k-th that bounds a ratio.
  double low_of_ratio(size_t i, size_t k) const {
    return rejection_low.empty() ? 1.0 / rejection_high[i] : rejection_low[k];
  }
  bool reads_rollout() const {
    return kind != "none" || !rejection.empty() || opsm_threshold > 0 || m2po_threshold > 0;
  }
  bool by_sequence() const { return kind == "sequence_tis" || kind == "sequence_mask"; }
};

/// C_lo and C_hi of a correction where nothing else is asked for.
CorrectionOptions correction_defaults(const std::string& kind);

/// Weight of every token [T], fp64:
///
///   none           1
///   token_tis      clip(w_t, C_lo, C_hi)                 truncated importance sampling
///   sequence_tis   clip(w_seq, C_lo, C_hi)               verl's default level
///   token_mask     w_t, or 0 outside [C_lo, C_hi]        IcePop (arXiv:2510.18855); with C_lo = 0
///                                                        AReaL's decoupled PPO (arXiv:2505.24298)
///   sequence_mask  w_seq, or 0 outside                   TRL's default
///   seq_mask_tis   w_t, or 0 where w_geo is outside      OpenRLHF
at::Tensor correction_weights(const TokenBatch& batch, const CorrectionOptions& options);

/// 1 for the tokens that every rejection rule lets pass, [T], fp64. With k1 = -x, k2 = x^2 / 2,
/// k3 = e^x - 1 - x: `token_kN` judges each token, `seq_sum_kN`, `seq_mean_kN` and `seq_max_kN` the
/// response by the sum, mean or maximum over its tokens. k1 must lie in [ln low, ln high], k2 and
/// k3 be at most high. verl `rollout_rs`.
at::Tensor rejection_mask(const TokenBatch& batch, const CorrectionOptions& options);

/// Off-policy sequence masking: 1 where A >= 0 or mean_t(rollout - logprob) <= threshold, [T],
/// fp64. DeepSeek-V3.2 (arXiv:2512.02556), TRL `off_policy_mask_threshold`.
at::Tensor opsm_mask(const TokenBatch& batch, double threshold);

}  // namespace vernier
