// eval: accuracy and length of a model, or of stored responses, at token budgets.
#include <algorithm>
#include <cstdio>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "core/base/errors.h"
#include "core/base/log.h"
#include "rewards/verify/judge.h"
#include "rollout/rows.h"
#include "rollout/thinking_cut.h"
#include "tools/drawing.h"
#include "tools/eval_suite.h"
#include "tools/eval_table.h"
#include "trainer/evaluate.h"
#include "trainer/signals.h"

namespace vernier {
namespace {

// Groups whose thinking is ended together: what is drawn of them fills the engine's passes.
constexpr int64_t kForcedAtATime = 4;  // times max_running responses

// Ascending, each once.
std::vector<int64_t> ordered(std::vector<int64_t> values) {
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
  return values;
}

TableOptions table_options(const EvalOptions& options) {
  const std::string after = options.after ? *options.after : options.think_end;
  return {.ks = ordered(options.ks),
          .bucket_tokens = options.bucket_tokens,
          .after = after,
          .length_table = LengthTable::read(options.length_table)};
}

// Sums groups up at every budget, and forgets them.
class Tables {
 public:
  /// No budgets: the responses as they are.
  Tables(const EvalOptions& options, const std::vector<int64_t>& budgets) {
    if (budgets.empty()) tables_.emplace_back(std::nullopt, table_options(options));
    for (const int64_t budget : budgets) tables_.emplace_back(budget, table_options(options));
  }

  /// `judged`: what judge_group() said of it. `tokenizer` may be null where there are no budgets.
  void add(const Group& group, const std::vector<Candidate>& judged, const Tokenizer* tokenizer) {
    for (EvalTable& table : tables_) {
      const auto take = [&](const Group& one, const std::vector<Candidate>& candidates) {
        table.add(one, candidates);
      };
      if (table.budget())
        at_budget(group, judged, *table.budget(), *tokenizer, take);
      else
        take(group, judged);
    }
  }

  std::vector<EvalNumbers> numbers() const {
    std::vector<EvalNumbers> out;
    for (const EvalTable& table : tables_) out.push_back(table.numbers());
    return out;
  }

 private:
  std::vector<EvalTable> tables_;
};

void print(const EvalOptions& options, const std::vector<EvalNumbers>& budgets,
           const std::vector<EvalNumbers>& forced) {
  if (!options.json) {
    std::fputs(eval_text(budgets, forced, options.answer_tokens).c_str(), stdout);
    return;
  }
  Json out = eval_json(budgets.back());
  out.erase("budget");
  if (options.rollouts.empty()) {
    out["n"] = options.n;
    out["seed"] = options.seed;
  }
  out["bootstrap"] = bootstrap_json({});
  for (const EvalNumbers& row : budgets) out["budgets"].push_back(eval_json(row));
  if (options.answer_tokens > 0) out["answer_tokens"] = options.answer_tokens;
  for (const EvalNumbers& row : forced) out["forced"].push_back(eval_json(row));
  std::printf("%s\n", dump_json(out).c_str());
}

// Of each budget, with the thinking ended there, over all that was drawn.
std::vector<EvalNumbers> force(const EvalOptions& options, const std::vector<int64_t>& budgets,
                               const Drawing& drawing, Engine& engine, const DrawnGroups& drawn) {
  std::vector<EvalNumbers> out;
  for (const int64_t budget : budgets) {
    RolloutConfig config = drawing.config;
    config.ending.thinking_budget = budget;
    config.max_completion_length = budget + options.answer_tokens;
    EvalTable table(budget, table_options(options));
    const auto add = [&](Group&& group) {
      group.step = 0;
      const std::vector<Candidate> judged = judge_group(group);
      table.add(group, judged);
    };
    std::vector<Group> some;
    const auto end_some = [&] {
      end_thinking(engine, *drawing.model->tokenizer, drawing.model->decoder->spec(), config,
                   evaluation_key(static_cast<uint64_t>(options.seed)), std::exchange(some, {}),
                   &stop_requested(), add);
    };
    const int64_t enough = std::max<int64_t>(1, kForcedAtATime * config.max_running / options.n);
    drawn.each([&](Group&& group) {
      some.push_back(std::move(group));
      if (std::ssize(some) >= enough) end_some();
    });
    end_some();
    out.push_back(table.numbers());
  }
  return out;
}

void check_options(const EvalOptions& options) {
  if (!options.ks.empty() && ordered(options.ks).back() > options.n)
    fail("--k: ", ordered(options.ks).back(), " is above --n ", options.n,
         ": a choice is among what was drawn");
  if (options.answer_tokens == 0) return;
  if (options.budgets.empty()) fail("--answer-tokens: needs --budgets, at which the thinking ends");
  if (options.think_end.empty())
    fail("--answer-tokens: needs --think-end, the tag that ends the thinking");
  if (options.thinking_budget)
    fail("--thinking-budget: is what --budgets are with --answer-tokens; give one of them");
  if (options.max_completion_length > 0)
    fail("--max-completion-length: with --answer-tokens it is the largest of --budgets and ",
         options.answer_tokens, " tokens more; leave it out");
}

std::vector<int64_t> budgets_of(const EvalOptions& options) {
  std::vector<int64_t> budgets = ordered(options.budgets);
  if (options.max_completion_length == 0) return budgets;
  if (!budgets.empty() && budgets.back() > options.max_completion_length)
    fail("--budgets: ", budgets.back(), " is above --max-completion-length ",
         options.max_completion_length);
  if (budgets.empty() || budgets.back() < options.max_completion_length)
    budgets.push_back(options.max_completion_length);
  return budgets;
}

// A choice needs verdicts; with a forced end every limit has to leave room for what is drawn.
void check_prompts(const EvalOptions& options, const std::vector<Prompt>& prompts,
                   const std::vector<int64_t>& budgets) {
  if (!options.ks.empty() && std::ranges::none_of(prompts, has_rule))
    fail(
        "--k: no prompt has an answer and a rule of correctness (--verify); there is nothing to "
        "choose by");
  if (options.answer_tokens == 0) return;
  for (const Prompt& prompt : prompts)
    if (prompt.max_completion_length.value_or(0) > budgets.front() + options.answer_tokens)
      fail("prompt ", prompt.id, ": max_completion_length: ", *prompt.max_completion_length,
           " is above the ", budgets.front(), " of --budgets and the ", options.answer_tokens,
           " of --answer-tokens; leave the column out");
}

void evaluate_model(const EvalOptions& options) {
  check_options(options);
  std::vector<int64_t> budgets = budgets_of(options);
  DrawOptions largest = options;
  if (!budgets.empty()) largest.max_completion_length = budgets.back() + options.answer_tokens;
  if (options.answer_tokens > 0) largest.thinking_budget = budgets.back();
  Drawing drawing = prepare(largest);
  if (budgets.empty()) budgets.push_back(drawing.config.max_completion_length);
  check_prompts(options, drawing.prompts, budgets);
  Engine engine(*drawing.model->decoder, *drawing.model->tokenizer);
  Tables tables(options, budgets);
  DrawnGroups drawn(largest, drawing, /*keep=*/options.answer_tokens > 0);
  drawn.draw(engine, [&](const Group& group, const std::vector<Candidate>& judged) {
    tables.add(group, judged, drawing.model->tokenizer.get());
  });
  std::vector<EvalNumbers> forced;
  if (options.answer_tokens > 0) forced = force(options, budgets, drawing, engine, drawn);
  drawn.finish();
  print(options, tables.numbers(), forced);
}

// Several data sets, one after the other, with one model.
void evaluate_suite(const EvalOptions& options) {
  const Suite suite = Suite::load(options.suite, options.data_dir);
  const SuiteReference reference = SuiteReference::load(options.reference, suite);
  if (options.out == "-") fail("--out: of a suite it is a folder, which - is not");
  if (!options.out.empty()) fs::create_directories(options.out);
  std::shared_ptr<Model> model;
  std::vector<SuiteRow> rows;
  std::list<Drawing> drawings;
  std::list<DrawnGroups> drawn;  // to be finished together: until then one that was left goes on
  for (const Suite::Dataset& dataset : suite.datasets) {
    DrawOptions one = options;
    one.data = dataset.path;
    one.verify = dataset.verify;
    one.prompt_field = dataset.prompt_field;
    one.answer_field = dataset.answer_field;
    one.prompt_template = suite.prompt_template;
    one.n = suite.n;
    one.max_completion_length = suite.max_completion_length;
    one.sampling = suite.sampling;
    if (!options.out.empty())
      one.out = (fs::path(options.out) / (dataset.name + ".jsonl")).string();
    Drawing& drawing = drawings.emplace_back(prepare(one, model));
    model = drawing.model;
    Engine engine(*model->decoder, *model->tokenizer);
    std::map<int64_t, PromptSummary> summaries;
    drawn.emplace_back(one, drawing, /*keep=*/false)
        .draw(engine, [&](const Group& group, const std::vector<Candidate>& judged) {
          summaries[group.id] = summary_of(group, judged);
        });
    std::vector<PromptSummary> in_order;
    for (const auto& [id, summary] : summaries) in_order.push_back(summary);
    rows.push_back({dataset.name, summarize(in_order), {}});
    log::info(cat(dataset.name, ": accuracy ", fixed(rows.back().evaluation.accuracy.value, 3),
                  ", length ", fixed(rows.back().evaluation.mean_length.value, 1), " tokens"));
  }
  rows = finish_suite(std::move(rows), reference, {options.aes_gain, options.aes_loss});
  for (DrawnGroups& one : drawn) one.finish();
  std::fputs((options.json ? dump_json(suite_json(rows)) + "\n" : suite_table(rows, options.format))
                 .c_str(),
             stdout);
}

// Refuses what no number would be true of.
void check_stored(const Group& group, const std::string& file, bool to_be_cut) {
  const std::string where = cat(file, ": group ", group.id, ", sample ");
  for (const Response& response : group.responses) {
    if (response.num_tokens < response.raw_num_tokens)
      fail(where, response.sample, ": a transform of the trainer cut it from ",
           response.raw_num_tokens, " tokens to ", response.num_tokens,
           ": its text is not what the policy wrote; `compare` takes lengths and verdicts from "
           "before, and the run's own evaluations are in eval/");
    if (!to_be_cut) continue;
    if (std::ssize(response.ids) != response.num_tokens)
      fail(where, response.sample, ": has ", response.ids.size(), " response_ids and ",
           response.num_tokens, " tokens; without its ids nothing can be cut to a budget");
    if (response.correct && !has_rule(group.prompt))
      fail(where, response.sample, ": has a verdict and no rule (verify, answer): of what is cut ",
           "nothing could be said; leave --budgets out");
  }
}

// What was drawn elsewhere or before. Verdicts are those of the rows' rules; a row without one
// keeps its own.
void evaluate_rows(const EvalOptions& options) {
  if (!options.data.empty() || !options.task.empty())
    fail(options.data.empty() ? "--task" : "--data", ": is given beside --rollouts, which have ",
         "their prompts; choose one of them");
  if (!options.out.empty()) fail("--out: is for what is drawn; --rollouts are there already");
  if (options.answer_tokens > 0)
    fail("--answer-tokens: draws answers; give --model with --data or --task");
  const std::vector<int64_t> budgets = ordered(options.budgets);
  std::optional<Tokenizer> tokenizer;
  if (budgets.empty() && !options.model.empty())
    fail("--model: its tokenizer reads what --budgets cut of --rollouts; give --budgets, or leave ",
         "it out");
  if (!budgets.empty()) {
    if (options.model.empty())
      fail("--budgets: of --rollouts need --model, whose tokenizer reads what is cut");
    tokenizer.emplace(Tokenizer::open(options.model));
  }
  Tables tables(options, budgets);
  int64_t groups = 0;
  for (const std::string& file : rollout_files(options.rollouts))
    read_rollouts(file, [&](Group&& group) {
      check_stored(group, file, !budgets.empty());
      const std::vector<Candidate> judged = judge_group(group);
      tables.add(group, judged, tokenizer ? &*tokenizer : nullptr);
      ++groups;
    });
  if (groups == 0) fail(options.rollouts, ": has no row");
  print(options, tables.numbers(), {});
}

}  // namespace

void eval_command(const EvalOptions& options) {
  if (!options.rollouts.empty()) return evaluate_rows(options);
  if (options.model.empty()) fail("eval: neither --model nor --rollouts is given");
  if (options.suite.empty())
    evaluate_model(options);
  else
    evaluate_suite(options);
}

}  // namespace vernier
