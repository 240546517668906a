// Algorithms turn scored groups into credit and packed tokens into a loss. Both are pure; what an
// algorithm carries from one update to the next is its state, which checkpoints hold.
#pragma once

#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/base/config.h"
#include "core/base/json.h"
#include "core/base/registry.h"
#include "core/batch.h"
#include "core/pressure.h"

namespace vernier {

/// One named part of the rewards of a table.
struct RewardChannel {
  std::string name;
  double weight = 1;
  std::vector<double> value;  // [B], before the weight; NaN where the part abstained
};

/// Numbers of the drawn tokens of every response, [B][tokens]. Empty where nobody asked for them.
using TokenColumn = std::vector<std::vector<double>>;

/// The responses of an update, group after group. Groups may be uneven.
struct GroupTable {
  int64_t step = 0;                     // that the groups were drawn in, from 1 on
  std::vector<int64_t> offsets{0};      // [groups + 1]
  std::vector<double> reward;           // [B]; NaN where the response has none: it enters nothing
  std::vector<int> correct;             // [B]; 1, 0, or -1 where there is no verdict
  std::vector<int64_t> length;          // [B], tokens, end token included
  std::vector<int64_t> tokens;          // [B], those of them that the policy drew
  std::vector<double> mean_logprob;     // [B], of the sampled tokens; NaN where not known
  std::vector<char> active;             // [B]; 0: no token of it enters the loss
  std::vector<RewardChannel> channels;  // the parts of `reward`
  // [groups], reward of the greedy response to the prompt, NaN where it has none; empty where there
  // are no greedy responses.
  std::vector<double> greedy;

  // Filled for responses that are active, where Algorithm::credit_needs() names them.
  TokenColumn old;          // log-probability at the start of the step
  TokenColumn reference;    // under the frozen reference policy
  TokenColumn square_mass;  // sum over the vocabulary of p^2

  int64_t groups() const { return static_cast<int64_t>(offsets.size()) - 1; }
  size_t size() const { return reward.size(); }
};

/// Token columns of the table that credit() reads.
struct CreditNeeds {
  bool old = false, reference = false, square_mass = false;
  bool any() const { return old || reference || square_mass; }
};

/// What credit() gives: an advantage a response and, where the estimator tells tokens apart, one a
/// token.
struct Credit {
  Credit(std::vector<double> advantage = {}) : response(std::move(advantage)) {}

  std::vector<double> response;  // [B]; the mean over its tokens where `token` is given
  TokenColumn token;             // [B][tokens]; empty where every token has its response's
  double kl = std::nan("");      // mean a token of a divergence in the reward; NaN without one
};

/// Per-sequence scalars of an update, for algorithms that couple the sequences of a group.
struct SequenceScalars {
  std::vector<double> score;  // [B], s_i
  std::vector<double> drift;  // [B], a_i: the sum over tokens of the divergence integrand
};

/// What the tokens of an update weigh: the loss is sum_t aggregate_t (factor_t L_t + penalties).
struct TokenWeights {
  at::Tensor factor;     // [T], of the policy's part
  at::Tensor aggregate;  // [T]
  at::Tensor selected;   // [T], 1 where KL-Cov holds on to the old policy; undefined without it
};

/// What an algorithm makes of the whole update before the losses of its micro-batches.
struct Coupling {
  // Through sequences: the loss of the update is sum_i (-score_weight_i s_i + drift_weight_i a_i)
  // up to a constant, and its gradient is exactly that of the objective.
  std::vector<double> score_weight;  // [B], c_i
  std::vector<double> drift_weight;  // [B]
  // Through tokens, those of the update in order of its table.
  std::vector<int64_t> first;  // [B], the first token of each response
  TokenWeights tokens;
  std::map<std::string, double> metrics;  // objective and penalty among them
};

/// What couple() needs of the whole update: nothing, scalars of its sequences, or its tokens.
enum class Coupled { nothing, sequences, tokens };

/// A scalar whose gradient is the micro-batch's share of the update's, and sums for the metrics:
/// each is already divided by the update's totals, so that the micro-batches add up.
struct Loss {
  at::Tensor value;
  std::map<std::string, double> metrics;
};

/// What happened, for an algorithm that adapts; NaN where it is not known.
struct Observation {
  double kl = std::nan("");       // nats a token
  double entropy = std::nan("");  // nats a token
  int64_t sequences = 0;
  bool updated = false;  // the weights changed
};

/// What a group's own deviation divides in credit(): nothing, the reward, or each of its parts.
enum class Deviation { nothing, reward, parts };

class Algorithm {
 public:
  static constexpr const char* kKind = "algorithm";
  virtual ~Algorithm() = default;

  /// Advantages of the responses of a step; 0 where a response has no reward. Throws UsageError
  /// where a column that it needs is missing.
  virtual Credit credit(const GroupTable& table) const = 0;
  virtual CreditNeeds credit_needs() const { return {}; }
  /// Whether the advantages of a group depend on the other groups of the step.
  virtual bool credit_spans_step() const { return false; }

  /// Steps from the rewards of one group to its advantages, for people (`vernier score --explain`).
  virtual std::string explain(const GroupTable& table, int64_t group) const = 0;

  /// What couple() must see of the whole update before loss().
  virtual Coupled coupled() const { return Coupled::nothing; }
  /// Where it is the reward, a pressure on length cancels in a group that is all right; where it is
  /// the parts, all but their weights does.
  virtual Deviation divides() const { return Deviation::nothing; }
  /// Whether the reward (and not only the verdict) has an effect.
  virtual bool uses_reward() const { return true; }
  /// Whether the advantage of a response is its reward as it is.
  virtual bool keeps_reward() const { return false; }
  /// Whether credit() reads the reward of a greedy response to every prompt.
  virtual bool needs_greedy() const { return false; }
  /// Whether a response that some of its reward's parts cannot score still has an advantage.
  virtual bool uses_channels() const { return false; }
  /// Coefficient of a KL term against a frozen copy of the start policy; 0: none is needed.
  virtual double reference_kl() const { return 0; }
  /// Whether that term is in the loss, and not in the reward: loss() then reads `reference`.
  virtual bool loss_reads_reference() const { return reference_kl() > 0; }

  /// Keys that act on the gap between `old` and `rollout`: of no effect where there is none.
  virtual std::vector<std::string> mismatch_keys() const { return {}; }

  /// s_i and a_i of the batch's responses, in order of the batch, without gradient.
  virtual SequenceScalars scalars(const TokenBatch& batch) const;
  /// Coefficients from the scalars of the whole update, in order of `table`.
  virtual Coupling couple(const GroupTable& table, const SequenceScalars& scalars) const;
  /// Weights of the tokens of the whole update: `update` has them all in order of `table`, in fp64,
  /// without gradient.
  virtual Coupling couple_tokens(const GroupTable& table, const TokenBatch& update) const;

  /// `coupling` is null for algorithms that do not couple.
  virtual Loss loss(const TokenBatch& batch, const Coupling* coupling) const = 0;

  /// Called after the credit of a step and after every update, with what is known then.
  virtual void observe(const Observation&) {}
  /// What observe() has led to, for a checkpoint; null for an algorithm that does not adapt.
  virtual Json state() const { return nullptr; }
  /// Goes on from a state(). Throws UsageError on one that is not of this algorithm.
  virtual void restore(const Json& state);

  /// The knob that trades accuracy for length, where the algorithm has one.
  virtual std::optional<Pressure> pressure() const { return std::nullopt; }
  virtual void set_pressure(double value);
};

/// What an algorithm may know of the run.
struct AlgorithmContext {
  int64_t num_generations = 0;
  int64_t max_completion_length = 0;
};

using AlgorithmRegistry = Registry<Algorithm, Binder&, const AlgorithmContext&>;

}  // namespace vernier
