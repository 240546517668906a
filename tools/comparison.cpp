#include "tools/comparison.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "core/base/errors.h"
#include "core/base/files.h"
#include "core/base/text.h"
#include "rewards/units.h"
#include "rewards/verify/judge.h"
#include "rollout/rows.h"

namespace vernier {
namespace {

// A raw win rate and one at equal lengths that are further apart than this are called out.
constexpr double kTold = 0.1;

std::optional<bool> verdict_of(const Prompt& prompt, const Response& response) {
  if (response.sampled_correct) return response.sampled_correct;
  const std::optional<Verdict> verdict = judge(prompt, response);
  return verdict ? std::optional(verdict->correct) : std::nullopt;
}

double sampled_length(const Response& response, const ComparisonOptions& options) {
  return options.unit == "tokens" ? static_cast<double>(response.raw_num_tokens)
                                  : response_length(response, options.unit, options.after);
}

double mean(const Tally& tally) { return tally.sum / tally.count; }

// The file of a run's last evaluation.
std::string last_evaluation(const std::string& run) {
  constexpr std::array<std::string_view, 2> kSuffixes = {".jsonl", ".jsonl.zst"};
  const std::map<int64_t, fs::path> files = step_files(fs::path(run) / "eval", kSuffixes);
  if (files.empty()) fail(run, ": is a run without an evaluation (eval/step_N.jsonl)");
  return files.rbegin()->second.string();
}

// The logit of the pass rate of both, half a right and half a wrong answer added to each, so that
// it is finite.
double difficulty_of(const SidePrompt& a, const SidePrompt& b) {
  const double right = a.right.sum + b.right.sum, all = a.right.count + b.right.count;
  return std::log((right + 0.5) / (all - right + 0.5));
}

using Shared = std::vector<std::pair<const SidePrompt*, const SidePrompt*>>;

Shared shared_prompts(const Side& a, const Side& b) {
  Shared out;
  for (const auto& [problem, one] : a.prompts) {
    const auto other = b.prompts.find(problem);
    if (other == b.prompts.end()) continue;
    if (one.answer != other->second.answer)
      fail("problem ", problem, ": the answer is '", one.answer, "' in ", a.name, " and '",
           other->second.answer, "' in ", b.name, ": these are not the same prompts");
    out.emplace_back(&one, &other->second);
  }
  if (out.empty())
    fail(a.name, " and ", b.name, " share no prompt (", a.prompts.size(), " and ", b.prompts.size(),
         " problems): they are matched by their rows' \"problem\"");
  return out;
}

PairComparison compare(const std::vector<Side>& sides, size_t first, size_t second,
                       const ComparisonOptions& options) {
  const Side &a = sides[first], &b = sides[second];
  const Shared shared = shared_prompts(a, b);
  PairComparison out;
  out.first = first;
  out.second = second;
  out.num_prompts = std::ssize(shared);
  out.only_first = std::ssize(a.prompts) - out.num_prompts;
  out.only_second = std::ssize(b.prompts) - out.num_prompts;
  std::vector<std::vector<Tally>> rows;
  std::vector<double> accuracy, length;
  std::vector<PairedPrompt> prompts;
  double accuracies[2] = {0, 0}, lengths[2] = {0, 0};
  for (const auto& [one, other] : shared) {
    const double right = mean(one->right), right_too = mean(other->right);
    const double tokens = mean(one->length), tokens_too = mean(other->length);
    accuracy.push_back(right_too - right);
    length.push_back(tokens_too - tokens);
    rows.push_back({{accuracy.back(), 1}, {length.back(), 1}, {tokens_too, tokens}});
    prompts.push_back({.preference = 0.5 + accuracy.back() / 2,
                       .length_difference = length.back(),
                       .difficulty = difficulty_of(*one, *other)});
    accuracies[0] += right;
    accuracies[1] += right_too;
    lengths[0] += tokens;
    lengths[1] += tokens_too;
  }
  const std::vector<Estimate> means = bootstrap_means(rows, options.bootstrap);
  out.accuracy = means[0];
  out.length = means[1];
  out.length_ratio = means[2];
  out.accuracy_p = sign_flip_p(accuracy, options.bootstrap);
  out.length_p = sign_flip_p(length, options.bootstrap);
  out.wins = estimate_length_control(prompts, options.bootstrap);
  out.aes =
      accuracy_efficiency_score(accuracies[1], lengths[1], accuracies[0], lengths[0], options.aes);
  return out;
}

void adjust(std::vector<PairComparison>& pairs) {
  const auto over_all = [&](double PairComparison::*from, double PairComparison::*to) {
    std::vector<double> p;
    for (const PairComparison& pair : pairs) p.push_back(pair.*from);
    const std::vector<double> adjusted = holm(p);
    for (size_t i = 0; i < pairs.size(); ++i) pairs[i].*to = adjusted[i];
  };
  over_all(&PairComparison::accuracy_p, &PairComparison::accuracy_p_holm);
  over_all(&PairComparison::length_p, &PairComparison::length_p_holm);
}

SupervisionGap gap_of(const std::vector<Side>& sides, const Bootstrap& bootstrap) {
  SupervisionGap out;
  std::vector<std::vector<Tally>> rows;
  for (const auto& [problem, untrained] : sides[0].prompts) {
    const auto easy = sides[1].prompts.find(problem), hard = sides[2].prompts.find(problem);
    if (easy == sides[1].prompts.end() || hard == sides[2].prompts.end()) continue;
    const double floor = mean(untrained.right);
    const double gain = mean(easy->second.right) - floor, all = mean(hard->second.right) - floor;
    rows.push_back({{all, 1}, {gain, all}});
  }
  out.num_prompts = std::ssize(rows);
  if (rows.empty()) fail("--gap: no prompt was answered by all three");
  const std::vector<Estimate> means = bootstrap_means(rows, bootstrap);
  out.hard_gain = means[0];
  if (out.hard_gain.low > 0) out.recovered = means[1];
  return out;
}

// Accuracy and length of a side, over all its prompts.
std::vector<Estimate> means_of(const Side& side, const Bootstrap& bootstrap) {
  std::vector<std::vector<Tally>> rows;
  for (const auto& [problem, one] : side.prompts) rows.push_back({one.right, one.length});
  return bootstrap_means(rows, bootstrap);
}

std::string shown(const Estimate& estimate, int digits, double scale = 1) {
  if (!std::isfinite(estimate.value)) return "undefined";
  const auto number = [&](double value) {
    return std::isfinite(value) ? fixed(scale * value, digits) : std::string("?");
  };
  return cat(number(estimate.value), " [", number(estimate.low), ", ", number(estimate.high), "]");
}

std::string pair_text(const Comparison& all, const PairComparison& pair) {
  const std::string &first = all.sides[pair.first].name, &second = all.sides[pair.second].name;
  const auto p_text = [&](double p, double adjusted) {
    return cat("p ", fixed(p, 4), all.pairs.size() > 1 ? cat(", Holm ", fixed(adjusted, 4)) : "");
  };
  std::string out =
      cat("\n", second, " against ", first, ": ", pair.num_prompts, " shared prompts");
  if (pair.only_first + pair.only_second > 0)
    out += cat(" (", pair.only_first, " only in the first, ", pair.only_second,
               " only in the second)");
  out +=
      cat("\n  accuracy  ", shown(pair.accuracy, 3), "  ",
          p_text(pair.accuracy_p, pair.accuracy_p_holm), "\n  length    ", shown(pair.length, 1),
          " ", all.options.unit, ", ", shown(pair.length_ratio, 3), " times  ",
          p_text(pair.length_p, pair.length_p_holm), "\n  wins      ", shown(pair.wins.win, 1, 100),
          " %; at equal lengths ", shown(pair.wins.controlled, 1, 100), " % (length effect ",
          fixed(pair.wins.length_effect, 2), " +- ", fixed(pair.wins.length_error, 2), ")\n");
  if (std::abs(pair.wins.win.value - pair.wins.controlled.value) > kTold)
    out += "            length explains more than 10 points of this\n";
  const AesFactors& aes = all.options.aes;
  if (std::isfinite(pair.aes))
    out += cat("  AES       ", fixed(pair.aes, 3), " (factors ", aes.gain, " of a gain, ", aes.loss,
               " of a loss)\n");
  return out;
}

Json pair_json(const Comparison& all, const PairComparison& pair) {
  Json out = {{"first", all.sides[pair.first].name},
              {"second", all.sides[pair.second].name},
              {"num_prompts", pair.num_prompts},
              {"only_first", pair.only_first},
              {"only_second", pair.only_second}};
  add_estimate(out, "accuracy_difference", pair.accuracy);
  out["accuracy_p"] = pair.accuracy_p;
  out["accuracy_p_holm"] = pair.accuracy_p_holm;
  add_estimate(out, "length_difference", pair.length);
  add_estimate(out, "length_ratio", pair.length_ratio);
  out["length_p"] = pair.length_p;
  out["length_p_holm"] = pair.length_p_holm;
  add_estimate(out, "win", pair.wins.win);
  add_estimate(out, "win_length_controlled", pair.wins.controlled);
  out["length_effect"] = json_number(pair.wins.length_effect);
  out["length_effect_error"] = json_number(pair.wins.length_error);
  out["aes"] = json_number(pair.aes);
  return out;
}

}  // namespace

void Side::add(const Group& group, const ComparisonOptions& options) {
  if (!group.role.empty()) return;
  for (const Response& response : group.responses) {
    if (!policy_ended(response)) {
      ++num_unmeasured;
      continue;
    }
    const std::optional<bool> correct = verdict_of(group.prompt, response);
    if (!correct) {
      ++num_unjudged;
      continue;
    }
    const auto [place, is_new] = prompts.try_emplace(group.prompt.id);
    SidePrompt& prompt = place->second;
    if (is_new) prompt.answer = group.prompt.answer;
    if (prompt.answer != group.prompt.answer)
      fail(name, ": problem ", group.prompt.id, ": the answer is '", prompt.answer,
           "' in one row, '", group.prompt.answer, "' in another");
    prompt.right.sum += *correct ? 1 : 0;
    prompt.right.count += 1;
    prompt.length.sum += sampled_length(response, options);
    prompt.length.count += 1;
    ++num_samples;
  }
}

Side read_side(const std::string& path, const ComparisonOptions& options) {
  Side side;
  side.name = path;
  const bool is_run = fs::exists(fs::path(path) / "metrics.jsonl");
  for (const std::string& file : rollout_files(is_run ? last_evaluation(path) : path))
    read_rollouts(file, [&](Group&& group) { side.add(group, options); });
  return side;
}

Comparison compare_sides(std::vector<Side> sides, bool gap, const ComparisonOptions& options) {
  for (const Side& side : sides)
    if (side.prompts.empty())
      fail(side.name, ": has no response with a verdict (", side.num_unjudged, " without one, ",
           side.num_unmeasured, " that the policy did not end)");
  Comparison out;
  out.options = options;
  out.sides = std::move(sides);
  for (size_t first = 0; first < out.sides.size(); ++first)
    for (size_t second = first + 1; second < out.sides.size(); ++second)
      out.pairs.push_back(compare(out.sides, first, second, options));
  adjust(out.pairs);
  if (gap) out.gap = gap_of(out.sides, options.bootstrap);
  return out;
}

Json comparison_json(const Comparison& comparison) {
  const ComparisonOptions& options = comparison.options;
  Json out = {
      {"unit", options.unit},
      {"bootstrap", bootstrap_json(options.bootstrap)},
      {"permutation", {{"seed", options.bootstrap.seed}, {"draws", options.bootstrap.draws}}},
      {"aes_factors", {{"gain", options.aes.gain}, {"loss", options.aes.loss}}},
      {"sides", Json::array()},
      {"pairs", Json::array()}};
  for (const Side& side : comparison.sides) {
    Json one = {{"name", side.name},
                {"num_prompts", side.prompts.size()},
                {"num_samples", side.num_samples},
                {"num_unjudged", side.num_unjudged},
                {"num_unmeasured", side.num_unmeasured}};
    const std::vector<Estimate> means = means_of(side, options.bootstrap);
    add_estimate(one, "accuracy", means[0]);
    add_estimate(one, "mean_length", means[1]);
    out["sides"].push_back(one);
  }
  for (const PairComparison& pair : comparison.pairs)
    out["pairs"].push_back(pair_json(comparison, pair));
  if (const auto& gap = comparison.gap) {
    Json one = {{"num_prompts", gap->num_prompts}};
    add_estimate(one, "hard_gain", gap->hard_gain);
    add_estimate(one, "recovered", gap->recovered);
    out["supervision_gap"] = one;
  }
  return out;
}

std::string comparison_text(const Comparison& comparison) {
  const ComparisonOptions& options = comparison.options;
  std::string out;
  for (const Side& side : comparison.sides) {
    const std::vector<Estimate> means = means_of(side, options.bootstrap);
    out +=
        cat(side.name, ": accuracy ", shown(means[0], 3), ", mean length ", shown(means[1], 1), " ",
            options.unit, "; ", side.prompts.size(), " prompts, ", side.num_samples, " samples");
    if (side.num_unjudged > 0) out += cat(", ", side.num_unjudged, " without a verdict left out");
    if (side.num_unmeasured > 0)
      out += cat(", ", side.num_unmeasured, " that the policy did not end left out");
    out += "\n";
  }
  for (const PairComparison& pair : comparison.pairs) out += pair_text(comparison, pair);
  if (const auto& gap = comparison.gap)
    out += cat("\nsupervision gap recovered: ",
               std::isfinite(gap->recovered.value)
                   ? shown(gap->recovered, 3)
                   : cat("undefined: training on hard prompts gains ", shown(gap->hard_gain, 3)),
               " on ", gap->num_prompts, " prompts\n");
  return out + cat("\nIn brackets 95 % intervals over prompts (", options.bootstrap.draws,
                   " draws, seed ", options.bootstrap.seed, "); p: random signs of prompts.\n");
}

}  // namespace vernier
