#include "core/metrics/metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/base/errors.h"
#include "core/metrics/statistics.h"

namespace vernier {
namespace {

std::map<std::string, MetricDoc>& docs() {
  static std::map<std::string, MetricDoc> instance;
  return instance;
}

const MetricDocs completion_docs{
    {"reward", "reward", "mean of the weighted sums, after transforms"},
    {"reward_std", "reward", "mean over groups of the standard deviation (n - 1) within a group"},
    {"rewards/<name>/mean", "reward", "mean of one reward's values, unweighted, after transforms"},
    {"rewards/<name>/std", "reward", "standard deviation (n - 1) of the same, over all responses"},
    {"accuracy", "share", "right responses among those with a verdict, as sampled"},
    {"completions/mean_length", "tokens", "mean length as sampled, end token included"},
    {"completions/min_length", "tokens", "shortest response"},
    {"completions/max_length", "tokens", "longest response"},
    {"completions/mean_terminated_length", "tokens", "mean of those that ended by themselves"},
    {"completions/clipped_ratio", "share", "responses that ended at max_completion_length"},
    {"frac_reward_zero_std", "share", "groups whose rewards are all equal: they teach nothing"},
    {"groups/all_right", "share", "groups with right responses only"},
    {"groups/all_wrong", "share", "groups with wrong responses only"},
    {"groups/mixed", "share", "groups with both"},
    {"samples/issued", "responses", "sampled in the step"},
    {"samples/abstained", "responses", "without a reward, since one that counts abstained"},
    {"samples/without_length", "responses", "not ended by the policy: in no length statistic"}};

const MetricDocs length_docs = [] {
  for (const auto& [prefix, which] : {std::pair<std::string, std::string>{"length/", "responses"},
                                      {"length/correct/", "right responses"},
                                      {"length/wrong/", "wrong responses"}}) {
    MetricDocs{{prefix + "mean", "tokens", "mean length of " + which + ", as sampled"}};
    for (const std::string percent : {"10", "50", "90", "99"})
      MetricDocs{{prefix + "p" + percent, "tokens", percent + " % quantile of the same"}};
  }
  return MetricDocs{};
}();

}  // namespace

MetricDocs::MetricDocs(std::initializer_list<MetricDoc> described) {
  for (const MetricDoc& doc : described) {
    const bool fresh = docs().emplace(doc.name, doc).second;
    ensure(fresh, cat("one description of the metric ", doc.name));
  }
}

const std::map<std::string, MetricDoc>& MetricDocs::all() { return docs(); }

double Metrics::get(const std::string& name) const {
  const auto found = row_.find(name);
  return found != row_.end() && found->is_number() ? found->get<double>()
                                                   : std::numeric_limits<double>::quiet_NaN();
}

void Metrics::set_finite(const std::string& name, double value) {
  if (std::isfinite(value))
    set(name, value);
  else
    set_undefined(name);
}

namespace {

void add_lengths(Metrics& metrics, const std::string& prefix, const std::vector<double>& lengths) {
  metrics.set_finite(prefix + "mean", mean_of(lengths));
  for (const auto& [name, q] : {std::pair{"p10", 0.1}, {"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}})
    metrics.set_finite(prefix + name, quantile_of(lengths, q));
}

// Lengths and verdicts as generated: a cut is the trainer's doing, not the policy's.
struct Lengths {
  std::vector<double> all, right, wrong, ended;
  double clipped = 0;

  void add(const Response& response) {
    const double length = response.raw_num_tokens;
    all.push_back(length);
    if (response.finish_reason == FinishReason::stop)
      ended.push_back(length);
    else
      ++clipped;
    if (response.sampled_correct) (*response.sampled_correct ? right : wrong).push_back(length);
  }

  void add_to(Metrics& metrics) const {
    const auto extreme = [](const std::vector<double>& values, bool largest) {
      if (values.empty()) return std::nan("");
      return largest ? *std::max_element(values.begin(), values.end())
                     : *std::min_element(values.begin(), values.end());
    };
    metrics.set_finite("completions/mean_length", mean_of(all));
    metrics.set_finite("completions/min_length", extreme(all, false));
    metrics.set_finite("completions/max_length", extreme(all, true));
    metrics.set_finite("completions/mean_terminated_length", mean_of(ended));
    metrics.set_finite("completions/clipped_ratio",
                       all.empty() ? std::nan("") : clipped / static_cast<double>(all.size()));
    add_lengths(metrics, "length/", all);
    add_lengths(metrics, "length/correct/", right);
    add_lengths(metrics, "length/wrong/", wrong);
  }
};

// A group teaches where its rewards differ, and its verdicts are mixed where both kinds occur.
struct GroupShares {
  double flat = 0, all_right = 0, all_wrong = 0, mixed = 0;

  void add(const Group& group) {
    std::vector<double> rewards;
    int64_t right = 0, wrong = 0;
    for (const Response& response : group.responses) {
      if (response.reward) rewards.push_back(*response.reward);
      if (response.sampled_correct) ++(*response.sampled_correct ? right : wrong);
    }
    const auto [low, high] = std::minmax_element(rewards.begin(), rewards.end());
    flat += rewards.empty() || *low == *high ? 1 : 0;
    all_right += right > 0 && wrong == 0 ? 1 : 0;
    all_wrong += wrong > 0 && right == 0 ? 1 : 0;
    mixed += right > 0 && wrong > 0 ? 1 : 0;
  }
};

}  // namespace

void add_means(const std::vector<Metrics>& updates, Metrics& metrics) {
  for (const Metrics& one : updates)
    for (const auto& [name, value] : one.row().items()) {
      if (metrics.row().contains(name)) continue;
      std::vector<double> values;
      for (const Metrics& update : updates)
        if (std::isfinite(update.get(name))) values.push_back(update.get(name));
      double kept = mean_of(values);
      if (name.ends_with("/max") && !values.empty())
        kept = *std::max_element(values.begin(), values.end());
      if (name.ends_with("/min") && !values.empty())
        kept = *std::min_element(values.begin(), values.end());
      metrics.set_finite(name, kept);
    }
}

void add_completion_metrics(const std::vector<Group>& groups, Metrics& metrics) {
  std::vector<double> rewards, verdicts, group_std;
  std::map<std::string, std::vector<double>> parts, components;
  double responses = 0, abstained = 0, unusable = 0;
  Lengths lengths;
  GroupShares shares;
  for (const Group& group : groups) {
    shares.add(group);
    std::vector<double> own;
    for (const Response& response : group.responses) {
      ++responses;
      if (response.reward)
        own.push_back(*response.reward);
      else
        ++abstained;
      for (const RewardPart& part : response.rewards)
        if (part.abstained.empty()) {
          parts[part.name].push_back(part.value);
          for (const auto& [name, value] : part.components)
            components[cat(part.name, "/", name)].push_back(value);
        }
      if (response.sampled_correct) verdicts.push_back(*response.sampled_correct ? 1 : 0);
      if (policy_ended(response))
        lengths.add(response);
      else
        ++unusable;
    }
    rewards.insert(rewards.end(), own.begin(), own.end());
    if (!own.empty()) group_std.push_back(std_of(own));
  }
  metrics.set_finite("reward", mean_of(rewards));
  metrics.set_finite("reward_std", mean_of(group_std));
  for (const auto& [name, values] : parts) {
    metrics.set("rewards/" + name + "/mean", mean_of(values));
    metrics.set("rewards/" + name + "/std", std_of(values));
  }
  for (const auto& [name, values] : components)
    metrics.set_finite("rewards/" + name + "/mean", mean_of(values));
  metrics.set_finite("accuracy", mean_of(verdicts));
  lengths.add_to(metrics);
  const auto count = static_cast<double>(groups.size());
  metrics.set("frac_reward_zero_std", shares.flat / count);
  metrics.set("groups/all_right", shares.all_right / count);
  metrics.set("groups/all_wrong", shares.all_wrong / count);
  metrics.set("groups/mixed", shares.mixed / count);
  metrics.set("samples/issued", responses);
  metrics.set("samples/abstained", abstained);
  metrics.set("samples/without_length", unusable);
}

}  // namespace vernier
