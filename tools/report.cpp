#include "tools/report.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <filesystem>

#include "core/base/errors.h"
#include "core/base/files.h"
#include "core/base/log.h"
#include "core/base/text.h"
#include "tools/output.h"
#include "tools/report_html.h"

namespace vernier {
namespace {

constexpr size_t kMaxDrawnSteps = 400;  // rows of training a page holds for each run

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

Json start_json(const StartPolicy& start) {
  Json out = {{"runs", start.runs},
              {"source", start.source},
              {"statement", inverted_u_statement(start)},
              {"inverted_u", start.pooled.inverted_u},
              {"pooled", curve_json(start.pooled)},
              {"bands", Json::array()},
              {"within_source", start.within_source},
              {"within_question", curve_json(start.within)}};
  for (const LengthCurve& band : start.bands) out["bands"].push_back(curve_json(band));
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
  const size_t block = std::max<size_t>(1, (num_rows + kMaxDrawnSteps - 1) / kMaxDrawnSteps);
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

Json histogram_json(const Answers& answers, const LengthHistogram& histogram) {
  double sum = 0;
  for (const JudgedAnswer& answer : answers.rows) sum += static_cast<double>(answer.num_tokens);
  const auto n = static_cast<double>(answers.rows.size());
  return {{"source", answers.source},           {"step", answers.step},
          {"num_samples", answers.rows.size()}, {"mean_length", n > 0 ? sum / n : kUndefined},
          {"right", histogram.right},           {"wrong", histogram.wrong},
          {"unjudged", histogram.unjudged}};
}

Json run_json(const Report& report, size_t place, bool for_page) {
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
  const SampledTokens& sampled = run.sampled;
  out["sampled"] = {{"steps", sampled.num_steps},
                    {"answers", sampled.num_answers},
                    {"right_answers", sampled.num_right},
                    {"tokens", sampled.tokens},
                    {"right_tokens", sampled.right_tokens}};
  if (!for_page) return out;
  out["colour"] = run_colour(place);
  out["train"] = train_json(report, run);
  out["first"] = histogram_json(run.first, run.first_histogram);
  out["last"] = histogram_json(run.last, run.last_histogram);
  return out;
}

void print(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0)
    fail_run("standard output: cannot be written");
}

void make_folder(const fs::path& folder) {
  std::error_code problem;
  fs::create_directories(folder, problem);
  if (problem) fail_run(folder.string(), ": cannot be made: ", problem.message());
}

void write_pictures_to(const Report& report, const std::string& folder, const std::string& format) {
  make_folder(folder);
  const std::vector<std::string> files = write_pictures(report, folder, format);
  log::info(cat("wrote ", files.size(), " charts to ", folder, ": ", join(files)));
}

}  // namespace

Json report_json(const Report& report, bool for_page) {
  const Run& head = report.runs.front();
  Json out = {{"unit", "tokens"}, {"run", head.name}};
  add_final(out, head);
  out["bootstrap"] = bootstrap_json(report.bootstrap);
  out["runs"] = Json::array();
  for (size_t i = 0; i < report.runs.size(); ++i)
    out["runs"].push_back(run_json(report, i, for_page));
  out["frontier"] = Json::array();
  for (const CheckpointPlace& place : report.frontier) {
    const Run& run = report.runs[place.run];
    const Checkpoint& checkpoint = run.checkpoints[place.checkpoint];
    out["frontier"].push_back({{"run", run.name},
                               {"step", checkpoint.step},
                               {"mean_length", checkpoint.mean_length.value},
                               {"accuracy", checkpoint.accuracy.value}});
  }
  out["start_policies"] = Json::array();
  for (const StartPolicy& start : report.starts) out["start_policies"].push_back(start_json(start));
  if (for_page) out["bin_width"] = report.bin_width;
  if (for_page) out["running_steps"] = report.running_steps;
  out["notes"] = report.notes;
  return out;
}

void write_report(const ReportOptions& options) {
  if (options.out.empty() && options.png.empty() && options.svg.empty() && options.csv.empty() &&
      !options.text && !options.json)
    fail("report: nothing to write; give --out, --png, --svg, --csv, --text or --json");
  if (options.out == "-" && (options.text || options.json))
    fail("report: --out - writes to standard output, and so does ",
         options.text ? "--text" : "--json");
  if (options.text && options.json)
    fail("report: --text and --json both write to standard output; give one of them");
  const Report report = make_report(options.runs);
  if (!options.csv.empty()) {
    make_folder(options.csv);
    const std::vector<DataTable> tables = report_tables(report);
    for (const DataTable& table : tables)
      write_file(fs::path(options.csv) / (table.name + ".csv"), csv_text(table));
    log::info(cat("wrote ", tables.size(), " tables to ", options.csv));
  }
  if (!options.png.empty()) write_pictures_to(report, options.png, "png");
  if (!options.svg.empty()) write_pictures_to(report, options.svg, "svg");
  if (!options.out.empty()) {
    if (const fs::path parent = fs::path(options.out).parent_path(); !parent.empty())
      make_folder(parent);
    Output output(options.out);
    output.write(report_page(report));
    output.commit();
    log::info(cat("wrote ", options.out));
  }
  if (options.text) print(report_text(report));
  if (options.json) print(cat(dump_json(report_json(report, /*for_page=*/false)), "\n"));
  if (!options.text && !options.json)
    for (const std::string& note : report.notes) log::warn(note);
}

}  // namespace vernier
