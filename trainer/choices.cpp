#include "trainer/choices.h"

#include <algorithm>
#include <cmath>

namespace vernier {
namespace {

constexpr int64_t kMajorityDraws = 1000;  // of k responses of a prompt

double mean_tokens(std::span<const Candidate> candidates) {
  double sum = 0;
  for (const Candidate& one : candidates) sum += static_cast<double>(one.num_tokens);
  return sum / static_cast<double>(candidates.size());
}

std::vector<double> verdicts_of(std::span<const Candidate> candidates) {
  std::vector<double> out;
  for (const Candidate& one : candidates) out.push_back(one.correct ? 1 : 0);
  return out;
}

double shortest_of_k(std::span<const Candidate> candidates, int64_t k) {
  std::vector<double> scores;
  for (const Candidate& one : candidates) scores.push_back(-static_cast<double>(one.num_tokens));
  return best_of_k(scores, verdicts_of(candidates), k);
}

std::vector<Estimate> means_of(const std::vector<std::vector<double>>& prompts) {
  std::vector<std::vector<Tally>> rows;
  for (const std::vector<double>& values : prompts) {
    std::vector<Tally>& row = rows.emplace_back();
    for (const double value : values)
      row.push_back(std::isnan(value) ? Tally{} : Tally{.sum = value, .count = 1});
  }
  return bootstrap_means(rows, {});
}

}  // namespace

PromptCandidates with_scores(const Group& group, std::vector<Candidate> candidates) {
  PromptCandidates out{group.prompt.index, std::move(candidates), {}};
  for (size_t i = 0; i < out.all.size(); ++i) {
    const auto set = [&](const std::string& name, double value) {
      auto& values = out.scores[name];
      values.resize(out.all.size(), kUndefined);
      values[i] = value;
    };
    const Response& response = group.responses[static_cast<size_t>(out.all[i].place)];
    for (const RewardPart& part : response.rewards)
      set(part.name, part.abstained.empty() ? part.value : kUndefined);
    if (response.rewards.size() > 1) set("reward", response.reward.value_or(kUndefined));
  }
  return out;
}

std::vector<ChoiceOfK> choices_of(std::span<const PromptCandidates> prompts,
                                  std::span<const int64_t> ks) {
  std::vector<std::vector<std::vector<double>>> of_k(ks.size());  // values of each prompt
  std::vector<std::map<std::string, std::vector<std::vector<double>>>> best(ks.size());
  for (const auto& [index, all, scores] : prompts) {
    const auto right = std::ranges::count_if(all, &Candidate::correct);
    for (size_t i = 0; i < ks.size(); ++i) {
      const int64_t k = ks[i];
      if (k > std::ssize(all)) continue;
      of_k[i].push_back(
          {pass_at_k(std::ssize(all), right, k),
           majority_at_k(all, k, {.draws = kMajorityDraws}, static_cast<uint64_t>(index)),
           shortest_of_k(all, k), static_cast<double>(k) * mean_tokens(all)});
      for (const auto& [reward, values] : scores)
        if (std::ranges::none_of(values, [](double value) { return std::isnan(value); }))
          best[i][reward].push_back({best_of_k(values, verdicts_of(all), k)});
    }
  }
  std::vector<ChoiceOfK> out;
  for (size_t i = 0; i < ks.size(); ++i) {
    ChoiceOfK& one = out.emplace_back();
    one.k = ks[i];
    one.num_prompts = std::ssize(of_k[i]);
    if (of_k[i].empty()) continue;
    const std::vector<Estimate> means = means_of(of_k[i]);
    one.pass = means[0];
    one.majority = means[1];
    one.shortest = means[2];
    one.tokens = means[3];
    for (const auto& [reward, values] : best[i]) one.best.emplace_back(reward, means_of(values)[0]);
  }
  return out;
}

FilteredVote filtered_vote_of(std::span<const PromptCandidates> prompts, double width) {
  std::vector<double> lengths;
  for (const PromptCandidates& prompt : prompts)
    for (const Candidate& one : prompt.all) lengths.push_back(static_cast<double>(one.num_tokens));
  FilteredVote out;
  out.width = width > 0 ? width : bucket_width(lengths);
  if (lengths.empty()) return out;
  std::vector<std::vector<double>> values;
  for (const PromptCandidates& prompt : prompts)
    if (!prompt.all.empty())
      values.push_back(
          {majority(prompt.all), length_filtered_vote(prompt.all, {.width = out.width}),
           random_bucket_vote(prompt.all, {.width = out.width}, {.draws = kMajorityDraws},
                              static_cast<uint64_t>(prompt.index))});
  const std::vector<Estimate> means = means_of(values);
  out.majority = means[0];
  out.filtered = means[1];
  out.random = means[2];
  return out;
}

}  // namespace vernier
