#include "algos/advantages.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "algos/parts.h"
#include "core/base/errors.h"

namespace vernier {
namespace {

using Doubles = std::vector<double>;

struct Moments {
  double mean = 0, squares = 0;  // squares: sum of (value - mean)^2 weight
  double count = 0;

  double variance(bool sample) const { return squares / (sample ? count - 1 : count); }
  // 0 where one value says nothing of it.
  double sample_std() const { return count > 1 ? std::sqrt(variance(true)) : 0.0; }
};

// Of the finite values, each as often as its weight says.
Moments moments_of(const Doubles& values, const Doubles& weights) {
  Moments out;
  double sum = 0, low = INFINITY, high = -INFINITY;
  for (size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i]) || weights[i] == 0) continue;
    sum += values[i] * weights[i];
    low = std::fmin(low, values[i]);
    high = std::fmax(high, values[i]);
    out.count += weights[i];
  }
  if (out.count == 0) return out;
  // Of equal values the mean is that value, not what rounding makes of it.
  out.mean = low == high ? low : sum / out.count;
  for (size_t i = 0; i < values.size(); ++i)
    if (std::isfinite(values[i]) && weights[i] != 0)
      out.squares += (values[i] - out.mean) * (values[i] - out.mean) * weights[i];
  return out;
}

Moments moments_of(const Doubles& values) { return moments_of(values, Doubles(values.size(), 1)); }

Doubles slice(const Doubles& values, const GroupTable& table, int64_t group) {
  return {values.begin() + table.offsets[group], values.begin() + table.offsets[group + 1]};
}

// Tokens of a response that enter the loss.
double loss_tokens(const GroupTable& table, size_t i) {
  return table.active[i] != 0 ? static_cast<double>(table.tokens[i]) : 0.0;
}

// What whitening subtracts and multiplies with.
struct Whitening {
  double mean = 0, scale = 0;

  Whitening(const Doubles& values, const Doubles& weights, const std::string& rule) {
    const Moments found = moments_of(values, weights);
    mean = found.mean;
    if (found.count < 2) return;
    scale = rule == "verl" ? 1 / std::sqrt(found.variance(true) + 1e-8)
                           : 1 / std::sqrt(std::max(found.variance(false), 1e-8));
  }
  double operator()(double value) const { return (value - mean) * scale; }
};

// Whitened over tokens, every token having its response's value.
Doubles whitened(const GroupTable& table, Doubles values, const std::string& rule) {
  Doubles tokens;
  for (size_t i = 0; i < values.size(); ++i) tokens.push_back(loss_tokens(table, i));
  const Whitening whitening(values, tokens, rule);
  for (double& value : values) value = std::isfinite(value) ? whitening(value) : 0.0;
  return values;
}

// value - mean of the group, over std + eps where `scaled`; NaN where there is no value.
Doubles centred(const GroupTable& table, const Doubles& values, const AdvantageOptions& o,
                bool scaled = false) {
  Doubles out = values;
  for (int64_t g = 0; g < table.groups(); ++g) {
    const GroupStatistics group = group_statistics(table, values, g, o.group_of_one);
    for (int64_t i = table.offsets[g]; i < table.offsets[g + 1]; ++i) {
      out[i] -= group.mean;
      if (scaled) out[i] /= group.std + o.eps;
    }
  }
  return out;
}

Doubles zero_where_undefined(Doubles values) {
  for (double& value : values)
    if (!std::isfinite(value)) value = 0;
  return values;
}

Doubles grpo(const GroupTable& table, const Doubles& reward, const AdvantageOptions& o) {
  Doubles out = centred(table, reward, o, o.scale == "group");
  if (o.scale == "batch") {
    const double std = moments_of(reward).sample_std();
    for (double& value : out) value /= std + o.eps;
  }
  return zero_where_undefined(out);
}

Doubles rloo(const GroupTable& table, const Doubles& reward, const AdvantageOptions& o) {
  Doubles out = zero_where_undefined(centred(table, reward, o));
  for (int64_t g = 0; g < table.groups(); ++g) {
    const auto n = static_cast<double>(group_statistics(table, reward, g, o.group_of_one).counted);
    if (n < 2) continue;
    for (int64_t i = table.offsets[g]; i < table.offsets[g + 1]; ++i) out[i] *= n / (n - 1);
  }
  return out;
}

Doubles opo(const GroupTable& table, const Doubles& reward, const AdvantageOptions& o) {
  Doubles out(reward.size(), 0.0);
  for (int64_t g = 0; g < table.groups(); ++g) {
    double sum = 0, length = 0;
    for (int64_t i = table.offsets[g]; i < table.offsets[g + 1]; ++i)
      if (std::isfinite(reward[i])) {
        sum += static_cast<double>(table.length[i]) * reward[i];
        length += static_cast<double>(table.length[i]);
      }
    if (length == 0) continue;
    const bool alone = table.offsets[g + 1] - table.offsets[g] == 1;
    const double baseline = alone && o.group_of_one == "verl" ? 0 : sum / length;
    for (int64_t i = table.offsets[g]; i < table.offsets[g + 1]; ++i)
      if (std::isfinite(reward[i])) out[i] = reward[i] - baseline;
  }
  return out;
}

Doubles gpg(const GroupTable& table, const Doubles& reward, const AdvantageOptions& o) {
  double count = 0, not_zero = 0;
  for (const double one : reward)
    if (std::isfinite(one)) {
      count += 1;
      not_zero += one != 0 ? 1 : 0;
    }
  Doubles out = zero_where_undefined(centred(table, reward, o));
  for (double& value : out) value *= count / std::max(1.0, not_zero);
  return out;
}

Doubles grpo_passk(const GroupTable& table, const Doubles& reward, const AdvantageOptions& o) {
  Doubles out(reward.size(), 0.0);
  for (int64_t g = 0; g < table.groups(); ++g) {
    int64_t best = -1, second = -1;
    for (int64_t i = table.offsets[g]; i < table.offsets[g + 1]; ++i) {
      if (!std::isfinite(reward[i])) continue;
      if (best < 0 || reward[i] > reward[best]) {
        second = best;
        best = i;
      } else if (second < 0 || reward[i] > reward[second]) {
        second = i;
      }
    }
    if (second < 0) continue;
    const double std = group_statistics(table, reward, g, o.group_of_one).std;
    out[best] = (reward[best] - reward[second]) / (std + o.eps);
  }
  return out;
}

Doubles gdpo(const GroupTable& table, const AdvantageOptions& o) {
  if (table.channels.empty()) fail("algo.advantage = \"gdpo\": the responses have no reward parts");
  Doubles sum(table.size(), 0.0);
  std::vector<char> any(table.size(), 0);
  for (const RewardChannel& channel : table.channels)
    for (size_t i = 0; i < sum.size(); ++i)
      if (std::isfinite(channel.value[i])) any[i] = 1;
  for (const RewardChannel& channel : table.channels) {
    Doubles value = channel.value;
    if (o.gdpo_missing == "nvlabs")
      for (size_t i = 0; i < value.size(); ++i)
        if (any[i] != 0 && !std::isfinite(value[i])) value[i] = 0;
    const Doubles advantage = centred(table, value, o, true);
    for (size_t i = 0; i < sum.size(); ++i)
      if (std::isfinite(advantage[i])) sum[i] += channel.weight * advantage[i];
  }
  for (size_t i = 0; i < sum.size(); ++i)
    if (any[i] == 0) sum[i] = std::nan("");
  if (o.gdpo_norm == "verl") return whitened(table, std::move(sum), "verl");
  const Moments all = moments_of(sum);
  const double std = all.sample_std();
  for (double& value : sum) value = std::isfinite(value) ? (value - all.mean) / (std + o.eps) : 0;
  return sum;
}

Doubles drpo_norm(const GroupTable& table, const AdvantageOptions& o) {
  Doubles verdict;
  for (const int correct : table.correct)
    verdict.push_back(correct < 0 ? std::nan("") : static_cast<double>(correct));
  Doubles out = zero_where_undefined(centred(table, verdict, o, true));
  for (int64_t g = 0; g < table.groups(); ++g) {
    std::vector<int64_t> right;
    Doubles lengths;
    for (int64_t i = table.offsets[g]; i < table.offsets[g + 1]; ++i)
      if (table.correct[i] == 1) {
        right.push_back(i);
        lengths.push_back(-static_cast<double>(table.length[i]) / o.capacity);
      }
    const Doubles weights = std::isinf(o.lambda)
                                ? Doubles(right.size(), 1.0 / static_cast<double>(right.size()))
                                : softmax(lengths, o.lambda);
    for (size_t k = 0; k < right.size(); ++k)
      out[right[k]] *= weights[k] * static_cast<double>(right.size());
  }
  return out;
}

// Share of right ones among the responses of a group that have a verdict; 0 of none.
double solve_rate(const GroupTable& table, int64_t group) {
  double right = 0, judged = 0;
  for (int64_t i = table.offsets[group]; i < table.offsets[group + 1]; ++i)
    if (table.correct[i] >= 0) {
      judged += 1;
      right += table.correct[i];
    }
  return judged > 0 ? right / judged : 0;
}

Doubles grpo_lead(const GroupTable& table, const Doubles& reward, const AdvantageOptions& o) {
  Doubles out = zero_where_undefined(centred(table, reward, o, true));
  const auto weight = [&](double x) {
    return o.lead_low +
           (o.lead_high - o.lead_low) / (1 + std::exp(o.lead_slope * (x - o.lead_center)));
  };
  for (int64_t g = 0; g < table.groups(); ++g) {
    const double p = solve_rate(table, g);
    for (int64_t i = table.offsets[g]; i < table.offsets[g + 1]; ++i)
      out[i] *= weight(out[i] > 0 ? p : 1 - p);
  }
  return out;
}

Doubles diet(const GroupTable& table, const Doubles& reward, const AdvantageOptions& o) {
  Doubles lengths;
  for (size_t i = 0; i < reward.size(); ++i)
    lengths.push_back(std::isfinite(reward[i]) ? static_cast<double>(table.length[i])
                                               : std::nan(""));
  Doubles out = zero_where_undefined(centred(table, reward, o, true));
  AdvantageOptions apart = o;
  apart.group_of_one = "trl";  // one length says nothing about itself
  const Doubles by_length = zero_where_undefined(centred(table, lengths, apart, true));
  double alpha = o.diet_alpha;
  if (o.diet_period > 0) {
    const double turn = static_cast<double>(table.step - 1) / static_cast<double>(o.diet_period);
    alpha *= (1 - std::cos(2 * std::numbers::pi * turn)) / 2;
  }
  for (int64_t g = 0; g < table.groups(); ++g) {
    const double weight = alpha * solve_rate(table, g);
    for (int64_t i = table.offsets[g]; i < table.offsets[g + 1]; ++i)
      out[i] -= weight * by_length[i];
  }
  return out;
}

// Return of every token of the active responses that have a reward.
TokenColumn returns_of(const GroupTable& table, double gamma, const TokenColumn& penalty) {
  TokenColumn out(table.size());
  for (size_t i = 0; i < table.size(); ++i) {
    if (table.active[i] == 0 || !std::isfinite(table.reward[i])) continue;
    out[i].resize(static_cast<size_t>(table.tokens[i]));
    double next = 0;
    for (size_t t = out[i].size(); t-- > 0;) {
      const double reward = t + 1 == out[i].size() ? table.reward[i] : 0.0;
      next = reward - (penalty.empty() ? 0.0 : penalty[i][t]) + gamma * next;
      out[i][t] = next;
    }
  }
  return out;
}

Credit credit_of(TokenColumn token) {
  Credit out(Doubles(token.size(), 0.0));
  for (size_t i = 0; i < token.size(); ++i)
    if (!token[i].empty())
      out.response[i] = std::accumulate(token[i].begin(), token[i].end(), 0.0) /
                        static_cast<double>(token[i].size());
  out.token = std::move(token);
  return out;
}

Credit reinforce_plus_plus(const GroupTable& table, const AdvantageOptions& o,
                           const TokenColumn& penalty) {
  TokenColumn token = returns_of(table, o.gamma, penalty);
  Doubles all;
  for (const Doubles& row : token) all.insert(all.end(), row.begin(), row.end());
  const Whitening whitening(all, Doubles(all.size(), 1), o.whitening);
  for (Doubles& row : token)
    for (double& value : row) value = whitening(value);
  return credit_of(std::move(token));
}

// W_t of every token of a response.
Doubles variance_proxies(const Doubles& logprob, const Doubles& square_mass) {
  Doubles out;
  double sum = 0;
  for (size_t t = 0; t < logprob.size(); ++t)
    out.push_back(sum += 1 - 2 * std::exp(logprob[t]) + square_mass[t]);
  return out;
}

Credit otb(const GroupTable& table, const TokenColumn& penalty) {
  const TokenColumn returns = returns_of(table, 1, penalty);
  TokenColumn out = returns, weight(table.size());
  for (size_t i = 0; i < table.size(); ++i)
    if (!returns[i].empty()) weight[i] = variance_proxies(table.old[i], table.square_mass[i]);
  for (int64_t g = 0; g < table.groups(); ++g) {
    size_t longest = 0;
    for (int64_t i = table.offsets[g]; i < table.offsets[g + 1]; ++i)
      longest = std::max(longest, returns[i].size());
    for (size_t t = 0; t < longest; ++t) {
      double above = 0, below = 1e-8;
      int64_t present = 0;
      for (int64_t i = table.offsets[g]; i < table.offsets[g + 1]; ++i)
        if (t < returns[i].size()) {
          above += returns[i][t] * weight[i][t];
          below += weight[i][t];
          ++present;
        }
      // Past the second-longest length the one response left would be its own baseline.
      if (present < 2) break;
      for (int64_t i = table.offsets[g]; i < table.offsets[g + 1]; ++i)
        if (t < returns[i].size()) out[i][t] -= above / below;
    }
  }
  return credit_of(std::move(out));
}

Credit remax(const GroupTable& table, const TokenColumn& penalty) {
  if (table.greedy.empty())
    fail(
        "algo.advantage = \"remax\" needs the reward of a greedy response to every prompt "
        "(greedy_reward of a stored row), and there is none");
  TokenColumn out = returns_of(table, 1, penalty);
  for (int64_t g = 0; g < table.groups(); ++g)
    for (int64_t i = table.offsets[g]; i < table.offsets[g + 1]; ++i)
      for (double& value : out[i])
        value = std::isfinite(table.greedy[g]) ? value - table.greedy[g] : 0.0;
  return credit_of(std::move(out));
}

}  // namespace

const std::vector<std::string>& advantage_estimators() {
  static const std::vector<std::string> names = {"grpo",
                                                 "rloo",
                                                 "reinforce_plus_plus",
                                                 "reinforce_plus_plus_baseline",
                                                 "remax",
                                                 "opo",
                                                 "gpg",
                                                 "grpo_passk",
                                                 "gdpo",
                                                 "otb",
                                                 "drpo_norm",
                                                 "naive",
                                                 "grpo_lead",
                                                 "diet"};
  return names;
}

double default_eps(const std::string& estimator, const std::string& scale) {
  return estimator == "gdpo" || (estimator == "grpo" && scale == "batch") ? 1e-4 : 1e-6;
}

bool spans_step(const AdvantageOptions& o) {
  static const std::vector<std::string> names = {"reinforce_plus_plus",
                                                 "reinforce_plus_plus_baseline", "gpg", "gdpo"};
  return (o.estimator == "grpo" && o.scale == "batch") ||
         std::find(names.begin(), names.end(), o.estimator) != names.end();
}

bool reads_reward(const std::string& estimator) { return estimator != "drpo_norm"; }

GroupStatistics group_statistics(const GroupTable& table, const std::vector<double>& reward,
                                 int64_t group, const std::string& group_of_one) {
  const Moments found = moments_of(slice(reward, table, group));
  GroupStatistics out{.mean = found.mean, .std = 1, .counted = static_cast<int64_t>(found.count)};
  const bool drawn_as_one = table.offsets[group + 1] - table.offsets[group] == 1;
  // One that is left over of many says nothing about the others: its mean is itself.
  if (drawn_as_one && group_of_one == "verl") out.mean = 0;
  if (out.counted > 1) out.std = std::sqrt(found.variance(true));
  return out;
}

Credit advantages(const GroupTable& table, const AdvantageOptions& o, const TokenColumn& penalty) {
  if (o.estimator == "reinforce_plus_plus") return reinforce_plus_plus(table, o, penalty);
  if (o.estimator == "otb") return otb(table, penalty);
  if (o.estimator == "remax") return remax(table, penalty);
  if (o.estimator == "gdpo") return gdpo(table, o);
  if (o.estimator == "drpo_norm") return drpo_norm(table, o);
  Doubles reward = table.reward;
  for (size_t i = 0; i < penalty.size(); ++i)
    reward[i] -= std::accumulate(penalty[i].begin(), penalty[i].end(), 0.0);
  if (o.estimator == "grpo") return grpo(table, reward, o);
  if (o.estimator == "naive") return zero_where_undefined(std::move(reward));
  if (o.estimator == "grpo_lead") return grpo_lead(table, reward, o);
  if (o.estimator == "diet") return diet(table, reward, o);
  if (o.estimator == "rloo") return rloo(table, reward, o);
  if (o.estimator == "opo") return opo(table, reward, o);
  if (o.estimator == "gpg") return gpg(table, reward, o);
  if (o.estimator == "grpo_passk") return grpo_passk(table, reward, o);
  ensure(o.estimator == "reinforce_plus_plus_baseline", "a known estimator");
  return whitened(table, centred(table, reward, o), o.whitening);
}

}  // namespace vernier
