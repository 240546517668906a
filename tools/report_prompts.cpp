#include "tools/report_prompts.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <utility>

#include "core/base/text.h"

namespace vernier {
namespace {

constexpr int64_t kMinAlarmPrompts = 5;  // fewer say nothing about a band

double mean(const Tally& tally) { return tally.count > 0 ? tally.sum / tally.count : kUndefined; }

void add(Tally& sum, const Tally& one) {
  sum.sum += one.sum;
  sum.count += one.count;
}

// The prompts that every step has, as [prompt][step]; they stay the steps' own.
std::vector<std::vector<const PromptTally*>> shared_prompts(
    std::span<const TalliedStep* const> steps) {
  std::map<int64_t, std::vector<const PromptTally*>> found;
  for (const TalliedStep* step : steps)
    for (const PromptTally& prompt : step->prompts) found[prompt.group].push_back(&prompt);
  std::vector<std::vector<const PromptTally*>> out;
  for (auto& [group, tallies] : found)
    if (tallies.size() == steps.size()) out.push_back(std::move(tallies));
  return out;
}

// The value of each prompt that decides its band.
using BandValues = std::map<int64_t, double>;

DifficultyBand make_band(const ValueBand& rule, std::span<const TalliedStep> steps,
                         const BandValues& values, const Bootstrap& bootstrap) {
  DifficultyBand band;
  band.label = rule.label;
  const auto is_member = [&](int64_t group) {
    const auto value = values.find(group);
    return value != values.end() && rule.holds(value->second);
  };
  for (const auto& [group, value] : values)
    if (rule.holds(value)) ++band.num_prompts;
  for (const TalliedStep& step : steps) {
    std::vector<std::vector<Tally>> rows;
    for (const PromptTally& prompt : step.prompts)
      if (is_member(prompt.group)) rows.push_back({prompt.right, prompt.length});
    const std::vector<Estimate> means = bootstrap_means(rows, bootstrap);
    if (!means.empty()) band.points.push_back({step.step, means[0], means[1]});
  }
  if (steps.size() < 2) return band;
  const std::vector<const TalliedStep*> ends = {&steps.front(), &steps.back()};
  std::vector<std::vector<const PromptTally*>> pairs = shared_prompts(ends);
  std::erase_if(pairs, [&](const auto& pair) { return !is_member(pair.front()->group); });
  const auto change = [&](Tally PromptTally::*column, bool relative) {
    return bootstrap_value(std::ssize(pairs), bootstrap, [&](std::span<const size_t> places) {
      Tally first, last;
      for (const size_t place : places) {
        add(first, pairs[place][0]->*column);
        add(last, pairs[place][1]->*column);
      }
      return relative ? mean(last) / mean(first) - 1 : mean(last) - mean(first);
    });
  };
  band.accuracy_change = change(&PromptTally::right, false);
  band.length_change = change(&PromptTally::length, true);
  return band;
}

std::string signed_text(double value, const char* unit) {
  return cat(value < 0 ? "−" : "+", fixed(100 * std::abs(value), 1), unit);
}

std::string interval_text(const Estimate& change) {
  return cat(signed_text(change.value, " %"), " [", signed_text(change.low, ""), ", ",
             signed_text(change.high, ""), "]");
}

// About the hardest band.
std::string alarm_of(const DifficultyBand& hard) {
  const Estimate &length = hard.length_change, &accuracy = hard.accuracy_change;
  if (hard.num_prompts < kMinAlarmPrompts || !(length.high < 0) || !(accuracy.low <= 0)) return "";
  std::string points = interval_text(accuracy);
  points.replace(points.find(" %"), 2, " points");
  return cat("Hard prompts (", hard.label, ", ", hard.num_prompts,
             ") are answered shorter than at first, ", interval_text(length),
             ", and not surely more often right, ", points, ".");
}

std::vector<DifficultyPanel::Solved> solved_lengths(std::span<const TalliedStep> steps) {
  std::vector<DifficultyPanel::Solved> out;
  for (const TalliedStep& step : steps) {
    Tally always, never;
    for (const PromptTally& prompt : step.prompts) {
      if (prompt.pass_rate() == 1) add(always, prompt.length);
      if (prompt.pass_rate() == 0) add(never, prompt.length);
    }
    out.push_back({step.step, mean(always), mean(never)});
  }
  return out;
}

}  // namespace

std::vector<PromptTally> tally_prompts(std::span<const JudgedAnswer> answers) {
  std::map<int64_t, PromptTally> prompts;
  for (const JudgedAnswer& answer : answers) {
    PromptTally& prompt = prompts[answer.group];
    prompt.group = answer.group;
    if (answer.difficulty) prompt.difficulty = answer.difficulty;
    add(prompt.length, {static_cast<double>(answer.num_tokens), 1});
    if (answer.correct) add(prompt.right, {*answer.correct ? 1.0 : 0.0, 1});
  }
  std::vector<PromptTally> out;
  for (auto& [group, prompt] : prompts) out.push_back(prompt);
  return out;
}

Estimate area_of_steps(std::span<const TalliedStep> steps, double shortest, double longest,
                       const Bootstrap& bootstrap) {
  std::vector<const TalliedStep*> all;
  for (const TalliedStep& step : steps) all.push_back(&step);
  const auto prompts = shared_prompts(all);
  std::optional<double> middle;  // of the logarithms of the lengths of all prompts, once each
  return bootstrap_value(std::ssize(prompts), bootstrap, [&](std::span<const size_t> places) {
    std::vector<Tally> right(steps.size()), length(steps.size());
    for (const size_t place : places)
      for (size_t i = 0; i < steps.size(); ++i) {
        add(right[i], prompts[place][i]->right);
        add(length[i], prompts[place][i]->length);
      }
    std::vector<TradeOff> points;
    double logarithms = 0;
    for (size_t i = 0; i < steps.size(); ++i) {
      points.push_back({mean(length[i]), mean(right[i])});
      logarithms += std::log(points.back().length) / static_cast<double>(steps.size());
    }
    if (!middle) middle = logarithms;
    const double scale = std::exp(logarithms - *middle);
    return frontier_area(points, scale * shortest, scale * longest);
  });
}

DifficultyPanel difficulty_panel(std::span<const TalliedStep> steps, const Bootstrap& bootstrap) {
  DifficultyPanel panel;
  if (steps.empty()) return panel;
  BandValues difficulties, rates;
  for (const TalliedStep& step : steps)
    for (const PromptTally& prompt : step.prompts)
      if (prompt.difficulty) difficulties[prompt.group] = *prompt.difficulty;
  for (const PromptTally& prompt : steps.front().prompts)
    if (!std::isnan(prompt.pass_rate())) rates[prompt.group] = prompt.pass_rate();
  const auto values_of = [](const BandValues& by_group) {
    std::vector<double> out;
    for (const auto& [group, value] : by_group) out.push_back(value);
    return out;
  };
  const BandValues* values = &difficulties;
  std::vector<ValueBand> rules = value_bands(values_of(difficulties), "difficulty");
  panel.source = "difficulty of the data";
  if (rules.empty()) {
    values = &rates;
    rules = value_bands(values_of(rates), "right at first", /*percent=*/true);
    std::ranges::reverse(rules);  // the easiest have the highest rate
    panel.source = cat("pass rate at step ", steps.front().step);
  }
  if (rules.empty()) return {};
  for (const ValueBand& rule : rules)
    panel.bands.push_back(make_band(rule, steps, *values, bootstrap));
  panel.alarm = alarm_of(panel.bands.back());
  panel.solved = solved_lengths(steps);
  return panel;
}

}  // namespace vernier
