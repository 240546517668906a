// The policy-gradient family: an advantage, a policy loss, an aggregation, a KL term, a correction
// and an entropy term, put together. Its algorithms differ in their defaults alone.
//
//   loss = sum_t aggregate_t (factor_t L_t + beta kl_t - c entropy_t)
//
// L_t is one of losses.h; factor_t, a constant, is the product of the correction's weight and of
// the masks (mismatch.h, selection.h); aggregate_t is one of parts.h. The advantages in L_t are
// those of advantages.h.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "algos/options.h"
#include "algos/parts.h"
#include "algos/selection.h"
#include "core/base/errors.h"
#include "core/metrics/metrics.h"

namespace vernier {
namespace {

const MetricDocs docs{
    {"kl", "nats", "with beta: mean divergence from the start policy, over tokens"},
    {"kl_coef", "", "with kl_target: beta of the update"},
    {"entropy_coef", "", "with entropy_target: weight of the entropy bonus in the update"},
    {"clip_ratio/low_mean", "share", "tokens of wrong direction below the loss's lower bound"},
    {"clip_ratio/high_mean", "share", "tokens of right direction above the loss's upper bound"},
    {"correction/kept", "share", "tokens that corrections, rejections and masks leave in the loss"},
    {"correction/weight", "", "mean factor that they put on a token's loss"}};

// A half-open range of the update's tokens.
struct Range {
  int64_t begin = 0, end = 0;
};

class PolicyGradient final : public Algorithm {
 public:
  PolicyGradient(std::string name, const PolicyGradientOptions& preset, Binder& config,
                 const AlgorithmContext& context)
      : name_(std::move(name)), o_(preset) {
    o_.bind(config, context);
    beta_ = o_.kl.beta;
    entropy_coef_ = o_.entropy.coef;
    entropy_rests_ = o_.entropy.target > 0;  // until the first measurement
  }

  Deviation divides() const override {
    const AdvantageOptions& a = o_.advantage;
    if (a.estimator == "gdpo") return Deviation::parts;
    const bool by_group = (a.estimator == "grpo" && a.scale == "group") ||
                          a.estimator == "grpo_passk" || a.estimator == "grpo_lead" ||
                          a.estimator == "diet";
    return by_group ? Deviation::reward : Deviation::nothing;
  }
  bool uses_reward() const override { return reads_reward(o_.advantage.estimator); }
  bool keeps_reward() const override { return o_.advantage.estimator == "naive"; }
  bool needs_greedy() const override { return o_.advantage.estimator == "remax"; }
  bool uses_channels() const override { return o_.advantage.estimator == "gdpo"; }
  double reference_kl() const override { return o_.kl.beta; }
  bool loss_reads_reference() const override { return o_.kl.beta > 0 && !kl_in_reward(); }

  std::vector<std::string> mismatch_keys() const override {
    std::vector<std::string> out;
    if (o_.correction.kind != "none") out.emplace_back("correction");
    if (!o_.correction.rejection.empty()) out.emplace_back("rejection");
    if (o_.correction.m2po_threshold > 0) out.emplace_back("m2po_threshold");
    return out;
  }

  bool credit_spans_step() const override { return spans_step(o_.advantage); }

  CreditNeeds credit_needs() const override {
    const bool otb = o_.advantage.estimator == "otb";
    return {.old = otb || kl_in_reward(), .reference = kl_in_reward(), .square_mass = otb};
  }

  Credit credit(const GroupTable& table) const override {
    check_columns(table);
    if (!kl_in_reward()) return advantages(table, o_.advantage, {});
    TokenColumn penalty(table.size());
    double sum = 0, count = 0;
    for (size_t i = 0; i < table.size(); ++i) {
      if (table.old[i].empty()) continue;
      const at::Tensor d = at::tensor(table.old[i]) - at::tensor(table.reference[i]);
      penalty[i] = numbers_of(kl_estimate(o_.kl.estimator, o_.kl.clamp, d));
      count += static_cast<double>(penalty[i].size());
      for (double& value : penalty[i]) {
        sum += value;
        value *= beta_;
      }
    }
    Credit out = advantages(table, o_.advantage, penalty);
    if (count > 0) out.kl = sum / count;
    return out;
  }

  std::string explain(const GroupTable& table, int64_t group) const override {
    const AdvantageOptions& a = o_.advantage;
    const GroupStatistics found = group_statistics(table, table.reward, group, a.group_of_one);
    Json step = {{"step", "advantage"},
                 {"algorithm", name_},
                 {"estimator", a.estimator},
                 {"mean", found.mean},
                 {"std", found.std},
                 {"counted", found.counted},
                 {"formula", formula_of_advantage()}};
    return dump_json(step);
  }

  Coupled coupled() const override {
    return o_.couples_tokens() ? Coupled::tokens : Coupled::nothing;
  }

  Coupling couple_tokens(const GroupTable& table, const TokenBatch& update) const override {
    Coupling out;
    out.first.assign(table.size(), -1);
    int64_t next = 0;
    for (size_t b = 0; b < update.lengths.size(); ++b) {
      out.first[static_cast<size_t>(update.sequences[b])] = next;
      next += update.lengths[b];
    }
    out.tokens = weights(update);
    if (o_.loss.name == "kl_cov") out.tokens.selected = at::zeros_like(out.tokens.factor);
    for (const Range& range : scopes(table, update)) choose(update, range, out.tokens);
    return out;
  }

  Loss loss(const TokenBatch& b, const Coupling* coupling) const override {
    const TokenWeights w = coupling != nullptr ? part_of(*coupling, b) : weights(b);
    const PolicyTerm term = policy_term(b, o_.loss);
    const double tokens = static_cast<double>(std::max<int64_t>(b.totals.tokens, 1));
    Loss out;
    at::Tensor token = term.loss;
    if (w.selected.defined())
      token = token + o_.covariance.coef * (b.logprob - b.old).abs() * w.selected;
    token = token * w.factor;
    if (loss_reads_reference()) token = token + beta_ * kl_term(b, out, tokens);
    const double bonus = entropy_rests_ ? 0 : entropy_coef_;
    if (bonus > 0 && o_.entropy.mean == "verl") token = token - bonus * b.entropy;
    out.value = (token * w.aggregate).sum();
    if (bonus > 0 && o_.entropy.mean == "trl")
      out.value = out.value - bonus / tokens * b.entropy.sum();
    const auto share = [&](const at::Tensor& hit) { return sum_of(hit) / tokens; };
    if (term.low.defined()) {
      out.metrics["clip_ratio/low_mean"] = share(term.low);
      out.metrics["clip_ratio/high_mean"] = share(term.high);
    }
    if (weighs()) {
      out.metrics["correction/kept"] = share(w.factor != 0);
      out.metrics["correction/weight"] = share(w.factor);
    }
    const double part = static_cast<double>(b.logprob.numel()) / tokens;
    if (o_.kl.target > 0) out.metrics["kl_coef"] = beta_ * part;
    if (o_.entropy.target > 0) out.metrics["entropy_coef"] = bonus * part;
    out.metrics["loss"] = out.value.item<double>();
    return out;
  }

  void observe(const Observation& seen) override {
    if (seen.updated) ++updates_;
    // The controller of "Fine-Tuning Language Models from Human Preferences", arXiv:1909.08593.
    if (o_.kl.target > 0 && std::isfinite(seen.kl)) {
      const double error = std::clamp(seen.kl / o_.kl.target - 1, -0.2, 0.2);
      beta_ *= 1 + error * static_cast<double>(seen.sequences) / o_.kl.horizon;
    }
    // Skywork-OR1, arXiv:2505.22312.
    if (o_.entropy.target > 0 && seen.updated && std::isfinite(seen.entropy)) {
      entropy_rests_ = seen.entropy > o_.entropy.target;
      const double change = entropy_rests_ ? -o_.entropy.step : o_.entropy.step;
      entropy_coef_ = std::clamp(entropy_coef_ + change, o_.entropy.low, o_.entropy.high);
    }
  }

  Json state() const override {
    if (!adapts()) return nullptr;
    return {{"beta", beta_},
            {"entropy_coef", entropy_coef_},
            {"entropy_rests", entropy_rests_},
            {"updates", updates_}};
  }

  void restore(const Json& state) override {
    if (!adapts()) return Algorithm::restore(state);
    try {
      beta_ = state.at("beta").get<double>();
      entropy_coef_ = state.at("entropy_coef").get<double>();
      entropy_rests_ = state.at("entropy_rests").get<bool>();
      updates_ = state.at("updates").get<int64_t>();
    } catch (const Json::exception& problem) {
      fail("the checkpoint's state of the algorithm, ", dump_json(state), ", is not one of ", name_,
           ": ", problem.what());
    }
  }

  std::optional<Pressure> pressure() const override {
    if (o_.advantage.estimator == "diet")
      return Pressure{.key = "diet_alpha",
                      .value = o_.advantage.diet_alpha,
                      .low = 0.01,
                      .high = 10,
                      .smaller_is_more = false,
                      .none = 0};
    if (o_.advantage.estimator != "drpo_norm") return std::nullopt;
    return Pressure{.key = "lambda",
                    .value = o_.advantage.lambda,
                    .low = 0.01,
                    .high = 10,
                    .smaller_is_more = true,
                    .none = std::numeric_limits<double>::infinity()};
  }

  void set_pressure(double value) override {
    ensure(pressure().has_value(), "an advantage with a knob");
    (o_.advantage.estimator == "diet" ? o_.advantage.diet_alpha : o_.advantage.lambda) = value;
  }

 private:
  bool kl_in_reward() const { return o_.kl.beta > 0 && o_.kl.where == "reward"; }

  bool adapts() const {
    return o_.kl.target > 0 || o_.entropy.target > 0 || o_.loss.name == "clip_cov";
  }

  // Whether the factors can be other than 1.
  bool weighs() const {
    return o_.correction.reads_rollout() || o_.entropy.top_share < 1 || o_.loss.name == "clip_cov";
  }

  void check_columns(const GroupTable& table) const {
    const CreditNeeds needs = credit_needs();
    const std::string who = kl_in_reward()
                                ? std::string("algo.kl_in = \"reward\"")
                                : cat("algo.advantage = \"", o_.advantage.estimator, "\"");
    if ((needs.old && table.old.empty()) || (needs.square_mass && table.square_mass.empty()) ||
        (needs.reference && table.reference.empty()))
      fail(who, " needs the model's probabilities of every token",
           needs.reference ? ", and the start policy's" : "",
           "; responses cannot be scored with it without a model",
           kl_in_reward() ? " (algo.beta = 0 leaves the term out)" : "");
  }

  std::string formula_of_advantage() const {
    const AdvantageOptions& a = o_.advantage;
    if (a.estimator == "grpo" && a.scale == "none") return "reward - mean";
    if (a.estimator == "grpo")
      return cat("(reward - mean) / (std", a.scale == "batch" ? " of the step" : "", " + ", a.eps,
                 ")");
    if (a.estimator == "rloo") return "reward - mean of the others";
    if (a.estimator == "reinforce_plus_plus") return "return of the token, whitened over tokens";
    if (a.estimator == "reinforce_plus_plus_baseline")
      return "reward - mean, whitened over the step's tokens";
    if (a.estimator == "remax") return "return of the token - reward of the greedy response";
    if (a.estimator == "opo") return "reward - mean weighted by length";
    if (a.estimator == "gpg") return "(reward - mean) * responses / rewards that are not 0";
    if (a.estimator == "grpo_passk") return cat("best: (reward - second) / (std + ", a.eps, ")");
    if (a.estimator == "gdpo") return "sum of the parts' normalised rewards, normalised again";
    if (a.estimator == "otb") return "return - baseline of least variance";
    if (a.estimator == "naive") return "reward";
    if (a.estimator == "grpo_lead")
      return "(reward - mean) / (std + eps) times w(p) above 0, w(1 - p) below";
    if (a.estimator == "diet") return "that of the reward - alpha p times that of the length";
    return "right: A+ n softmax(-length / (capacity lambda)); wrong: A-";
  }

  void require_rollout(const TokenBatch& b) const {
    if (!o_.correction.reads_rollout() || b.rollout.defined()) return;
    fail(
        "algo.correction, rejection, opsm_threshold and m2po_threshold need the log-probabilities "
        "that were recorded while sampling, and a response of this update has none");
  }

  // What needs no other responses than those of the batch.
  TokenWeights weights(const TokenBatch& b) const {
    require_rollout(b);
    const CorrectionOptions& c = o_.correction;
    const at::Tensor kept = rejection_mask(b, c);
    at::Tensor factor = correction_weights(b, c) * kept;
    if (c.opsm_threshold > 0) factor = factor * opsm_mask(b, c.opsm_threshold);
    const bool counted_anew = !c.rejection.empty() && c.rejection_denominator == "verl";
    at::Tensor aggregate = aggregation_weights(
        b, o_.aggregation,
        counted_anew ? kept_denominators(b, kept) : denominators_of(b, o_.sequence_count == "trl"));
    if (counted_anew) aggregate = aggregate * kept;
    return {factor.to(b.logprob.scalar_type()), aggregate, {}};
  }

  // The tokens of the update, or of every block of its prompts.
  std::vector<Range> scopes(const GroupTable& table, const TokenBatch& update) const {
    const int64_t step = groups_of_scope(table, o_.scope);
    std::vector<Range> out;
    size_t b = 0;
    int64_t token = 0;
    for (int64_t first = 0; first < table.groups(); first += step) {
      const int64_t end = table.offsets[std::min(table.groups(), first + step)];
      Range range{token, token};
      for (; b < update.sequences.size() && update.sequences[b] < end; ++b)
        range.end = token += update.lengths[b];
      if (range.end > range.begin) out.push_back(range);
    }
    return out;
  }

  // Multiplies what is chosen among the tokens of a range into their weights.
  void choose(const TokenBatch& update, const Range& range, TokenWeights& w) const {
    const auto numbers = [&](const at::Tensor& values) {
      return numbers_of(values.narrow(0, range.begin, range.end - range.begin));
    };
    const auto apply = [&](const std::vector<double>& mask) {
      w.factor.narrow(0, range.begin, range.end - range.begin).mul_(at::tensor(mask));
    };
    if (o_.correction.normalize) apply(normalising(numbers(w.factor), update, range));
    if (o_.correction.m2po_threshold > 0)
      apply(m2po_mask(numbers(update.rollout - update.old), o_.correction.m2po_threshold));
    if (o_.entropy.top_share < 1)
      apply(top_entropy_mask(numbers(update.entropy), o_.entropy.top_share));
    const bool clip = o_.loss.name == "clip_cov", pull = o_.loss.name == "kl_cov";
    if (!clip && !pull) return;
    const CovarianceOptions& c = o_.covariance;
    const std::vector<double> cov = covariance(numbers(update.advantage), numbers(update.logprob));
    if (pull) {
      w.selected.narrow(0, range.begin, range.end - range.begin)
          .copy_(at::tensor(kl_cov_selection(cov, c.ratio)));
      return;
    }
    const PolicyTerm term = policy_term(update, o_.loss);
    const Rng rng(0, Stream::selection, static_cast<uint64_t>(updates_),
                  static_cast<uint64_t>(range.begin));
    apply(clip_cov_mask(cov, numbers(term.low.logical_or(term.high)), c.ratio, c.low, c.high, rng));
  }

  // 1 / the mean of the kept weights: over tokens, or for weights of responses over those.
  std::vector<double> normalising(const std::vector<double>& weights, const TokenBatch& update,
                                  const Range& range) const {
    const int64_t* response = update.sequence.const_data_ptr<int64_t>() + range.begin;
    double sum = 0, count = 0;
    for (size_t t = 0; t < weights.size(); ++t) {
      if (weights[t] == 0) continue;
      const double share =
          o_.correction.by_sequence()
              ? 1.0 / static_cast<double>(update.lengths[static_cast<size_t>(response[t])])
              : 1.0;
      sum += weights[t] * share;
      count += share;
    }
    return std::vector<double>(weights.size(), sum > 0 ? count / sum : 1.0);
  }

  // The micro-batch's part of the update's weights.
  static TokenWeights part_of(const Coupling& coupling, const TokenBatch& b) {
    std::vector<int64_t> places;
    for (size_t i = 0; i < b.lengths.size(); ++i)
      for (int64_t t = 0; t < b.lengths[i]; ++t)
        places.push_back(coupling.first[static_cast<size_t>(b.sequences[i])] + t);
    const at::Tensor index = at::tensor(places);
    const auto pick = [&](const at::Tensor& values) {
      return values.defined() ? values.index_select(0, index).to(b.logprob.scalar_type()) : values;
    };
    return {pick(coupling.tokens.factor), pick(coupling.tokens.aggregate),
            pick(coupling.tokens.selected)};
  }

  at::Tensor kl_term(const TokenBatch& b, Loss& out, double tokens) const {
    const at::Tensor kl = kl_estimate(o_.kl.estimator, o_.kl.clamp, b.logprob - b.reference);
    out.metrics["kl"] = sum_of(kl) / tokens;
    return o_.kl.estimator == "k3_corrected" ? kl * loss_ratio(b, o_.loss) : kl;
  }

  std::string name_;
  PolicyGradientOptions o_;
  double beta_ = 0, entropy_coef_ = 0;
  bool entropy_rests_ = false;
  int64_t updates_ = 0;
};

using Change = void (*)(PolicyGradientOptions&);

AlgorithmRegistry::Entry entry(const std::string& name, const std::string& summary, Change change) {
  PolicyGradientOptions preset;
  change(preset);
  return {name, summary,
          [name, preset](Binder& config,
                         const AlgorithmContext& context) -> std::unique_ptr<Algorithm> {
            return std::make_unique<PolicyGradient>(name, preset, config, context);
          }};
}

void use_loss(PolicyGradientOptions& o, const char* name) {
  o.loss = loss_defaults(name);
  o.aggregation = default_aggregation(name);
}

void kl_in_reward(PolicyGradientOptions& o, double beta) {
  o.kl.beta = beta;
  o.kl.where = "reward";
  o.kl.estimator = "k1";
}

const AlgorithmRegistry::Entry entries[] = {
    entry("grpo", "group-relative advantage, clipped ratio (arXiv:2402.03300)",
          [](PolicyGradientOptions&) {}),
    entry("dr_grpo", "grpo without the deviation and without a bias by length (arXiv:2503.20783)",
          [](PolicyGradientOptions& o) {
            o.advantage.scale = "none";
            o.aggregation = "seq-mean-token-sum-norm";
          }),
    entry("dapo", "grpo with a higher upper bound and a dual clip (arXiv:2503.14476)",
          [](PolicyGradientOptions& o) {
            o.loss.epsilon_high = 0.28;
            o.loss.dual_clip = 10;
          }),
    entry("rloo", "leave-one-out baseline, KL in the reward (arXiv:2402.14740)",
          [](PolicyGradientOptions& o) {
            o.advantage.estimator = "rloo";
            o.aggregation = "seq-mean-token-sum";
            kl_in_reward(o, 0.001);
          }),
    entry("reinforce_plus_plus", "token returns whitened over the step (arXiv:2501.03262)",
          [](PolicyGradientOptions& o) {
            o.advantage.estimator = "reinforce_plus_plus";
            kl_in_reward(o, 0.01);
          }),
    entry("dler", "group mean, whitened over the step's tokens; high clip (arXiv:2510.15110)",
          [](PolicyGradientOptions& o) {
            o.advantage.estimator = "reinforce_plus_plus_baseline";
            o.loss.epsilon_high = 0.28;
            o.loss.dual_clip = 10;
            o.kl.beta = 0.0005;
          }),
    entry("gspo", "ratio of whole responses (arXiv:2507.18071)",
          [](PolicyGradientOptions& o) { use_loss(o, "gspo"); }),
    entry("cispo", "REINFORCE with a capped ratio (arXiv:2506.13585; cap as in ScaleRL)",
          [](PolicyGradientOptions& o) {
            use_loss(o, "cispo");
            o.loss.cispo_cap = "trl";
            o.loss.epsilon_high = 5;
          }),
    entry("gmpo", "geometric mean of clipped ratios (arXiv:2507.20673)",
          [](PolicyGradientOptions& o) { use_loss(o, "gmpo"); }),
    entry("sapo", "a soft gate in place of the clip (arXiv:2511.20347)",
          [](PolicyGradientOptions& o) { use_loss(o, "sapo"); }),
    entry("gdpo", "every part of the reward normalised by itself (arXiv:2601.05242)",
          [](PolicyGradientOptions& o) {
            o.advantage.estimator = "gdpo";
            o.advantage.eps = default_eps("gdpo", "");
            o.loss.epsilon_high = 0.28;
          }),
    entry("decoupled_ppo",
          "clipped against the update's start, weighted from the rollout's policy "
          "(arXiv:2505.24298)",
          [](PolicyGradientOptions& o) {
            o.correction = correction_defaults("token_mask");
            o.correction.low = 0;
          })};

}  // namespace
}  // namespace vernier
