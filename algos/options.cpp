#include "algos/options.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "algos/parts.h"
#include "core/base/errors.h"

namespace vernier {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::string given(std::string_view key, const std::string& value) {
  return cat(key, " = \"", value, "\"");
}

}  // namespace

void PolicyGradientOptions::bind(Binder& config, const AlgorithmContext& context) {
  bind_advantage(config, context);
  bind_loss(config);
  bind_covariance(config);
  bind_kl(config);
  bind_entropy(config);
  bind_correction(config);
  config.choice("selection_scope", scope, {"update", "block"},
                "what is chosen or normalised over tokens: over the update, or over blocks of 4 "
                "prompts");
  config.only_if("selection_scope", couples_tokens(), "nothing that is chosen over the update");
}

bool PolicyGradientOptions::couples_tokens() const {
  return loss.name == "kl_cov" || loss.name == "clip_cov" || entropy.top_share < 1 ||
         correction.m2po_threshold > 0 || correction.normalize ||
         (!correction.rejection.empty() && correction.rejection_denominator == "verl");
}

void PolicyGradientOptions::bind_advantage(Binder& config, const AlgorithmContext& context) {
  AdvantageOptions& a = advantage;
  const std::string preset = a.estimator, preset_scale = a.scale;
  config.choice("advantage", a.estimator, advantage_estimators(), "the estimator of advantages");
  const auto is = [&](std::initializer_list<const char*> names) {
    return std::find(names.begin(), names.end(), a.estimator) != names.end();
  };
  const std::string chosen = given("advantage", a.estimator);
  config.choice("scale_rewards", a.scale, {"group", "batch", "none"},
                "grpo: divide by the deviation of the group, of the step, or not");
  config.only_if("scale_rewards", a.estimator == "grpo", chosen);
  if (a.estimator != preset || a.scale != preset_scale) a.eps = default_eps(a.estimator, a.scale);
  config.number("advantage_eps", a.eps, 0.0, 1.0, "added to the standard deviation");
  config.only_if("advantage_eps",
                 is({"gdpo", "grpo_passk", "drpo_norm", "grpo_lead", "diet"}) ||
                     (a.estimator == "grpo" && a.scale != "none"),
                 a.estimator == "grpo" ? given("scale_rewards", a.scale) : chosen);
  config.choice("group_of_one", a.group_of_one, {"verl", "trl"},
                "a single response's baseline: 0 (verl), or its own reward (TRL)");
  config.only_if("group_of_one",
                 !is({"reinforce_plus_plus", "otb", "remax", "grpo_passk", "naive"}), chosen);
  config.choice("whitening", a.whitening, {"verl", "openrlhf"},
                "variance over tokens with n - 1 (verl), or with n and at least 1e-8 (OpenRLHF)");
  config.only_if("whitening", is({"reinforce_plus_plus", "reinforce_plus_plus_baseline"}), chosen);
  config.number("gamma", a.gamma, 0.0, 1.0, "reinforce_plus_plus: discount a token");
  config.only_if("gamma", a.estimator == "reinforce_plus_plus", chosen);
  config.choice("gdpo_norm", a.gdpo_norm, {"trl", "verl"},
                "gdpo: normalised over the step's responses (TRL), or its tokens (verl)");
  config.choice("gdpo_missing", a.gdpo_missing, {"trl", "nvlabs"},
                "gdpo: a part that abstains is left out (TRL), or counts as 0 (NVlabs)");
  for (const char* key : {"gdpo_norm", "gdpo_missing"})
    config.only_if(key, a.estimator == "gdpo", chosen);
  config.number("lambda", a.lambda, 1e-6, kInfinity,
                "drpo_norm: strength of the length reward, smaller is stronger; inf: grpo");
  config.number("length_capacity", a.capacity, 0.0, 1e9,
                "drpo_norm: tokens at which the length reward is 0; 0: "
                "rollout.max_completion_length");
  config.only_if("lambda", a.estimator == "drpo_norm", chosen);
  config.only_if("length_capacity", a.estimator == "drpo_norm" && std::isfinite(a.lambda),
                 a.estimator == "drpo_norm" ? "lambda = inf" : chosen);
  bind_length_advantage(config);
  if (a.estimator != "drpo_norm") return;
  if (a.capacity == 0) a.capacity = static_cast<double>(context.max_completion_length);
  if (a.capacity == 0)
    config.error("length_capacity",
                 "is 0 and rollout.max_completion_length is not given; set one, in tokens");
}

void PolicyGradientOptions::bind_length_advantage(Binder& config) {
  AdvantageOptions& a = advantage;
  const std::string chosen = given("advantage", a.estimator);
  config.number("lead_low", a.lead_low, 0.0, 100.0, "grpo_lead: least weight of a prompt");
  config.number("lead_high", a.lead_high, 0.0, 100.0, "grpo_lead: largest weight of a prompt");
  config.number("lead_center", a.lead_center, 0.0, 1.0, "grpo_lead: solve rate between the two");
  config.number("lead_slope", a.lead_slope, 0.0, 1e3, "grpo_lead: steepness there");
  for (const char* key : {"lead_low", "lead_high", "lead_center", "lead_slope"})
    config.only_if(key, a.estimator == "grpo_lead", chosen);
  config.number("diet_alpha", a.diet_alpha, 0.0, 1e3,
                "diet: weight of the length advantage where all are right");
  config.number("diet_period", a.diet_period, 0, 1 << 30,
                "diet: steps in which that weight goes from 0 to diet_alpha and back; 0: constant");
  for (const char* key : {"diet_alpha", "diet_period"})
    config.only_if(key, a.estimator == "diet", chosen);
}

void PolicyGradientOptions::bind_loss(Binder& config) {
  const std::string preset = loss.name;
  config.choice("loss", loss.name, policy_losses(), "the policy's loss");
  if (loss.name != preset) {
    loss = loss_defaults(loss.name);
    aggregation = default_aggregation(loss.name);
  }
  const std::string chosen = given("loss", loss.name);
  const auto only = [&](const char* key, bool reads) { config.only_if(key, reads, chosen); };
  config.choice("loss_aggregation", aggregation, loss_aggregations(),
                "how token losses become one number");
  config.choice("sequence_count", sequence_count, {"verl", "trl"},
                "responses that seq-mean divides by: those with tokens in the loss (verl), or "
                "masked ones too (TRL)");
  config.only_if("sequence_count", aggregation.starts_with("seq-mean"),
                 given("loss_aggregation", aggregation));
  const std::string cap = loss.cispo_cap;
  config.choice("cispo_cap", loss.cispo_cap, {"verl", "trl"},
                "cispo: the cap is 1 + epsilon_high (verl), or epsilon_high itself (TRL)");
  only("cispo_cap", loss.name == "cispo");
  if (loss.cispo_cap != cap) loss.epsilon_high = loss.cispo_cap == "trl" ? 5 : 0.2;
  const bool wide = loss.name == "cispo";
  config.number("epsilon", loss.epsilon, 0.0, wide ? 1e3 : 1.0, "clip bound below a ratio of 1");
  config.number("epsilon_high", loss.epsilon_high, 0.0, wide ? 1e3 : 10.0,
                "clip bound above a ratio of 1; dppo: of the probability's change");
  config.only_if("epsilon", reads_epsilon(loss),
                 wide ? given("cispo_cap", loss.cispo_cap) : chosen);
  only("epsilon_high", reads_epsilon_high(loss));
  config.number("delta", loss.delta, 0.0, 1e3, "ppo: cap of the free ratio; 0: none");
  if (loss.delta > 0) loss.dual_clip = 0;
  config.number("dual_clip", loss.dual_clip, 0.0, 1e3,
                "ppo: bound of the loss of a wrong answer's token, in units of -A; 0: none");
  only("delta", loss.name == "ppo");
  config.only_if("dual_clip", loss.name == "ppo" && loss.delta == 0,
                 loss.name == "ppo" ? "a delta" : chosen);
  if (loss.dual_clip > 0 && loss.dual_clip <= 1)
    config.error("dual_clip", cat(loss.dual_clip, " would stop every step; it is above 1, or 0"));
  config.choice("ratio_weight", loss.ratio_weight, {"none", "token", "sequence"},
                "reinforce: times the ratio to the old policy, of the token or of the response");
  only("ratio_weight", loss.name == "reinforce");
  const bool capped = loss.name.starts_with("dppo") || loss.ratio_weight != "none";
  config.number("ratio_cap", loss.ratio_cap, 0.0, 1e9, "largest such ratio; dppo: of the token's");
  config.only_if("ratio_cap", capped,
                 loss.name == "reinforce" ? given("ratio_weight", "none") : chosen);
  bind_loss_shape(config);
  config.choice("log_ratio_clamp", loss.log_ratio_clamp, {"none", "verl"},
                "bound log-ratios before exp as verl does (20 a token, 10 above for gspo), or not");
  only("log_ratio_clamp", reads_epsilon_high(loss) ? loss.name != "gmpo" && loss.name != "clip_cov"
                                                   : loss.name == "sapo");
}

void PolicyGradientOptions::bind_loss_shape(Binder& config) {
  const std::string chosen = given("loss", loss.name);
  const auto only = [&](const char* key, bool reads) { config.only_if(key, reads, chosen); };
  config.number("tau_positive", loss.tau_positive, 1e-3, 1e3, "sapo: steepness where A > 0");
  config.number("tau_negative", loss.tau_negative, 1e-3, 1e3, "sapo: steepness elsewhere");
  for (const char* key : {"tau_positive", "tau_negative"}) only(key, loss.name == "sapo");
  config.number("k_positive", loss.k_positive, 0.0, 1e3, "vespo: k where A >= 0");
  config.number("lambda_positive", loss.lambda_positive, 1e-4, 1e3, "vespo: lambda where A >= 0");
  config.number("k_negative", loss.k_negative, 0.0, 1e3, "vespo: k where A < 0");
  config.number("lambda_negative", loss.lambda_negative, 1e-4, 1e3, "vespo: lambda where A < 0");
  for (const char* key : {"k_positive", "lambda_positive", "k_negative", "lambda_negative"})
    only(key, loss.name == "vespo");
  config.number("dro_beta", loss.dro_beta, 0.0, 1e6, "dro: weight of the squared log-ratio");
  only("dro_beta", loss.name == "dro");
  if (loss.name == "dro" && loss.dro_beta == 0)
    config.error("dro_beta", "must be given for loss = \"dro\", above 0; it has no usual value");
}

void PolicyGradientOptions::bind_covariance(Binder& config) {
  const std::string chosen = given("loss", loss.name);
  const bool clip = loss.name == "clip_cov", pull = loss.name == "kl_cov";
  config.number("cov_ratio", covariance.ratio, 0.0, 1.0,
                "clip_cov, kl_cov: share of the tokens, at least one");
  config.number("cov_low", covariance.low, -1e6, 1e6, "clip_cov: covariance above which");
  config.number("cov_high", covariance.high, -1e6, 1e6, "clip_cov: covariance below which");
  config.number("kl_cov_coef", covariance.coef, 0.0, 1e3,
                "kl_cov: weight of |logprob - old| (1 in verl's code and DOT, 0.1 in its config)");
  config.only_if("cov_ratio", clip || pull, chosen);
  for (const char* key : {"cov_low", "cov_high"}) config.only_if(key, clip, chosen);
  config.only_if("kl_cov_coef", pull, chosen);
}

void PolicyGradientOptions::bind_kl(Binder& config) {
  config.number("beta", kl.beta, 0.0, 10.0, "weight of the KL to the start policy");
  config.choice("kl_in", kl.where, {"loss", "reward"}, "where that KL is taken off");
  const bool in_reward = kl.where == "reward";
  if (in_reward && kl.estimator == "k3") kl.estimator = "k1";
  std::vector<std::string> allowed = kl_estimators();
  if (in_reward) allowed.resize(4);  // the others differ in their gradient only
  config.choice("kl_estimator", kl.estimator, allowed,
                "its estimator; in the reward k1 by default");
  config.choice("kl_clamp", kl.clamp, {"none", "verl", "openrlhf"},
                "bounds of an estimate: none, of k3 (verl), of every one (OpenRLHF)");
  config.number("kl_target", kl.target, 0.0, 1e3, "nats a token that beta adapts to; 0: fixed");
  config.number("kl_horizon", kl.horizon, 1.0, 1e12, "responses over which beta adapts");
  for (const char* key : {"kl_in", "kl_estimator", "kl_clamp", "kl_target", "kl_horizon"})
    config.only_if(key, kl.beta > 0, "beta = 0");
  config.only_if("kl_horizon", kl.target > 0, "kl_target = 0");
  if (kl.clamp == "verl" && !kl.estimator.starts_with("k3"))
    config.error("kl_clamp", cat("\"verl\" bounds k3 alone, and kl_estimator is \"", kl.estimator,
                                 "\"; \"none\" and \"openrlhf\" are left"));
  const std::string& estimator = advantage.estimator;
  if (kl.beta > 0 && in_reward && (estimator == "gdpo" || !reads_reward(estimator)))
    config.error("kl_in", cat("\"reward\" has no reward to be taken off with advantage = \"",
                              estimator, "\"; \"loss\" is left"));
}

void PolicyGradientOptions::bind_entropy(Binder& config) {
  EntropyOptions& e = entropy;
  config.number("entropy_coef", e.coef, 0.0, 1.0, "weight of an entropy bonus");
  config.choice("entropy_mean", e.mean, {"verl", "trl"},
                "the bonus is aggregated as the loss (verl), or the mean over tokens (TRL)");
  config.number("entropy_target", e.target, 0.0, 1e3,
                "nats a token below which entropy_coef grows, and above which it shrinks and rests "
                "(Skywork-OR1); 0: fixed");
  config.number("entropy_step", e.step, 0.0, 1.0, "change of entropy_coef an update");
  config.number("entropy_coef_min", e.low, 0.0, 1.0, "its lower bound");
  config.number("entropy_coef_max", e.high, 0.0, 1.0, "its upper bound");
  config.only_if("entropy_mean", e.coef > 0 || e.target > 0, "entropy_coef = 0");
  for (const char* key : {"entropy_step", "entropy_coef_min", "entropy_coef_max"})
    config.only_if(key, e.target > 0, "entropy_target = 0");
  if (e.target > 0 && !(e.low <= e.coef && e.coef <= e.high))
    config.error("entropy_coef", cat(e.coef, " is outside entropy_coef_min = ", e.low,
                                     " to entropy_coef_max = ", e.high));
  config.number("top_entropy", e.top_share, 1e-6, 1.0,
                "share of the tokens, by entropy, that have a policy loss; 1: all");
}

void PolicyGradientOptions::bind_correction(Binder& config) {
  const std::string preset = correction.kind;
  config.choice("correction", correction.kind, corrections(),
                "weights for the mismatch of the engine's log-probabilities");
  if (correction.kind != preset) correction = correction_defaults(correction.kind);
  const std::string chosen = given("correction", correction.kind);
  config.number("correction_low", correction.low, 0.0, 1e6, "smallest weight");
  config.number("correction_high", correction.high, 0.0, 1e6, "largest weight");
  config.flag("correction_normalize", correction.normalize,
              "divide the weights that are kept by their mean");
  for (const char* key : {"correction_low", "correction_high", "correction_normalize"})
    config.only_if(key, correction.kind != "none", chosen);
  if (correction.low > correction.high)
    config.error("correction_low",
                 cat(correction.low, " is above correction_high = ", correction.high));
  bind_rejection(config);
  config.number("opsm_threshold", correction.opsm_threshold, 0.0, 1e3,
                "nats a token that the policy may have moved away from a wrong answer that still "
                "counts (DeepSeek-V3.2); 0: off");
  config.number("m2po_threshold", correction.m2po_threshold, 0.0, 1e6,
                "mean of (rollout - old)^2 that the tokens are thinned to (M2PO); 0: off");
}

void PolicyGradientOptions::bind_rejection(Binder& config) {
  CorrectionOptions& c = correction;
  bool taken =
      config.texts("rejection", c.rejection, rejection_rules(),
                   "rules that leave tokens or responses out, all of which must let them pass");
  taken &= config.list("rejection_high", c.rejection_high, 0.0, 1e9,
                       "bound of each rule: of a ratio for k1, of the divergence for k2 and k3");
  taken &= config.list("rejection_low", c.rejection_low, 0.0, 1e9,
                       "lower bounds of the k1 rules, in order; none: 1 / rejection_high");
  config.choice("rejection_denominator", c.rejection_denominator, {"areal", "verl"},
                "the loss is divided by all tokens (AReaL), or by those that are left (verl)");
  if (!taken) return;  // what is wrong with a list has been said
  for (const char* key : {"rejection_high", "rejection_low", "rejection_denominator"})
    config.only_if(key, !c.rejection.empty(), "no rule in rejection");
  if (c.rejection.empty()) return;
  if (c.rejection_high.size() != c.rejection.size())
    return config.error("rejection_high", cat("has ", c.rejection_high.size(), " numbers for the ",
                                              c.rejection.size(), " rules of rejection"));
  const auto ratios = std::count_if(c.rejection.begin(), c.rejection.end(), bounds_ratio);
  if (!c.rejection_low.empty() && std::ssize(c.rejection_low) != ratios)
    return config.error("rejection_low", cat("has ", c.rejection_low.size(), " numbers for ",
                                             ratios, " k1 rules of rejection"));
  size_t next = 0;
  for (size_t i = 0; i < c.rejection.size(); ++i) {
    if (!bounds_ratio(c.rejection[i])) continue;
    const double low = c.low_of_ratio(i, next++), high = c.rejection_high[i];
    if (!(low <= high && high > 0))
      config.error(c.rejection_low.empty() ? "rejection_high" : "rejection_low",
                   cat("leaves ", c.rejection[i], " no ratio from ", low, " to ", high));
  }
}

}  // namespace vernier
