// A report as one JSON object: what every chart of the page shows.
#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "core/base/text.h"
#include "tools/report_html.h"

namespace vernier {
namespace {

void add_checkpoint(Json& out, const Checkpoint& checkpoint) {
  out["step"] = checkpoint.step;
  add_estimate(out, "accuracy", checkpoint.accuracy);
  add_estimate(out, "mean_length", checkpoint.mean_length);
  out["length_correct_mean"] = checkpoint.right_length;
  out["length_wrong_mean"] = checkpoint.wrong_length;
  out["tokens_per_correct"] = checkpoint.tokens_per_correct();
  out["clipped_ratio"] = checkpoint.clipped_ratio;
  out["num_prompts"] = checkpoint.num_prompts;
  out["num_samples"] = checkpoint.num_answers;
  out["budgets"] = Json::array();
  for (const BudgetPoint& point : checkpoint.budgets) {
    Json row = {{"budget", point.budget}};
    add_estimate(row, "accuracy", point.accuracy);
    add_estimate(row, "mean_length", point.mean_length);
    out["budgets"].push_back(std::move(row));
  }
}

// The last evaluation; without one its keys stand with null.
void add_final(Json& out, const Run& run) {
  add_checkpoint(out, run.checkpoints.empty() ? Checkpoint{} : run.checkpoints.back());
  if (run.checkpoints.empty()) out["step"] = nullptr;
}

Json curve_json(const LengthCurve& curve) {
  Json out = {{"label", curve.label},
              {"num_samples", curve.num_answers},
              {"num_prompts", curve.num_prompts},
              {"inverted_u", curve.inverted_u},
              {"bins", Json::array()}};
  for (const LengthBin& bin : curve.bins) {
    Json row = {{"low", bin.low},
                {"high", bin.high},
                {"mean", bin.center},
                {"num_samples", bin.num_answers},
                {"num_prompts", bin.num_prompts}};
    add_estimate(row, "accuracy", bin.accuracy);
    out["bins"].push_back(std::move(row));
  }
  return out;
}

Json optimum_json(const LengthOptimum& optimum) {
  Json out;
  add_estimate(out, "length", optimum.length);
  out["support"] = optimum.support;
  out["certain"] = optimum.is_certain();
  out["num_samples"] = optimum.num_answers;
  out["num_prompts"] = optimum.num_prompts;
  out["num_clipped"] = optimum.num_clipped;
  return out;
}

Json start_json(const StartPolicy& start) {
  Json out = {{"runs", start.runs},
              {"source", start.source},
              {"statement", inverted_u_statement(start)},
              {"inverted_u", start.pooled.inverted_u},
              {"pooled", curve_json(start.pooled)},
              {"optimum", optimum_json(start.optimum)},
              {"within_optimum", optimum_json(start.within_optimum)},
              {"bands", Json::array()},
              {"within_source", start.within_source},
              {"within_question", curve_json(start.within)}};
  for (const LengthCurve& band : start.bands) out["bands"].push_back(curve_json(band));
  out["by_difficulty"] = Json::array();
  for (const StartPolicy::OfDifficulty& one : start.by_difficulty) {
    Json row = {{"difficulty", one.difficulty}};
    row.update(optimum_json(one.optimum));
    row["predicted"] = start.law.at(one.difficulty);
    out["by_difficulty"].push_back(std::move(row));
  }
  out["law"] = {
      {"scale", start.law.scale}, {"capacity", start.law.capacity}, {"rmse", start.law.rmse}};
  return out;
}

// Means of blocks of values; an undefined value does not count.
Json blocks_json(const std::vector<double>& values, size_t block) {
  Json out = Json::array();
  for (size_t begin = 0; begin < values.size(); begin += block) {
    double sum = 0, count = 0;
    for (size_t i = begin; i < std::min(begin + block, values.size()); ++i) {
      if (std::isnan(values[i])) continue;
      sum += values[i];
      count += 1;
    }
    out.push_back(count > 0 ? sum / count : kUndefined);
  }
  return out;
}

// Steps that one point stands for.
size_t block_of(const Run& run) {
  return std::max<size_t>(1, (run.train.size() + kMaxDrawnSteps - 1) / kMaxDrawnSteps);
}

// Rows of training as columns; of a long run each point stands for a block of steps.
Json train_json(const Report& report, const Run& run) {
  using Column = std::pair<const char*, double TrainRow::*>;
  constexpr std::array<Column, 2> kPlain = {
      {{"accuracy", &TrainRow::accuracy}, {"mean_length", &TrainRow::mean_length}}};
  constexpr std::array<Column, 4> kRunning = {{{"right_mean", &TrainRow::right_mean},
                                               {"right_p50", &TrainRow::right_p50},
                                               {"right_p90", &TrainRow::right_p90},
                                               {"wrong_mean", &TrainRow::wrong_mean}}};
  const size_t num_rows = run.train.size();
  const size_t block = block_of(run);
  Json out = {{"block", block}, {"step", Json::array()}};
  for (size_t begin = 0; begin < num_rows; begin += block)
    out["step"].push_back(run.train[std::min(begin + block, num_rows) - 1].step);
  for (const auto& [name, field] : kPlain) {
    std::vector<double> values;
    for (const TrainRow& row : run.train) values.push_back(row.*field);
    out[name] = blocks_json(values, block);
  }
  for (const auto& [name, field] : kRunning)
    out[name] = blocks_json(running_column(report, run, field), block);
  return out;
}

// Seconds of a step by phase, as columns of the same blocks.
Json timings_json(const Run& run) {
  using Column = std::pair<const char*, double TrainRow::*>;
  constexpr std::array<Column, 4> kPhases = {{{"rollout", &TrainRow::rollout_s},
                                              {"score", &TrainRow::score_s},
                                              {"credit", &TrainRow::credit_s},
                                              {"update", &TrainRow::update_s}}};
  const size_t block = block_of(run);
  Json out = {{"saved_s", run.saved_s()}, {"eval_s", nullptr}};
  double evaluations = kUndefined;
  for (const Checkpoint& checkpoint : run.checkpoints)
    if (!std::isnan(checkpoint.time_s))
      evaluations = (std::isnan(evaluations) ? 0 : evaluations) + checkpoint.time_s;
  out["eval_s"] = evaluations;
  std::vector<double> other;
  for (const TrainRow& row : run.train) {
    double rest = row.time_s;
    for (const auto& [name, field] : kPhases)
      if (!std::isnan(row.*field)) rest -= row.*field;
    other.push_back(std::isnan(rest) ? rest : std::max(0.0, rest));
  }
  for (const auto& [name, field] : kPhases) {
    std::vector<double> values;
    for (const TrainRow& row : run.train) values.push_back(row.*field);
    out[name] = blocks_json(values, block);
  }
  out["other"] = blocks_json(other, block);
  return out;
}

Json fan_json(const LengthFan& fan) {
  Json out = {{"step", fan.step}};
  for (size_t i = 0; i < LengthFan::kShares.size(); ++i)
    out[cat("p", std::lround(100 * LengthFan::kShares[i]))] = fan.quantiles[i];
  return out;
}

Json optima_json(const std::vector<TrainingOptimum>& optima) {
  Json out = Json::array();
  for (const TrainingOptimum& one : optima)
    out.push_back({{"first_step", one.first_step},
                   {"last_step", one.last_step},
                   {"mean_length", one.mean_length},
                   {"pooled", optimum_json(one.pooled)},
                   {"within_question", optimum_json(one.within)},
                   {"curve", curve_json(one.curve)}});
  return out;
}

Json difficulty_json(const DifficultyPanel& panel) {
  Json out = {{"source", panel.source},
              {"alarm", panel.alarm.empty() ? Json() : Json(panel.alarm)},
              {"bands", Json::array()},
              {"solved", Json::array()}};
  for (const DifficultyBand& band : panel.bands) {
    Json one = {
        {"label", band.label}, {"num_prompts", band.num_prompts}, {"points", Json::array()}};
    add_estimate(one, "accuracy_change", band.accuracy_change);
    add_estimate(one, "length_change", band.length_change);
    for (const DifficultyBand::Point& point : band.points) {
      Json row = {{"step", point.step}};
      add_estimate(row, "accuracy", point.accuracy);
      add_estimate(row, "mean_length", point.mean_length);
      one["points"].push_back(std::move(row));
    }
    out["bands"].push_back(std::move(one));
  }
  for (const DifficultyPanel::Solved& solved : panel.solved)
    out["solved"].push_back({{"step", solved.step},
                             {"always_length", solved.always_length},
                             {"never_length", solved.never_length}});
  return out;
}

Json pushes_json(const Run& run) {
  Json out = {{"obstacle", run.pushes_obstacle.empty() ? Json() : Json(run.pushes_obstacle)},
              {"steps", Json::array()}};
  for (const PushShare& one : run.pushes)
    out["steps"].push_back({{"step", one.step},
                            {"num_samples", one.num_responses},
                            {"push", one.push},
                            {"due_to_length", one.due_to_length},
                            {"share", one.push > 0 ? one.due_to_length / one.push : kUndefined}});
  return out;
}

Json histogram_json(const Answers& answers, const LengthHistogram& histogram) {
  double sum = 0;
  for (const JudgedAnswer& answer : answers.rows) sum += static_cast<double>(answer.num_tokens);
  const auto n = static_cast<double>(answers.rows.size());
  return {{"source", answers.source},           {"step", answers.step},
          {"num_samples", answers.rows.size()}, {"mean_length", n > 0 ? sum / n : kUndefined},
          {"right", histogram.right},           {"wrong", histogram.wrong},
          {"unjudged", histogram.unjudged}};
}

Json run_json(const Report& report, size_t place) {
  const Run& run = report.runs[place];
  Json out = {{"name", run.name}, {"path", run.path}};
  add_final(out, run);
  out["clipped_ratio"] = run.clipped_ratio();
  out["steps"] = run.num_steps();
  out["sft_steps"] = run.num_sft_steps;
  out["wall_s"] = run.wall_s();
  out["start"] = nullptr;
  if (!run.checkpoints.empty()) add_checkpoint(out["start"], run.checkpoints.front());
  out["checkpoints"] = Json::array();
  for (const Checkpoint& checkpoint : run.checkpoints)
    add_checkpoint(out["checkpoints"].emplace_back(), checkpoint);
  const SampledTokens& sampled = run.sampled.tokens;
  out["sampled"] = {{"steps", sampled.num_steps},
                    {"answers", sampled.num_answers},
                    {"right_answers", sampled.num_right},
                    {"tokens", sampled.tokens},
                    {"right_tokens", sampled.right_tokens}};
  out["colour"] = run_colour(place);
  out["train"] = train_json(report, run);
  out["first"] = histogram_json(run.first, run.first_histogram);
  out["last"] = histogram_json(run.last, run.last_histogram);
  add_estimate(out, "area", run.area);
  const PowerLaw& learning = run.learning;
  out["learning_curve"] = {
      {"a", learning.a}, {"b", learning.b}, {"c", learning.c}, {"rmse", learning.rmse}};
  out["fan"] = fan_json(run.sampled.fan);
  out["optima"] = optima_json(run.sampled.optima);
  out["timings"] = timings_json(run);
  out["difficulty"] = difficulty_json(run.difficulty);
  out["pushes"] = pushes_json(run);
  out["stored_steps"] = run.stored_steps;
  out["lengths"] = run.lengths;
  out["samples"] = run.samples;
  return out;
}

}  // namespace

Json report_json(const Report& report) {
  const Run& head = report.runs.front();
  Json out = {{"unit", "tokens"}, {"run", head.name}};
  add_final(out, head);
  out["bootstrap"] = bootstrap_json(report.settings.bootstrap);
  out["runs"] = Json::array();
  for (size_t i = 0; i < report.runs.size(); ++i) out["runs"].push_back(run_json(report, i));
  out["frontier"] = Json::array();
  for (const CheckpointPlace& place : report.frontier) {
    const Run& run = report.runs[place.run];
    const Checkpoint& checkpoint = run.checkpoints[place.checkpoint];
    out["frontier"].push_back({{"run", run.name},
                               {"step", checkpoint.step},
                               {"mean_length", checkpoint.mean_length.value},
                               {"accuracy", checkpoint.accuracy.value}});
  }
  out["shortest"] = report.shortest;
  out["longest"] = report.longest;
  out["pairs"] = report.pairs;
  out["start_policies"] = Json::array();
  for (const StartPolicy& start : report.starts) out["start_policies"].push_back(start_json(start));
  out["bin_width"] = report.bin_width;
  out["running_steps"] = report.running_steps;
  out["notes"] = report.notes;
  return out;
}

}  // namespace vernier
