#include "tools/eval_table.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>

#include "core/base/errors.h"
#include "core/base/text.h"

namespace vernier {
namespace {

std::string shown(const Estimate& estimate, int digits) {
  if (!std::isfinite(estimate.value)) return "undefined";
  return cat(fixed(estimate.value, digits), " [", fixed(estimate.low, digits), ", ",
             fixed(estimate.high, digits), "]");
}

std::string share(double value) { return std::isfinite(value) ? fixed(value, 3) : "-"; }

template <size_t N>
std::string line(const std::array<size_t, N>& widths, const std::array<std::string, N>& cells) {
  std::string out;
  for (size_t i = 0; i < N; ++i)
    out +=
        cells[i] + std::string(cells[i].size() < widths[i] ? widths[i] - cells[i].size() : 1, ' ');
  return out + "\n";
}

std::string budget_lines(const std::vector<EvalNumbers>& budgets) {
  constexpr std::array<size_t, 6> kWidths = {8, 24, 26, 10, 10, 10};
  std::string out = line<6>(kWidths, {"budget", "accuracy (avg@n)", "mean length (tokens)",
                                      "pass@n", "maj@n", "clipped"});
  for (const EvalNumbers& row : budgets) {
    const Evaluation& e = row.evaluation;
    out += line<6>(kWidths, {row.budget ? cat(*row.budget) : "-", shown(e.accuracy, 3),
                             shown(e.mean_length, 1), share(e.pass_at_n), share(e.majority_at_n),
                             share(e.clipped)});
  }
  return out;
}

std::string choice_lines(const EvalNumbers& row) {
  constexpr std::array<size_t, 5> kWidths = {8, 24, 24, 24, 26};
  std::string out =
      cat("\nchoosing among k responses", row.budget ? cat(", budget ", *row.budget) : "", "\n");
  out += line<5>(kWidths, {"k", "pass@k", "maj@k", "shortest@k", "tokens of k"});
  for (const ChoiceOfK& one : row.choices)
    out += line<5>(kWidths, {cat(one.k), shown(one.pass, 3), shown(one.majority, 3),
                             shown(one.shortest, 3), shown(one.tokens, 1)});
  for (const ChoiceOfK& one : row.choices)
    for (const auto& [reward, best] : one.best)
      out += cat("best of ", one.k, " by ", reward, ": ", shown(best, 3), "\n");
  return out + cat("vote among all, buckets of ", fixed(row.vote.width, 1),
                   " tokens that agree most: ", shown(row.vote.filtered, 3),
                   "; that are random: ", shown(row.vote.random, 3),
                   "; among all buckets: ", shown(row.vote.majority, 3), "\n");
}

const MetricDoc* doc_of(const std::string& name) {
  for (const MetricDoc& doc : length_number_docs()) {
    const size_t open = doc.name.find('<');
    if (name == doc.name ||
        (open != std::string::npos && name.starts_with(doc.name.substr(0, open)) &&
         name.ends_with(doc.name.substr(doc.name.find('>') + 1))))
      return &doc;
  }
  throw BugError(cat("the length number ", name, " has no description"));
}

std::string length_lines(const EvalNumbers& row) {
  constexpr std::array<size_t, 3> kWidths = {28, 32, 1};
  std::string out = "\nlengths (docs/lengths.md)\n";
  for (const LengthNumber& one : row.lengths)
    out += line<3>(kWidths, {one.name, shown(one.value, 3), doc_of(one.name)->unit});
  return out;
}

}  // namespace

void EvalTable::add(const Group& group, const std::vector<Candidate>& candidates) {
  if (!group.role.empty()) return;
  lengths_.add(group, candidates);
  prompts_.push_back(
      {{group.step, group.id}, summary_of(group, candidates), with_scores(group, candidates)});
}

EvalNumbers EvalTable::numbers() const {
  std::vector<const OfPrompt*> order;
  for (const OfPrompt& one : prompts_) order.push_back(&one);
  std::ranges::sort(order, {}, [](const OfPrompt* one) { return one->place; });
  std::vector<PromptSummary> summaries;
  std::vector<PromptCandidates> candidates;
  int64_t most = 0;
  for (const OfPrompt* one : order) {
    summaries.push_back(one->summary);
    candidates.push_back(one->candidates);
    most = std::max(most, std::ssize(one->candidates.all));
  }
  std::vector<int64_t> ks = options_.ks;
  if (!ks.empty() && ks.back() > most)
    fail("--k: ", ks.back(), " is above ", most, ", the judged responses of the prompt with most");
  if (ks.empty() && most > 0) {
    for (int64_t k = 1; k < most; k *= 2) ks.push_back(k);
    ks.push_back(most);
  }
  EvalNumbers out{.budget = budget_,
                  .evaluation = summarize(summaries),
                  .choices = choices_of(candidates, ks),
                  .vote = filtered_vote_of(candidates, options_.bucket_tokens),
                  .lengths = lengths_.numbers({}),
                  .notes = lengths_.notes()};
  std::ranges::copy(definition_notes(out.lengths), std::back_inserter(out.notes));
  return out;
}

Json eval_json(const EvalNumbers& numbers) {
  Json out = evaluation_json(numbers.evaluation);
  out["budget"] = numbers.budget ? Json(*numbers.budget) : Json(nullptr);
  out["choices"] = Json::array();
  for (const ChoiceOfK& one : numbers.choices) {
    Json choice = {{"k", one.k}, {"num_prompts", one.num_prompts}};
    add_estimate(choice, "pass", one.pass);
    add_estimate(choice, "majority", one.majority);
    add_estimate(choice, "shortest", one.shortest);
    add_estimate(choice, "tokens", one.tokens);
    choice["best_by_reward"] = Json::object();
    for (const auto& [reward, best] : one.best)
      add_estimate(choice["best_by_reward"][reward], "accuracy", best);
    out["choices"].push_back(choice);
  }
  out["filtered_vote"] = {{"bucket_tokens", numbers.vote.width}};
  add_estimate(out["filtered_vote"], "filtered", numbers.vote.filtered);
  add_estimate(out["filtered_vote"], "random", numbers.vote.random);
  add_estimate(out["filtered_vote"], "majority", numbers.vote.majority);
  out["lengths"] = Json::object();
  for (const LengthNumber& one : numbers.lengths) {
    Json& entry = out["lengths"][one.name];
    add_estimate(entry, "value", one.value);
    entry["unit"] = doc_of(one.name)->unit;
    entry["count"] = one.count;
  }
  out["notes"] = numbers.notes;
  return out;
}

std::string eval_text(const std::vector<EvalNumbers>& budgets,
                      const std::vector<EvalNumbers>& forced, int64_t answer_tokens) {
  const EvalNumbers& last = budgets.back();
  const Evaluation& first = budgets.front().evaluation;
  std::string out =
      cat(first.num_prompts, " prompts, ", first.num_samples,
          " samples; 95 % intervals, bootstrap over prompts\n", budget_lines(budgets));
  if (!forced.empty())
    out += cat("\nthinking ended at the budget, up to ", answer_tokens, " tokens more\n",
               budget_lines(forced));
  if (!last.choices.empty() && last.choices.back().k > 1) out += choice_lines(last);
  out += length_lines(last);
  for (const std::string& note : last.notes) out += cat("note: ", note, "\n");
  return out;
}

}  // namespace vernier
