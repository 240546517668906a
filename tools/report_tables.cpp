// The data of every chart of a report as tables.
#include <cmath>
#include <set>
#include <utility>

#include "core/base/text.h"
#include "tools/report_html.h"

namespace vernier {
namespace {

using Row = std::vector<std::string>;

std::string number(double value) { return std::isnan(value) ? std::string() : cat(value); }

void add(Row& row, const Estimate& estimate) {
  row.insert(row.end(), {number(estimate.value), number(estimate.low), number(estimate.high)});
}

DataTable summary_table(const Report& report) {
  DataTable out{"summary",
                {"run",
                 "start step",
                 "start accuracy [share]",
                 "start accuracy low [share]",
                 "start accuracy high [share]",
                 "last step",
                 "last accuracy [share]",
                 "last accuracy low [share]",
                 "last accuracy high [share]",
                 "start mean length [tokens]",
                 "start mean length low [tokens]",
                 "start mean length high [tokens]",
                 "last mean length [tokens]",
                 "last mean length low [tokens]",
                 "last mean length high [tokens]",
                 "frontier area [share]",
                 "frontier area low [share]",
                 "frontier area high [share]",
                 "start tokens per right answer [tokens]",
                 "last tokens per right answer [tokens]",
                 "clipped [share]",
                 "last evaluation [answers]",
                 "last evaluation [prompts]",
                 "RL steps",
                 "sampled in training [tokens]",
                 "sampled in training [answers]",
                 "sampled right in training [answers]",
                 "in right training answers [tokens]",
                 "rollouts read [steps]",
                 "time in RL steps [s]"},
                {}};
  for (const Run& run : report.runs) {
    const bool evaluated = !run.checkpoints.empty();
    const Checkpoint start = evaluated ? run.checkpoints.front() : Checkpoint{};
    const Checkpoint last = evaluated ? run.checkpoints.back() : Checkpoint{};
    Row row = {run.name, evaluated ? cat(start.step) : ""};
    add(row, start.accuracy);
    row.push_back(evaluated ? cat(last.step) : "");
    add(row, last.accuracy);
    add(row, start.mean_length);
    add(row, last.mean_length);
    add(row, run.area);
    const SampledTokens& sum = run.sampled.tokens;
    row.insert(row.end(),
               {number(start.tokens_per_correct()), number(last.tokens_per_correct()),
                number(run.clipped_ratio()), cat(last.num_answers), cat(last.num_prompts),
                cat(run.num_steps()), cat(sum.tokens), cat(sum.num_answers), cat(sum.num_right),
                cat(sum.right_tokens), cat(sum.num_steps), number(run.wall_s())});
    out.rows.push_back(std::move(row));
  }
  return out;
}

DataTable steps_table(const Report& report, const std::string& name, const std::string& quantity,
                      const std::string& unit, double TrainRow::*train,
                      Estimate Checkpoint::*evaluation) {
  DataTable out{
      name,
      {"run", "step", "of", cat(quantity, " [", unit, "]"), cat(quantity, " low [", unit, "]"),
       cat(quantity, " high [", unit, "]"), "answers", "prompts"},
      {}};
  for (const Run& run : report.runs) {
    for (const Checkpoint& checkpoint : run.checkpoints) {
      Row row = {run.name, cat(checkpoint.step), "evaluation"};
      add(row, checkpoint.*evaluation);
      row.insert(row.end(), {cat(checkpoint.num_answers), cat(checkpoint.num_prompts)});
      out.rows.push_back(std::move(row));
    }
    for (const TrainRow& step : run.train)
      out.rows.push_back(
          {run.name, cat(step.step), "training", number(step.*train), "", "", "", ""});
  }
  return out;
}

DataTable split_table(const Report& report) {
  DataTable out{
      "length_right_wrong",
      {"run", "step", "of", "right mean [tokens]", "right p50 [tokens]", "right p90 [tokens]",
       "wrong mean [tokens]", "wrong p50 [tokens]", "wrong p90 [tokens]"},
      {}};
  for (const Run& run : report.runs) {
    for (const Checkpoint& row : run.checkpoints)
      out.rows.push_back({run.name, cat(row.step), "evaluation", number(row.right_length), "", "",
                          number(row.wrong_length), "", ""});
    for (const TrainRow& row : run.train)
      out.rows.push_back({run.name, cat(row.step), "training", number(row.right_mean),
                          number(row.right_p50), number(row.right_p90), number(row.wrong_mean),
                          number(row.wrong_p50), number(row.wrong_p90)});
  }
  return out;
}

DataTable trade_off_table(const Report& report) {
  DataTable out{"accuracy_against_length",
                {"run", "step", "mean length [tokens]", "mean length low [tokens]",
                 "mean length high [tokens]", "accuracy [share]", "accuracy low [share]",
                 "accuracy high [share]", "tokens per right answer [tokens]", "on frontier",
                 "answers", "prompts"},
                {}};
  std::set<std::pair<size_t, size_t>> frontier;
  for (const CheckpointPlace& place : report.frontier)
    frontier.insert({place.run, place.checkpoint});
  for (size_t r = 0; r < report.runs.size(); ++r)
    for (size_t c = 0; c < report.runs[r].checkpoints.size(); ++c) {
      const Checkpoint& checkpoint = report.runs[r].checkpoints[c];
      Row row = {report.runs[r].name, cat(checkpoint.step)};
      add(row, checkpoint.mean_length);
      add(row, checkpoint.accuracy);
      row.insert(row.end(),
                 {number(checkpoint.tokens_per_correct()), frontier.contains({r, c}) ? "1" : "0",
                  cat(checkpoint.num_answers), cat(checkpoint.num_prompts)});
      out.rows.push_back(std::move(row));
    }
  return out;
}

DataTable histogram_table(const Report& report) {
  DataTable out{"length_histograms",
                {"run", "step", "source", "from [tokens]", "below [tokens]", "right [answers]",
                 "wrong [answers]", "unjudged [answers]"},
                {}};
  const auto add_answers = [&](const Run& run, const Answers& answers,
                               const LengthHistogram& histogram) {
    for (size_t bin = 0; bin < histogram.right.size() && !answers.rows.empty(); ++bin) {
      const double low = static_cast<double>(bin) * report.bin_width;
      out.rows.push_back({run.name, cat(answers.step), answers.source, number(low),
                          number(low + report.bin_width), cat(histogram.right[bin]),
                          cat(histogram.wrong[bin]), cat(histogram.unjudged[bin])});
    }
  };
  for (const Run& run : report.runs) {
    add_answers(run, run.first, run.first_histogram);
    if (run.last.step != run.first.step) add_answers(run, run.last, run.last_histogram);
  }
  return out;
}

DataTable start_table(const Report& report) {
  DataTable out{
      "start_policy",
      {"runs", "source", "curve", "least (tokens; rank)", "greatest (tokens; rank)",
       "mean (tokens; rank)", "accuracy (share; difference)", "accuracy low (share; difference)",
       "accuracy high (share; difference)", "answers", "prompts", "inverted U", "draws", "seed"},
      {}};
  for (const StartPolicy& start : report.starts) {
    const auto add_curve = [&](const LengthCurve& curve, const std::string& source) {
      for (const LengthBin& bin : curve.bins) {
        Row row = {join(start.runs), source,           curve.label,
                   number(bin.low),  number(bin.high), number(bin.center)};
        add(row, bin.accuracy);
        row.insert(row.end(),
                   {cat(bin.num_answers), cat(bin.num_prompts), curve.inverted_u ? "1" : "0",
                    cat(report.settings.bootstrap.draws), cat(report.settings.bootstrap.seed)});
        out.rows.push_back(std::move(row));
      }
    };
    add_curve(start.pooled, start.source);
    for (const LengthCurve& band : start.bands) add_curve(band, start.source);
    add_curve(start.within, start.within_source);
  }
  return out;
}

DataTable fan_table(const Report& report) {
  DataTable out{"length_quantiles", {"run", "step"}, {}};
  for (const double share : LengthFan::kShares)
    out.header.push_back(cat("p", std::lround(100 * share), " [tokens]"));
  for (const Run& run : report.runs)
    for (size_t i = 0; i < run.sampled.fan.step.size(); ++i) {
      Row row = {run.name, cat(run.sampled.fan.step[i])};
      for (const auto& values : run.sampled.fan.quantiles) row.push_back(number(values[i]));
      out.rows.push_back(std::move(row));
    }
  return out;
}

DataTable difficulty_table(const Report& report) {
  DataTable out{"difficulty",
                {"run", "band", "prompts", "step", "accuracy [share]", "accuracy low [share]",
                 "accuracy high [share]", "mean length [tokens]", "mean length low [tokens]",
                 "mean length high [tokens]"},
                {}};
  for (const Run& run : report.runs)
    for (const DifficultyBand& band : run.difficulty.bands)
      for (const DifficultyBand::Point& point : band.points) {
        Row row = {run.name, band.label, cat(band.num_prompts), cat(point.step)};
        add(row, point.accuracy);
        add(row, point.mean_length);
        out.rows.push_back(std::move(row));
      }
  return out;
}

DataTable optimum_table(const Report& report) {
  DataTable out{"optimal_length",
                {"run", "first step", "last step", "of", "length [tokens]", "length low [tokens]",
                 "length high [tokens]", "support [share]", "answers", "prompts", "cut answers"},
                {}};
  for (const Run& run : report.runs)
    for (const TrainingOptimum& one : run.sampled.optima)
      for (const LengthOptimum* optimum : {&one.pooled, &one.within}) {
        Row row = {run.name, cat(one.first_step), cat(one.last_step),
                   optimum->within ? "within a question" : "pooled"};
        add(row, optimum->length);
        row.insert(row.end(), {number(optimum->support), cat(optimum->num_answers),
                               cat(optimum->num_prompts), cat(optimum->num_clipped)});
        out.rows.push_back(std::move(row));
      }
  return out;
}

DataTable law_table(const Report& report) {
  DataTable out{"optimal_length_by_difficulty",
                {"start of", "difficulty", "length [tokens]", "length low [tokens]",
                 "length high [tokens]", "support [share]", "answers", "law [tokens]"},
                {}};
  for (const StartPolicy& start : report.starts)
    for (const StartPolicy::OfDifficulty& one : start.by_difficulty) {
      Row row = {join(start.runs), number(one.difficulty)};
      add(row, one.optimum.length);
      row.insert(row.end(), {number(one.optimum.support), cat(one.optimum.num_answers),
                             number(start.law.at(one.difficulty))});
      out.rows.push_back(std::move(row));
    }
  return out;
}

DataTable budget_table(const Report& report) {
  DataTable out{"token_budgets",
                {"run", "step", "budget [tokens]", "accuracy [share]", "accuracy low [share]",
                 "accuracy high [share]", "mean length [tokens]", "mean length low [tokens]",
                 "mean length high [tokens]"},
                {}};
  for (const Run& run : report.runs)
    for (const Checkpoint& checkpoint : run.checkpoints)
      for (const BudgetPoint& point : checkpoint.budgets) {
        Row row = {run.name, cat(checkpoint.step), cat(point.budget)};
        add(row, point.accuracy);
        add(row, point.mean_length);
        out.rows.push_back(std::move(row));
      }
  return out;
}

DataTable push_table(const Report& report) {
  DataTable out{"due_to_length",
                {"run", "step", "answers", "sum of |advantage|", "sum due to length", "share"},
                {}};
  for (const Run& run : report.runs)
    for (const PushShare& one : run.pushes)
      out.rows.push_back({run.name, cat(one.step), cat(one.num_responses), number(one.push),
                          number(one.due_to_length),
                          number(one.push > 0 ? one.due_to_length / one.push : kUndefined)});
  return out;
}

DataTable time_table(const Report& report) {
  DataTable out{
      "step_times",
      {"run", "step", "all [s]", "sampling [s]", "rewards [s]", "advantages [s]", "learning [s]"},
      {}};
  for (const Run& run : report.runs)
    for (const TrainRow& row : run.train)
      out.rows.push_back({run.name, cat(row.step), number(row.time_s), number(row.rollout_s),
                          number(row.score_s), number(row.credit_s), number(row.update_s)});
  return out;
}

// A pair's numbers under the names that they have in JSON.
DataTable pair_table(const Report& report) {
  DataTable out{"pairs", {}, {}};
  if (report.pairs.is_null()) return out;
  for (const Json& pair : report.pairs["pairs"]) {
    Row row;
    for (const auto& [key, value] : pair.items()) {
      if (out.rows.empty()) out.header.push_back(key);
      row.push_back(value.is_null()     ? std::string()
                    : value.is_string() ? value.get<std::string>()
                                        : dump_json(value));
    }
    out.rows.push_back(std::move(row));
  }
  return out;
}

std::vector<DataTable> main_tables(const Report& report) {
  return {summary_table(report),
          steps_table(report, "accuracy_over_steps", "accuracy", "share", &TrainRow::accuracy,
                      &Checkpoint::accuracy),
          steps_table(report, "length_over_steps", "mean length", "tokens", &TrainRow::mean_length,
                      &Checkpoint::mean_length),
          split_table(report),
          trade_off_table(report),
          histogram_table(report),
          start_table(report)};
}

}  // namespace

std::vector<DataTable> report_tables(const Report& report) {
  std::vector<DataTable> out = main_tables(report);
  for (auto* make : {fan_table, difficulty_table, optimum_table, law_table, budget_table,
                     pair_table, push_table, time_table})
    if (DataTable table = make(report); !table.rows.empty()) out.push_back(std::move(table));
  return out;
}

std::string csv_text(const DataTable& table) {
  std::string out;
  const auto line = [&](const Row& row) {
    for (size_t i = 0; i < row.size(); ++i) {
      if (i > 0) out += ',';
      if (row[i].find_first_of(",\"\r\n") == std::string::npos) {
        out += row[i];
        continue;
      }
      out += '"';
      for (const char c : row[i]) out += c == '"' ? std::string("\"\"") : std::string(1, c);
      out += '"';
    }
    out += "\n";
  };
  line(table.header);
  for (const Row& row : table.rows) line(row);
  return out;
}

}  // namespace vernier
