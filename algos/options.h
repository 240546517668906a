// What the policy-gradient family can be told, and its keys.
#pragma once

#include <string>

#include "algos/advantages.h"
#include "algos/losses.h"
#include "algos/mismatch.h"

namespace vernier {

struct KlOptions {
  double beta = 0;
  std::string where = "loss";  // or "reward"
  std::string estimator = "k3";
  std::string clamp = "none";
  double target = 0, horizon = 10000;  // target 0: beta is fixed
};

struct EntropyOptions {
  double coef = 0;
  std::string mean = "verl";  // "verl": aggregated as the loss; "trl": mean over tokens
  double target = 0;          // 0: coef is fixed
  double step = 0.005, low = 0, high = 1;
  double top_share = 1;  // of the tokens by entropy that have a loss; 1: all
};

struct CovarianceOptions {
  double ratio = 2e-4;       // clip_cov, kl_cov
  double low = 1, high = 5;  // clip_cov
  double coef = 1;           // kl_cov
};

/// advantage x loss x aggregation x KL x correction x entropy control: every algorithm of the
/// family is a set of defaults of this, and each reads the same keys.
struct PolicyGradientOptions {
  AdvantageOptions advantage;
  LossOptions loss;
  std::string aggregation = "token-mean";
  std::string sequence_count = "verl";  // "trl": masked responses count in seq-mean
  KlOptions kl;
  EntropyOptions entropy;
  CorrectionOptions correction;
  CovarianceOptions covariance;
  std::string scope = "update";

  /// Reads the keys over these defaults. Where another loss, estimator or correction is asked for
  /// than that of the defaults, its own defaults stand in for them.
  void bind(Binder& config, const AlgorithmContext& context);

  /// Whether a token's weight depends on other responses of the update.
  bool couples_tokens() const;

 private:
  void bind_advantage(Binder& config, const AlgorithmContext& context);
  void bind_length_advantage(Binder& config);
  void bind_loss(Binder& config);
  void bind_loss_shape(Binder& config);
  void bind_covariance(Binder& config);
  void bind_kl(Binder& config);
  void bind_entropy(Binder& config);
  void bind_correction(Binder& config);
  void bind_rejection(Binder& config);
};

}  // namespace vernier
