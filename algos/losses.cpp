#include "algos/losses.h"

#include <ATen/ATen.h>

#include <cmath>
#include <map>

#include "algos/parts.h"
#include "core/base/errors.h"

namespace vernier {
namespace {

bool of_sequences(const std::string& name) {
  return name == "gspo" || name == "gspo_token" || name == "luspo";
}

// logprob - old, bounded as verl does where it is asked for.
at::Tensor log_ratio(const TokenBatch& b, const LossOptions& o) {
  const at::Tensor d = b.logprob - b.old;
  return o.log_ratio_clamp == "verl" ? d.clamp(-20.0, 20.0) : d;
}

// s_i for every token, its gradient shared among the tokens of the response.
at::Tensor sequence_ratio(const TokenBatch& b, const LossOptions& o) {
  at::Tensor mean = mean_by_sequence(b.logprob - b.old, b);
  if (o.log_ratio_clamp == "verl") mean = mean.clamp_max(10.0);
  return spread(mean.exp(), b);
}

PolicyTerm clipped(const at::Tensor& ratio, const at::Tensor& advantage, const LossOptions& o) {
  const at::Tensor bounded = ratio.clamp(1.0 - o.epsilon, 1.0 + o.epsilon_high);
  const at::Tensor free = o.delta > 0 ? ratio.clamp_max(o.delta) : ratio;
  at::Tensor loss = at::maximum(-advantage * free, -advantage * bounded);
  if (o.dual_clip > 0)
    loss = at::where(advantage < 0, at::minimum(loss, -advantage * o.dual_clip), loss);
  return {loss, (ratio < 1.0 - o.epsilon).logical_and(advantage < 0),
          (ratio > 1.0 + o.epsilon_high).logical_and(advantage > 0)};
}

PolicyTerm ppo(const TokenBatch& b, const LossOptions& o) {
  return clipped(log_ratio(b, o).exp(), b.advantage, o);
}

PolicyTerm reinforce(const TokenBatch& b, const LossOptions& o) {
  at::Tensor loss = -b.advantage * b.logprob;
  if (o.ratio_weight != "none") {
    const at::Tensor d = (b.logprob - b.old).detach();
    const at::Tensor ratio =
        (o.ratio_weight == "token" ? d : spread(sum_by_sequence(d, b), b)).clamp(-20.0, 20.0).exp();
    loss = loss * ratio.clamp_max(o.ratio_cap);
  }
  return {loss, {}, {}};
}

PolicyTerm gpg(const TokenBatch& b, const LossOptions&) {
  return {-b.advantage * b.logprob, {}, {}};
}

PolicyTerm gspo(const TokenBatch& b, const LossOptions& o) {
  return clipped(sequence_ratio(b, o), b.advantage, o);
}

PolicyTerm gspo_token(const TokenBatch& b, const LossOptions& o) {
  const at::Tensor one = (b.logprob - b.logprob.detach()).exp();
  return clipped(sequence_ratio(b, o).detach() * one, b.advantage, o);
}

PolicyTerm luspo(const TokenBatch& b, const LossOptions& o) {
  PolicyTerm out = gspo(b, o);
  out.loss = out.loss * spread(denominators_of(b).lengths, b);
  return out;
}

PolicyTerm cispo(const TokenBatch& b, const LossOptions& o) {
  const at::Tensor ratio = log_ratio(b, o).detach().exp();
  const bool absolute = o.cispo_cap == "trl";
  const double high = absolute ? o.epsilon_high : 1.0 + o.epsilon_high;
  const double low = absolute ? 0.0 : 1.0 - o.epsilon;
  return {-ratio.clamp(low, high) * b.advantage * b.logprob,
          (ratio < low).logical_and(b.advantage < 0), (ratio > high).logical_and(b.advantage > 0)};
}

PolicyTerm gmpo(const TokenBatch& b, const LossOptions& o) {
  const at::Tensor d = b.logprob - b.old, sign = b.advantage.sign();
  const at::Tensor c = sign * at::minimum(sign * d, sign * d.clamp(-o.epsilon, o.epsilon_high));
  return {-b.advantage * spread(mean_by_sequence(c, b).exp(), b),
          (d < -o.epsilon).logical_and(b.advantage < 0),
          (d > o.epsilon_high).logical_and(b.advantage > 0)};
}

PolicyTerm sapo(const TokenBatch& b, const LossOptions& o) {
  const at::Tensor tau = at::where(b.advantage > 0, at::full_like(b.advantage, o.tau_positive),
                                   at::full_like(b.advantage, o.tau_negative));
  const at::Tensor gate = (tau * (log_ratio(b, o).exp() - 1.0)).sigmoid();
  return {-b.advantage * 4.0 / tau * gate, {}, {}};
}

// `rise` and `fall`: where the token is still inside the bound for A > 0, and elsewhere.
PolicyTerm dppo(const TokenBatch& b, const LossOptions& o, const at::Tensor& rise,
                const at::Tensor& fall) {
  const at::Tensor up = b.advantage > 0;
  const at::Tensor inside = at::where(up, rise, fall).to(b.advantage.scalar_type());
  const at::Tensor ratio = log_ratio(b, o).detach().exp().clamp_max(o.ratio_cap);
  return {-b.advantage * ratio * b.logprob * inside,
          fall.logical_not().logical_and(up.logical_not()), rise.logical_not().logical_and(up)};
}

PolicyTerm dppo_tv(const TokenBatch& b, const LossOptions& o) {
  const at::Tensor change = b.logprob.detach().exp() - b.old.exp();
  return dppo(b, o, change <= o.epsilon_high, change >= -o.epsilon);
}

PolicyTerm dppo_kl(const TokenBatch& b, const LossOptions& o) {
  const at::Tensor p = b.logprob.detach().exp(), q = b.old.exp();
  const at::Tensor divergence =
      q * (b.old - b.logprob.detach()) + (1.0 - q) * ((1.0 - q + 1e-8) / (1.0 - p + 1e-8)).log();
  return dppo(b, o, (divergence <= o.epsilon_high).logical_or(p <= q),
              (divergence <= o.epsilon).logical_or(p >= q));
}

PolicyTerm vespo(const TokenBatch& b, const LossOptions& o) {
  const at::Tensor d = (b.logprob - b.old).detach().clamp(-20.0, 20.0);
  const at::Tensor log_weight = spread(sum_by_sequence(d, b).clamp(std::log(1e-8), 20.0), b);
  const auto phi = [&](double k, double lambda) {
    return (lambda + k * log_weight - lambda * log_weight.exp()).exp();
  };
  const at::Tensor weight = at::where(b.advantage >= 0, phi(o.k_positive, o.lambda_positive),
                                      phi(o.k_negative, o.lambda_negative));
  return {-weight * b.advantage * b.logprob, {}, {}};
}

PolicyTerm dro(const TokenBatch& b, const LossOptions& o) {
  return {o.dro_beta / 2 * (b.logprob - b.old).square() - b.advantage * b.logprob, {}, {}};
}

PolicyTerm kl_cov(const TokenBatch& b, const LossOptions&) {
  return {-b.advantage * (b.logprob - b.old).exp(), {}, {}};
}

const std::map<std::string, PolicyTerm (*)(const TokenBatch&, const LossOptions&)>& terms() {
  static const std::map<std::string, PolicyTerm (*)(const TokenBatch&, const LossOptions&)> all = {
      {"ppo", ppo},         {"reinforce", reinforce},   {"gpg", gpg},      {"gspo", gspo},
      {"cispo", cispo},     {"gspo_token", gspo_token}, {"gmpo", gmpo},    {"sapo", sapo},
      {"dppo_tv", dppo_tv}, {"dppo_kl", dppo_kl},       {"luspo", luspo},  {"vespo", vespo},
      {"dro", dro},         {"clip_cov", ppo},          {"kl_cov", kl_cov}};
  return all;
}

}  // namespace

const std::vector<std::string>& policy_losses() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> out;
    for (const auto& [name, term] : terms()) out.push_back(name);
    return out;
  }();
  return names;
}

LossOptions loss_defaults(const std::string& name) {
  LossOptions out;
  out.name = name;
  const auto bounds = [&](double low, double high) {
    out.epsilon = low;
    out.epsilon_high = high;
  };
  if (of_sequences(name)) bounds(3e-4, 4e-4);
  if (name == "luspo") bounds(2e-3, 2.5e-3);
  if (name == "cispo") bounds(10, 0.2);
  if (name == "gmpo") bounds(0.4, 0.4);
  if (name == "dppo_tv") bounds(0.15, 0.15);
  if (name == "dppo_kl") bounds(0.05, 0.05);
  if (name == "reinforce") out.ratio_cap = 2;
  return out;
}

std::string default_aggregation(const std::string& name) {
  if (of_sequences(name) || name == "gmpo" || name == "sapo") return "seq-mean-token-mean";
  if (name == "reinforce") return "seq-mean-token-sum";
  return name.starts_with("dppo") ? "seq-mean-token-sum-norm" : "token-mean";
}

bool reads_epsilon_high(const LossOptions& o) {
  return of_sequences(o.name) || o.name == "ppo" || o.name == "cispo" || o.name == "gmpo" ||
         o.name == "clip_cov" || o.name.starts_with("dppo");
}

bool reads_epsilon(const LossOptions& o) {
  return reads_epsilon_high(o) && !(o.name == "cispo" && o.cispo_cap == "trl");
}

PolicyTerm policy_term(const TokenBatch& batch, const LossOptions& options) {
  return terms().at(options.name)(batch, options);
}

at::Tensor loss_ratio(const TokenBatch& batch, const LossOptions& options) {
  return of_sequences(options.name) ? sequence_ratio(batch, options)
                                    : log_ratio(batch, options).exp();
}

}  // namespace vernier
