// The policy losses of the field, token by token.
#pragma once

#include <string>
#include <vector>

#include "core/batch.h"

namespace vernier {

/// Names of the losses.
const std::vector<std::string>& policy_losses();

/// What the losses can be told; each reads its own.
struct LossOptions {
  std::string name = "ppo";
  double epsilon = 0.2, epsilon_high = 0.2;
  double dual_clip = 0, delta = 0;               // ppo; 0: off
  std::string cispo_cap = "verl";                // cispo
  std::string ratio_weight = "none";             // reinforce: none, token, sequence
  double ratio_cap = 20;                         // reinforce with a weight, dppo_tv, dppo_kl
  double tau_positive = 1, tau_negative = 1.05;  // sapo
  double k_positive = 2, lambda_positive = 3;    // vespo, A >= 0
  double k_negative = 3, lambda_negative = 2;    // vespo, A < 0
  double dro_beta = 0;                           // dro
  std::string log_ratio_clamp = "none";          // "verl": as its code bounds them before exp
};

/// The defaults of a loss, and how it is aggregated where nothing else is asked for.
LossOptions loss_defaults(const std::string& name);
std::string default_aggregation(const std::string& name);

/// Whether `epsilon` (or `epsilon_high`) has an effect.
bool reads_epsilon(const LossOptions& options);
bool reads_epsilon_high(const LossOptions& options);

/// Loss of every token [T], to be minimised, and which tokens lie outside the bounds on the side
/// where that stops them; those two are undefined for losses without bounds.
struct PolicyTerm {
  at::Tensor loss;       // [T]
  at::Tensor low, high;  // [T] bool
};

/// With rho = exp(logprob - old), n_i tokens of response i, s_i = exp(mean_t(logprob - old)),
/// clip to [1 - epsilon, 1 + epsilon_high], sg the gradient stopped:
///
///   ppo         max(-A rho, -A clip(rho))                             PPO arXiv:1707.06347
///    dual_clip  min(that, -A c) where A < 0                           arXiv:1912.09729
///    delta      -min(min(rho, delta) A, clip(rho) A)                  INTELLECT-2, TRL `delta`
///   reinforce   -A logprob sg(w), w = 1 or min(rho or prod rho, ratio_cap)        verl bypass mode
///   gpg         -A logprob                                            arXiv:2504.02546
///   gspo        max(-A s_i, -A clip(s_i))                             arXiv:2507.18071
///   gspo_token  gspo with the ratio sg(s_i) exp(logprob - sg(logprob))            the same, verl
///   cispo       -sg(clip(rho)) A logprob                              arXiv:2506.13585
///    cispo_cap  "verl": as above; "trl": sg(min(rho, epsilon_high))
///   gmpo        -A exp(mean_t c_t), c_t = sgn(A) min(sgn(A) d, sgn(A) clip(d, -epsilon,
///               epsilon_high)), d = logprob - old                     arXiv:2507.20673
///   sapo        -A (4 / tau) sigmoid(tau (rho - 1)), tau by the sign of A         arXiv:2511.20347
///   dppo_tv     -A sg(min(rho, ratio_cap)) logprob [inside], inside by the change of the token's
///               probability: at most epsilon_high up (A > 0), epsilon down        arXiv:2602.04879
///   dppo_kl     the same by the divergence of the two-way distribution (token, anything else)
///   luspo       n_i gspo                                              arXiv:2602.05261
///   vespo       -phi A logprob, phi = sg(exp(lambda + k ln w - lambda w)), w = prod rho
///                                                                     arXiv:2602.10693
///   dro         -(A logprob - (dro_beta / 2) (logprob - old)^2)       arXiv:2405.19107
///   clip_cov    ppo; which tokens count is for selection.h            arXiv:2505.22617
///   kl_cov      -A rho; selection.h adds the penalty                  arXiv:2505.22617
///
/// Ties of the maximum at rho = 1 have the same gradient on either branch.
PolicyTerm policy_term(const TokenBatch& batch, const LossOptions& options);

/// The ratio that the loss has, for corrections that multiply with it: s_i for losses of whole
/// sequences, rho elsewhere.
at::Tensor loss_ratio(const TokenBatch& batch, const LossOptions& options);

}  // namespace vernier
