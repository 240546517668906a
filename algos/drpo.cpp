// DisCO and DRPO: scores of right answers up, a soft maximum of the scores of wrong ones down,
// inside a small KL ball. DRPO weighs the right answers by their length.
//
//   J_q  = sum_{i in P} w_i s_i - tau log( (1/|N|) sum_{j in N} exp(s_j / tau) )
//   loss = -(1/Q) sum_q J_q + (beta/2) max(K - delta, 0)^2
//   s_i  = mean_t logprob (logl), or mean_t exp(logprob - old) (lratio)
//   K    = mean_t (old - logprob) (kl), or of old - logprob + exp(logprob - old) - 1 (low_var_kl)
//   w_i  = softmax over P of r_l(L_i) / lambda (DRPO); 1/|P| (DisCO)
//   r_l  = 1 - x, 1 - x^2 or (1 + cos(pi x)) / 2, x = L / length_capacity
//
// P and N are the right and the wrong answers of a prompt. A prompt without both adds nothing to
// the sum but counts in Q (count_invalid_groups) and in K. disco_b replaces the soft maximum by the
// mean. A right answer never gets a negative push from its length: w_i >= 0.
//
// With c_i = w_i / Q, or -p_j / Q (p = softmax over N of s / tau), and kappa = beta max(K - delta,
// 0), the gradient is that of -sum_i c_i s_i + kappa K, so the update needs s, L and K of all its
// sequences first (couple) and then splits freely.
// Sources: DRPO arXiv:2510.04474 and DisCO arXiv:2505.12366 with their official code
// (Optimization-AI/DRPO, Optimization-AI/DisCO: core_algos.py). DRPO's code has the logl score
// only.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "algos/algorithm.h"
#include "algos/parts.h"
#include "core/base/errors.h"
#include "core/base/json.h"
#include "core/metrics/metrics.h"

namespace vernier {
namespace {

const MetricDocs docs{
    {"drpo/objective", "score", "drpo, disco: J, which the loss takes with a minus"},
    {"drpo/valid_groups", "groups", "drpo, disco: with both right and wrong responses"},
    {"drpo/effective_right", "responses", "drpo: mean of 1 / sum w^2 over the valid groups"},
    {"drpo/kl", "nats", "drpo, disco: K, the divergence from the old policy over all tokens"},
    {"drpo/kappa", "", "drpo, disco: beta max(K - delta, 0), the weight of K's gradient"},
    {"drpo/penalty", "loss", "drpo, disco: (beta / 2) max(K - delta, 0)^2"}};

// The right and the wrong answers of one group, as places in the table.
struct Sides {
  std::vector<int64_t> right, wrong;
  bool both() const { return !right.empty() && !wrong.empty(); }
};

Sides sides_of(const GroupTable& table, int64_t group) {
  Sides sides;
  for (int64_t i = table.offsets[group]; i < table.offsets[group + 1]; ++i) {
    if (table.active[i] == 0 || table.length[i] == 0) continue;
    if (table.correct[i] == 1) sides.right.push_back(i);
    if (table.correct[i] == 0) sides.wrong.push_back(i);
  }
  return sides;
}

std::vector<double> pick(const std::vector<double>& values, const std::vector<int64_t>& places) {
  std::vector<double> out;
  for (const int64_t i : places) out.push_back(values[i]);
  return out;
}

class Discriminative final : public Algorithm {
 public:
  enum class Kind { drpo, disco, disco_b };

  Discriminative(Kind kind, Binder& config, const AlgorithmContext& context) : kind_(kind) {
    capacity_ = static_cast<double>(context.max_completion_length);
    if (kind == Kind::drpo) {
      config.number("lambda", lambda_, 1e-6, std::numeric_limits<double>::infinity(),
                    "strength of the length reward, smaller is stronger; inf: DisCO");
      config.choice("length_reward", shape_, {"linear", "concave", "cosine"},
                    "r_l: 1 - x, 1 - x^2, (1 + cos(pi x)) / 2");
      int64_t capacity = 0;
      config.number("length_capacity", capacity, 0, 1 << 24,
                    "tokens at which r_l ends; 0: rollout.max_completion_length");
      if (capacity > 0) capacity_ = static_cast<double>(capacity);
      if (capacity_ <= 0 && std::isfinite(lambda_))
        config.error("length_capacity",
                     "is 0 and rollout.max_completion_length is not given; set one, in tokens");
      for (const char* key : {"length_reward", "length_capacity"})
        config.only_if(key, std::isfinite(lambda_), "lambda = inf");
      // Past its capacity the cosine would rise again and pay the longest answers.
      if (shape_ == "cosine" && capacity > 0 && capacity < context.max_completion_length)
        config.error("length_capacity",
                     cat(capacity, " is below rollout.max_completion_length = ",
                         context.max_completion_length, ", and the cosine rises again past it"));
    } else {
      lambda_ = std::numeric_limits<double>::infinity();
      config.choice("score", score_, {"logl", "lratio"},
                    "mean log-probability, or mean probability ratio");
      if (score_ == "lratio") tau_ = 1;
    }
    if (kind != Kind::disco_b)
      config.number("tau", tau_, 1e-6, 1e6,
                    "temperature of the soft maximum over wrong answers; lratio: 1 by default");
    config.number("beta", beta_, 0.0, 1e9, "weight of the squared hinge on the divergence");
    config.number("delta", delta_, 0.0, 1e3, "radius of the trust region, nats per token");
    config.choice("kl_type", kl_type_, {"kl", "low_var_kl"}, "estimator of KL(old || policy)");
    config.choice("kl_scope", kl_scope_, {"update", "block"},
                  "the hinge over the whole update, or over blocks of 4 prompts (official)");
    for (const char* key : {"delta", "kl_type", "kl_scope"})
      config.only_if(key, beta_ > 0, "beta = 0");
    config.flag("count_invalid_groups", count_invalid_,
                "prompts without both right and wrong answers count in 1/Q");
  }

  Coupled coupled() const override { return Coupled::sequences; }
  bool uses_reward() const override { return false; }

  /// The advantage form: G w_i for a right answer, -G p_j for a wrong one, 0 in a group without
  /// both. A plain policy gradient with it, averaged over sequences and then over their tokens,
  /// takes the same step while logprob = old. Wrong answers need mean_logprob; NaN without.
  Credit credit(const GroupTable& table) const override {
    std::vector<double> advantage(table.size(), 0.0);
    for (int64_t g = 0; g < table.groups(); ++g) {
      const Sides sides = sides_of(table, g);
      if (!sides.both()) continue;
      const auto size = static_cast<double>(table.offsets[g + 1] - table.offsets[g]);
      const std::vector<double> w = length_weights(table, sides.right);
      // The lratio score is 1 for every response while logprob = old.
      std::vector<double> scores = score_ == "logl" ? pick(table.mean_logprob, sides.wrong)
                                                    : std::vector<double>(sides.wrong.size(), 1.0);
      const std::vector<double> p = wrong_weights(scores);
      for (size_t k = 0; k < w.size(); ++k) advantage[sides.right[k]] = size * w[k];
      for (size_t k = 0; k < p.size(); ++k) advantage[sides.wrong[k]] = -size * p[k];
    }
    return advantage;
  }

  std::string explain(const GroupTable& table, int64_t group) const override {
    const Sides sides = sides_of(table, group);
    Json step = {{"step", "advantage"},
                 {"algorithm", name()},
                 {"right", sides.right.size()},
                 {"wrong", sides.wrong.size()}};
    if (sides.both()) {
      const std::vector<double> w = length_weights(table, sides.right);
      double squares = 0;
      for (const double weight : w) squares += weight * weight;
      step["length_weights"] = w;
      step["effective_right"] = 1.0 / squares;
      step["formula"] = "right: G w_i; wrong: -G p_j";
    } else {
      step["formula"] = "0: the group does not have both right and wrong answers";
    }
    return dump_json(step);
  }

  SequenceScalars scalars(const TokenBatch& b) const override {
    const at::NoGradGuard no_grad;
    return {numbers_of(mean_by_sequence(token_score(b), b)),
            numbers_of(sum_by_sequence(token_drift(b), b))};
  }

  Coupling couple(const GroupTable& table, const SequenceScalars& scalars) const override {
    Coupling out;
    out.score_weight.assign(table.size(), 0.0);
    out.drift_weight.assign(table.size(), 0.0);
    double objective = 0, effective = 0;
    int64_t valid = 0;
    for (int64_t g = 0; g < table.groups(); ++g) {
      const Sides sides = sides_of(table, g);
      if (!sides.both()) continue;
      ++valid;
      const std::vector<double> w = length_weights(table, sides.right);
      const std::vector<double> wrong = pick(scalars.score, sides.wrong);
      const std::vector<double> p = wrong_weights(wrong);
      double squares = 0;
      for (size_t k = 0; k < w.size(); ++k) {
        out.score_weight[sides.right[k]] = w[k];
        objective += w[k] * scalars.score[sides.right[k]];
        squares += w[k] * w[k];
      }
      effective += 1.0 / squares;
      for (size_t k = 0; k < p.size(); ++k) out.score_weight[sides.wrong[k]] = -p[k];
      objective -= wrong_score(wrong);
    }
    const int64_t counted = count_invalid_ ? table.groups() : valid;
    const double q = static_cast<double>(std::max<int64_t>(counted, 1));
    for (double& weight : out.score_weight) weight /= q;
    const double penalty = add_hinges(table, scalars, out);
    out.metrics["drpo/objective"] = objective / q;
    out.metrics["drpo/valid_groups"] = static_cast<double>(valid);
    out.metrics["drpo/effective_right"] =
        valid > 0 ? effective / static_cast<double>(valid) : std::nan("");
    out.metrics["loss"] = penalty - objective / q;
    return out;
  }

  Loss loss(const TokenBatch& b, const Coupling* coupling) const override {
    ensure(coupling != nullptr, "a coupling");
    at::Tensor score = at::empty({static_cast<int64_t>(b.lengths.size())}, at::kDouble);  // [B]
    at::Tensor drift = at::empty_like(score);
    for (size_t i = 0; i < b.lengths.size(); ++i) {
      const auto place = static_cast<size_t>(b.sequences[i]);
      score.data_ptr<double>()[i] =
          coupling->score_weight[place] / static_cast<double>(b.lengths[i]);
      drift.data_ptr<double>()[i] = coupling->drift_weight[place];
    }
    return {(token_drift(b) * spread(drift, b) - token_score(b) * spread(score, b)).sum(), {}};
  }

  // disco is drpo without the knob: one that turned it would be drpo.
  std::optional<Pressure> pressure() const override {
    if (kind_ != Kind::drpo) return std::nullopt;
    return Pressure{.key = "lambda",
                    .value = lambda_,
                    .low = 0.01,
                    .high = 10,
                    .smaller_is_more = true,
                    .none = std::numeric_limits<double>::infinity()};
  }

  void set_pressure(double value) override {
    ensure(kind_ == Kind::drpo && capacity_ > 0, "drpo with a capacity");
    lambda_ = value;
  }

 private:
  std::string name() const {
    return kind_ == Kind::drpo ? "drpo" : kind_ == Kind::disco ? "disco" : "disco_b";
  }

  at::Tensor token_score(const TokenBatch& b) const {
    return score_ == "logl" ? b.logprob : (b.logprob - b.old).exp();
  }

  at::Tensor token_drift(const TokenBatch& b) const {
    const at::Tensor d = b.logprob - b.old;
    return kl_type_ == "kl" ? -d : d.exp() - d - 1.0;
  }

  double length_reward(double length) const {
    const double x = length / capacity_;
    if (shape_ == "linear") return 1.0 - x;
    if (shape_ == "concave") return 1.0 - x * x;
    return 0.5 + 0.5 * std::cos(std::numbers::pi * x);
  }

  std::vector<double> length_weights(const GroupTable& table,
                                     const std::vector<int64_t>& right) const {
    if (std::isinf(lambda_))
      return std::vector<double>(right.size(), 1.0 / static_cast<double>(right.size()));
    std::vector<double> rewards;
    for (const int64_t i : right)
      rewards.push_back(length_reward(static_cast<double>(table.length[i])));
    return softmax(rewards, lambda_);
  }

  std::vector<double> wrong_weights(const std::vector<double>& scores) const {
    if (kind_ == Kind::disco_b)
      return std::vector<double>(scores.size(), 1.0 / static_cast<double>(scores.size()));
    return softmax(scores, tau_);
  }

  double wrong_score(const std::vector<double>& scores) const {
    if (kind_ != Kind::disco_b) return log_mean_exp(scores, tau_);
    double sum = 0;
    for (const double score : scores) sum += score;
    return sum / static_cast<double>(scores.size());
  }

  // Adds the hinge of every block of groups (one block: the update) and returns the penalty. A
  // block counts with its share of the sequences, as the official code weighs its micro-batches.
  double add_hinges(const GroupTable& table, const SequenceScalars& scalars, Coupling& out) const {
    const int64_t step = groups_of_scope(table, kl_scope_);
    double penalty = 0, drift_sum = 0, token_sum = 0, kappa_sum = 0;
    const auto total = static_cast<double>(std::count(table.active.begin(), table.active.end(), 1));
    for (int64_t first = 0; first < table.groups(); first += step) {
      const int64_t begin = table.offsets[first];
      const int64_t end = table.offsets[std::min(table.groups(), first + step)];
      double drift = 0, tokens = 0, sequences = 0;
      for (int64_t i = begin; i < end; ++i) {
        if (table.active[i] == 0) continue;
        drift += scalars.drift[i];
        tokens += static_cast<double>(table.tokens[i]);
        sequences += 1;
      }
      if (tokens == 0) continue;
      const double hinge = std::max(drift / tokens - delta_, 0.0), share = sequences / total;
      for (int64_t i = begin; i < end; ++i)
        out.drift_weight[i] = table.active[i] != 0 ? share * beta_ * hinge / tokens : 0.0;
      penalty += share * 0.5 * beta_ * hinge * hinge;
      kappa_sum += share * beta_ * hinge;
      drift_sum += drift;
      token_sum += tokens;
    }
    out.metrics["drpo/kl"] = token_sum > 0 ? drift_sum / token_sum : 0.0;
    out.metrics["drpo/kappa"] = kappa_sum;
    out.metrics["drpo/penalty"] = penalty;
    return penalty;
  }

  Kind kind_;
  std::string score_ = "logl", shape_ = "linear", kl_type_ = "kl", kl_scope_ = "update";
  double lambda_ = 0.1, tau_ = 10, beta_ = 1000, delta_ = 1e-4, capacity_ = 0;
  bool count_invalid_ = true;
};

AlgorithmRegistry::Make make(Discriminative::Kind kind) {
  return [kind](Binder& config, const AlgorithmContext& context) -> std::unique_ptr<Algorithm> {
    return std::make_unique<Discriminative>(kind, config, context);
  };
}

const AlgorithmRegistry::Entry drpo{
    "drpo", "length-weighted right answers against a soft maximum of wrong ones (arXiv:2510.04474)",
    make(Discriminative::Kind::drpo)};
const AlgorithmRegistry::Entry disco{"disco", "DRPO without the length weight (arXiv:2505.12366)",
                                     make(Discriminative::Kind::disco)};
const AlgorithmRegistry::Entry disco_b{"disco_b", "DisCO with the mean over wrong answers",
                                       make(Discriminative::Kind::disco_b)};

}  // namespace
}  // namespace vernier
