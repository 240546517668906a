// Algorithms turn scored groups into credit and packed tokens into a loss. Both are pure.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/base/config.h"
#include "core/base/registry.h"
#include "core/batch.h"

namespace vernier {

/// The responses of an update, group after group. Groups may be uneven.
struct GroupTable {
  std::vector<int64_t> offsets{0};   // [groups + 1]
  std::vector<double> reward;        // [B]; NaN where the response has none: it enters nothing
  std::vector<int> correct;          // [B]; 1, 0, or -1 where there is no verdict
  std::vector<int64_t> length;       // [B], tokens, end token included
  std::vector<double> mean_logprob;  // [B], of the sampled tokens; NaN where not known
  std::vector<char> active;          // [B]; 0: no token of it enters the loss

  int64_t groups() const { return static_cast<int64_t>(offsets.size()) - 1; }
  size_t size() const { return reward.size(); }
};

/// Per-sequence scalars of an update, for algorithms that couple the sequences of a group.
struct SequenceScalars {
  std::vector<double> score;  // [B], s_i
  std::vector<double> drift;  // [B], a_i: the sum over tokens of the divergence integrand
};

/// What such an algorithm makes of them: the loss of the update is sum_i (-score_weight_i s_i +
/// drift_weight_i a_i) up to a constant, and its gradient is exactly that of the objective.
struct Coupling {
  std::vector<double> score_weight;       // [B], c_i
  std::vector<double> drift_weight;       // [B]
  std::map<std::string, double> metrics;  // objective and penalty among them
};

/// A scalar whose gradient is the micro-batch's share of the update's, and sums for the metrics:
/// each is already divided by the update's totals, so that the micro-batches add up.
struct Loss {
  at::Tensor value;
  std::map<std::string, double> metrics;
};

class Algorithm {
 public:
  static constexpr const char* kKind = "algorithm";
  virtual ~Algorithm() = default;

  /// Advantage of every response, [B]; 0 where the response has no reward.
  virtual std::vector<double> credit(const GroupTable& table) const = 0;

  /// Steps from the rewards of one group to its advantages, for people (`vernier score --explain`).
  virtual std::string explain(const GroupTable& table, int64_t group) const = 0;

  /// Whether couple() must run over the whole update before loss().
  virtual bool couples() const { return false; }
  /// Whether the reward (and not only the verdict) has an effect.
  virtual bool uses_reward() const { return true; }
  /// Coefficient of a KL term against a frozen copy of the start policy; 0: none is needed.
  virtual double reference_kl() const { return 0; }

  /// s_i and a_i of the batch's responses, in order of the batch, without gradient.
  virtual SequenceScalars scalars(const TokenBatch& batch) const;
  /// Coefficients from the scalars of the whole update, in order of `table`.
  virtual Coupling couple(const GroupTable& table, const SequenceScalars& scalars) const;

  /// `coupling` is null for algorithms that do not couple.
  virtual Loss loss(const TokenBatch& batch, const Coupling* coupling) const = 0;
};

/// What an algorithm may know of the run.
struct AlgorithmContext {
  int64_t num_generations = 0;
  int64_t max_completion_length = 0;
};

using AlgorithmRegistry = Registry<Algorithm, Binder&, const AlgorithmContext&>;

}  // namespace vernier
