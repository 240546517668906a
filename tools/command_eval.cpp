// eval: accuracy and length of a model at token budgets, and what choosing among responses adds.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "core/base/errors.h"
#include "tools/drawing.h"
#include "tools/output.h"
#include "trainer/choices.h"
#include "trainer/evaluate.h"

namespace vernier {
namespace {

struct BudgetRow {
  int64_t budget = 0;
  Evaluation evaluation;
  std::vector<ChoiceOfK> choices;
  FilteredVote vote;
};

std::string shown(const Estimate& estimate, int digits) {
  if (!std::isfinite(estimate.value)) return "undefined";
  return cat(fixed(estimate.value, digits), " [", fixed(estimate.low, digits), ", ",
             fixed(estimate.high, digits), "]");
}

std::string share(double value) { return std::isfinite(value) ? fixed(value, 3) : "-"; }

template <size_t N>
void print_line(const std::array<size_t, N>& widths, const std::array<std::string, N>& cells) {
  std::string out;
  for (size_t i = 0; i < N; ++i)
    out +=
        cells[i] + std::string(cells[i].size() < widths[i] ? widths[i] - cells[i].size() : 1, ' ');
  std::printf("%s\n", out.c_str());
}

void print_budgets(const std::vector<BudgetRow>& rows) {
  constexpr std::array<size_t, 6> kWidths = {8, 24, 26, 10, 10, 10};
  const Evaluation& first = rows.front().evaluation;
  std::printf("%lld prompts, %lld samples; 95 %% intervals, bootstrap over prompts\n",
              static_cast<long long>(first.num_prompts), static_cast<long long>(first.num_samples));
  print_line<6>(kWidths, {"budget", "accuracy (avg@n)", "mean length (tokens)", "pass@n", "maj@n",
                          "clipped"});
  for (const BudgetRow& row : rows) {
    const Evaluation& e = row.evaluation;
    print_line<6>(kWidths, {cat(row.budget), shown(e.accuracy, 3), shown(e.mean_length, 1),
                            share(e.pass_at_n), share(e.majority_at_n), share(e.clipped)});
  }
}

void print_choices(const BudgetRow& row) {
  constexpr std::array<size_t, 5> kWidths = {8, 24, 24, 24, 26};
  std::printf("\nchoosing among k responses, budget %lld\n", static_cast<long long>(row.budget));
  print_line<5>(kWidths, {"k", "pass@k", "maj@k", "shortest@k", "tokens of k"});
  for (const ChoiceOfK& one : row.choices)
    print_line<5>(kWidths, {cat(one.k), shown(one.pass, 3), shown(one.majority, 3),
                            shown(one.shortest, 3), shown(one.tokens, 1)});
  std::printf("vote among all, buckets of %.1f tokens that agree most: %s; among all buckets: %s\n",
              row.vote.width, shown(row.vote.filtered, 3).c_str(),
              shown(row.vote.majority, 3).c_str());
}

Json json_of(const BudgetRow& row) {
  Json out = evaluation_json(row.evaluation);
  out["budget"] = row.budget;
  out["choices"] = Json::array();
  for (const ChoiceOfK& one : row.choices) {
    Json choice = {{"k", one.k}, {"num_prompts", one.num_prompts}};
    add_estimate(choice, "pass", one.pass);
    add_estimate(choice, "majority", one.majority);
    add_estimate(choice, "shortest", one.shortest);
    add_estimate(choice, "tokens", one.tokens);
    out["choices"].push_back(choice);
  }
  out["filtered_vote"] = {{"bucket_tokens", row.vote.width}};
  add_estimate(out["filtered_vote"], "filtered", row.vote.filtered);
  add_estimate(out["filtered_vote"], "majority", row.vote.majority);
  return out;
}

// Ascending, each once.
std::vector<int64_t> ordered(std::vector<int64_t> values) {
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
  return values;
}

std::vector<int64_t> budgets_of(const DrawOptions& options) {
  std::vector<int64_t> budgets = ordered(options.budgets);
  if (options.max_completion_length == 0) return budgets;
  if (!budgets.empty() && budgets.back() > options.max_completion_length)
    fail("--budgets: ", budgets.back(), " is above --max-completion-length ",
         options.max_completion_length);
  if (budgets.empty() || budgets.back() < options.max_completion_length)
    budgets.push_back(options.max_completion_length);
  return budgets;
}

std::vector<int64_t> ks_of(const DrawOptions& options) {
  std::vector<int64_t> ks = ordered(options.ks);
  if (!ks.empty() && ks.back() > options.n)
    fail("--k: ", ks.back(), " is above --n ", options.n, ": a choice is among what was drawn");
  if (!ks.empty()) return ks;
  for (int64_t k = 1; k < options.n; k *= 2) ks.push_back(k);
  ks.push_back(options.n);
  return ks;
}

}  // namespace

void eval_command(const DrawOptions& options) {
  std::optional<Output> output;
  if (!options.out.empty()) output.emplace(options.out);
  DrawOptions largest = options;
  std::vector<int64_t> budgets = budgets_of(options);
  const std::vector<int64_t> ks = ks_of(options);
  if (!budgets.empty()) largest.max_completion_length = budgets.back();
  Drawing drawing = prepare(largest);
  if (budgets.empty()) budgets.push_back(drawing.config.max_completion_length);
  Engine engine(*drawing.model.decoder, *drawing.model.tokenizer);
  std::vector<Group> groups = draw_evaluation(engine, std::move(drawing.prompts), drawing.config,
                                              static_cast<uint64_t>(options.seed), nullptr);
  for (Group& group : groups) group.step = 0;
  std::vector<BudgetRow> rows;
  for (const int64_t budget : budgets) {
    const std::vector<Group> cut = cut_groups(groups, budget, *drawing.model.tokenizer);
    const std::vector<PromptCandidates> candidates = candidates_of(cut);
    rows.push_back({.budget = budget,
                    .evaluation = summarize(cut),
                    .choices = choices_of(candidates, ks),
                    .vote = filtered_vote_of(candidates, options.bucket_tokens)});
  }
  if (output) {
    output->write(rows_of(groups, kind_of(drawing.config)));
    output->commit();
  }
  if (!options.json) {
    print_budgets(rows);
    if (options.n > 1) print_choices(rows.back());
    return;
  }
  Json out = json_of(rows.back());
  out.erase("budget");
  out["n"] = options.n;
  out["seed"] = options.seed;
  out["bootstrap"] = bootstrap_json({});
  for (const BudgetRow& row : rows) out["budgets"].push_back(json_of(row));
  std::printf("%s\n", dump_json(out).c_str());
}

}  // namespace vernier
