// Reads one run folder.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <utility>

#include "core/base/errors.h"
#include "core/base/files.h"
#include "core/base/json.h"
#include "core/base/text.h"
#include "tools/report_data.h"
#include "tools/report_samples.h"

namespace vernier {
namespace {

constexpr int64_t kShownGroups = 12;       // of the last stored step, in a page
constexpr int64_t kMaxLengthGroups = 256;  // of the same, for the length rules
constexpr size_t kPushSteps = 8;

bool ends_without_newline(const fs::path& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file || file.tellg() == std::streampos(0)) return false;
  file.seekg(-1, std::ios::end);
  return file.get() != '\n';
}

// Calls `use` with every object of a JSONL file. Returns false where the last line is torn: without
// its newline and not whole, as a crash leaves it.
bool for_each_row(const fs::path& path,
                  const std::function<void(const Json&, const std::string&)>& use) {
  LineReader reader(path.string());
  std::string line;
  while (reader.next(line)) {
    const std::string where = reader.where();
    Json row;
    try {
      row = parse_json(line, where);
    } catch (const UsageError&) {
      if (ends_without_newline(path) && !reader.next(line)) return false;
      throw;
    }
    if (!row.is_object()) fail(where, ": is a JSON ", row.type_name(), ", an object is wanted");
    use(row, where);
  }
  return true;
}

// The number at `key`; NaN where it is null or missing.
double number_at(const Json& row, const char* key, const std::string& where) {
  const auto found = row.find(key);
  if (found == row.end() || found->is_null()) return kUndefined;
  if (!found->is_number()) fail(where, ": ", key, ": is a ", found->type_name(), ", not a number");
  return found->get<double>();
}

int64_t count_at(const Json& row, const char* key, const std::string& where) {
  const auto found = row.find(key);
  if (found == row.end()) fail(where, ": no '", key, "'");
  if (!found->is_number_integer() || found->get<int64_t>() < 0)
    fail(where, ": ", key, ": is ", dump_json(*found), ", not a whole number from 0 on");
  return found->get<int64_t>();
}

std::string text_at(const Json& row, const char* key, const std::string& where) {
  const auto found = row.find(key);
  if (found == row.end() || !found->is_string()) fail(where, ": no text at '", key, "'");
  return found->get<std::string>();
}

struct TrainKey {
  const char* name;
  double TrainRow::*field;
};

constexpr std::array<TrainKey, 18> kTrainKeys = {{
    {"reward", &TrainRow::reward},
    {"accuracy", &TrainRow::accuracy},
    {"completions/mean_length", &TrainRow::mean_length},
    {"completions/clipped_ratio", &TrainRow::clipped_ratio},
    {"length/correct/mean", &TrainRow::right_mean},
    {"length/correct/p50", &TrainRow::right_p50},
    {"length/correct/p90", &TrainRow::right_p90},
    {"length/wrong/mean", &TrainRow::wrong_mean},
    {"length/wrong/p50", &TrainRow::wrong_p50},
    {"length/wrong/p90", &TrainRow::wrong_p90},
    {"loss", &TrainRow::loss},
    {"grad_norm", &TrainRow::grad_norm},
    {"time/step", &TrainRow::time_s},
    {"dot/cut", &TrainRow::dot_cut},
    {"time/rollout", &TrainRow::rollout_s},
    {"time/score", &TrainRow::score_s},
    {"time/credit", &TrainRow::credit_s},
    {"time/update", &TrainRow::update_s},
}};

// eval/budget/256/accuracy and its like.
std::vector<BudgetPoint> read_budgets(const Json& row, const std::string& where) {
  constexpr std::string_view kPrefix = "eval/budget/", kSuffix = "/accuracy";
  std::map<int64_t, BudgetPoint> out;
  for (const auto& [key, value] : row.items()) {
    if (!key.starts_with(kPrefix) || !key.ends_with(kSuffix)) continue;
    const std::string stem = key.substr(0, key.size() - kSuffix.size());
    const std::string digits = stem.substr(kPrefix.size());
    int64_t budget = 0;
    const auto [end, problem] =
        std::from_chars(digits.data(), digits.data() + digits.size(), budget);
    if (problem != std::errc() || end != digits.data() + digits.size() || budget < 1)
      fail(where, ": ", key, ": '", digits, "' is not a number of tokens");
    const auto estimate = [&](const std::string& name) {
      return Estimate{number_at(row, name.c_str(), where),
                      number_at(row, (name + "_low").c_str(), where),
                      number_at(row, (name + "_high").c_str(), where)};
    };
    out[budget] = {budget, estimate(stem + "/accuracy"), estimate(stem + "/mean_length")};
  }
  std::vector<BudgetPoint> points;
  for (const auto& [budget, point] : out) points.push_back(point);
  return points;
}

Checkpoint read_checkpoint(const Json& row, int64_t step, const std::string& where) {
  const auto number = [&](const char* key) { return number_at(row, key, where); };
  const auto count = [&](const char* key) {
    return row.contains(key) ? count_at(row, key, where) : 0;
  };
  Checkpoint out;
  out.step = step;
  out.accuracy = {number("eval/accuracy"), number("eval/accuracy_low"),
                  number("eval/accuracy_high")};
  out.mean_length = {number("eval/mean_length"), number("eval/mean_length_low"),
                     number("eval/mean_length_high")};
  out.right_length = number("eval/length/correct/mean");
  out.wrong_length = number("eval/length/wrong/mean");
  if (out.accuracy.value < 0 || out.accuracy.value > 1)
    fail(where, ": eval/accuracy: ", out.accuracy.value, " is no share of 1");
  if (out.mean_length.value < 0)
    fail(where, ": eval/mean_length: ", out.mean_length.value, " is below 0");
  out.num_prompts = count("eval/num_prompts");
  out.num_answers = count("eval/num_samples");
  out.time_s = number("time/eval");
  out.budgets = read_budgets(row, where);
  return out;
}

void read_metrics(const fs::path& path, Run& run, std::vector<std::string>& notes) {
  std::map<int64_t, TrainRow> train;  // of a step that stands twice the last row counts
  std::map<int64_t, Checkpoint> checkpoints;
  std::map<std::string, int64_t> unknown;
  const bool whole = for_each_row(path, [&](const Json& row, const std::string& where) {
    const int64_t step = count_at(row, "step", where);
    const std::string phase = text_at(row, "phase", where);
    if (phase == "rl") {
      TrainRow& out = train[step] = {};
      out.step = step;
      for (const TrainKey& key : kTrainKeys) out.*key.field = number_at(row, key.name, where);
    } else if (phase == "eval") {
      checkpoints[step] = read_checkpoint(row, step, where);
    } else if (phase == "sft") {
      ++run.num_sft_steps;
    } else {
      ++unknown[phase];
    }
  });
  for (const auto& [step, row] : train) run.train.push_back(row);
  for (const auto& [step, row] : checkpoints) run.checkpoints.push_back(row);
  if (!whole)
    notes.push_back(cat(run.name, ": the last line of metrics.jsonl is torn, as a crash leaves it;",
                        " it is left out"));
  for (const auto& [phase, count] : unknown)
    notes.push_back(cat(run.name, ": ", count, " rows of the unknown phase '", phase,
                        "' in metrics.jsonl are left out"));
}

void note_unmeasured(const Answers& answers, const std::string& run_name,
                     std::vector<std::string>& notes) {
  if (answers.num_unmeasured > 0)
    notes.push_back(cat(run_name, ": ", answers.num_unmeasured, " responses of ", answers.source,
                        " ended by a deadline or an abort and are left out"));
}

Answers read_evaluation(const fs::path& path, int64_t step, const std::string& run_name,
                        std::vector<std::string>& notes) {
  Answers out;
  out.source = cat("eval/", path.filename().string());
  out.step = step;
  const bool whole = for_each_row(path, [&](const Json& row, const std::string& where) {
    const std::string reason = text_at(row, "finish_reason", where);
    if (reason == "deadline" || reason == "aborted") {
      ++out.num_unmeasured;
      return;
    }
    if (reason != "stop" && reason != "length")
      fail(where, ": finish_reason: is '", reason, "', not stop, length, deadline or aborted");
    JudgedAnswer answer;
    answer.group = count_at(row, "group", where);
    if (const auto problem = row.find("problem"); problem != row.end())
      out.problems[answer.group] = dump_json(*problem);
    answer.num_tokens = count_at(row, "num_tokens", where);
    if (const auto correct = row.find("correct"); correct != row.end() && !correct->is_null()) {
      if (!correct->is_boolean()) fail(where, ": correct: is not true, false or null");
      answer.correct = correct->get<bool>();
    }
    if (const double value = number_at(row, "difficulty", where); !std::isnan(value))
      answer.difficulty = value;
    answer.clipped = reason == "length";
    if (answer.clipped) ++out.num_clipped;
    out.rows.push_back(answer);
  });
  if (!whole)
    notes.push_back(cat(run_name, ": the last line of ", out.source, " is torn; it is left out"));
  note_unmeasured(out, run_name, notes);
  return out;
}

// By the index beside the file, where there is one: texts of long reasoning are large.
Answers read_indexed(const fs::path& path, int64_t step, const std::string& run_name,
                     std::vector<std::string>& notes) {
  const fs::path index = path.parent_path() / cat("step_", step, ".idx");
  if (!fs::exists(index)) return read_evaluation(path, step, run_name, notes);
  Answers out = read_index(index, cat("eval/", index.filename().string()), step);
  note_unmeasured(out, run_name, notes);
  return out;
}

// ---- estimates of one evaluation ---------------------------------------------------------------

// Fills what the row in metrics.jsonl left open, and notes where the two do not agree.
void complete(Checkpoint& checkpoint, const Answers& answers, const std::string& run_name,
              const Bootstrap& bootstrap, std::vector<std::string>& notes) {
  std::map<int64_t, std::vector<Tally>> groups;  // correct, length, right length, wrong length
  for (const JudgedAnswer& answer : answers.rows) {
    auto& tally = groups.try_emplace(answer.group, 4).first->second;
    const auto add = [&](size_t column, double value) {
      tally[column].sum += value;
      tally[column].count += 1;
    };
    const auto length = static_cast<double>(answer.num_tokens);
    add(1, length);
    if (!answer.correct) continue;
    add(0, *answer.correct ? 1 : 0);
    add(*answer.correct ? 2 : 3, length);
  }
  std::vector<std::vector<Tally>> prompts;
  for (auto& [group, tally] : groups) prompts.push_back(std::move(tally));
  if (prompts.empty()) return;
  // Draws are only for intervals that the run did not state.
  const bool has_intervals =
      !std::isnan(checkpoint.accuracy.high) && !std::isnan(checkpoint.mean_length.high);
  const std::vector<Estimate> means =
      bootstrap_means(prompts, has_intervals ? Bootstrap{.draws = 0} : bootstrap);
  const auto n = static_cast<double>(answers.rows.size());
  checkpoint.clipped_ratio = static_cast<double>(answers.num_clipped) / n;
  const auto settle = [&](Estimate& stated, const Estimate& found, double tolerance,
                          const char* what) {
    if (answers.num_unmeasured == 0 && std::abs(stated.value - found.value) > tolerance)
      notes.push_back(cat(run_name, ": metrics.jsonl states ", what, " ", fixed(stated.value, 4),
                          " at step ", checkpoint.step, ", its responses give ",
                          fixed(found.value, 4), "; the stated number is shown"));
    if (std::isnan(stated.value) || std::isnan(stated.low) || std::isnan(stated.high))
      stated = std::isnan(stated.value) ? found : Estimate{stated.value, found.low, found.high};
  };
  settle(checkpoint.accuracy, means[0], 1e-4, "accuracy");
  settle(checkpoint.mean_length, means[1], 1e-3 * means[1].value + 1e-4, "mean length");
  if (std::isnan(checkpoint.right_length)) checkpoint.right_length = means[2].value;
  if (std::isnan(checkpoint.wrong_length)) checkpoint.wrong_length = means[3].value;
  checkpoint.num_prompts = static_cast<int64_t>(prompts.size());
  checkpoint.num_answers = static_cast<int64_t>(answers.rows.size());
}

// Fills the evaluations from their responses, prompt by prompt; of the first and the last the
// responses are kept.
void read_evaluations(const fs::path& folder, Run& run, const Bootstrap& bootstrap,
                      std::vector<std::string>& notes) {
  constexpr std::array<std::string_view, 2> kSuffixes = {".jsonl", ".jsonl.zst"};
  const std::map<int64_t, fs::path> files = step_files(folder / "eval", kSuffixes);
  std::map<int64_t, Checkpoint> checkpoints;
  for (const Checkpoint& checkpoint : run.checkpoints) checkpoints[checkpoint.step] = checkpoint;
  for (const auto& [step, path] : files) {
    Checkpoint& checkpoint = checkpoints[step];
    checkpoint.step = step;
    const bool is_first = step == files.begin()->first, is_last = step == files.rbegin()->first;
    Answers answers = is_first || is_last ? read_evaluation(path, step, run.name, notes)
                                          : read_indexed(path, step, run.name, notes);
    complete(checkpoint, answers, run.name, bootstrap, notes);
    if (!answers.rows.empty()) run.evaluations.push_back({step, tally_prompts(answers.rows)});
    if (is_last) run.last = answers;
    if (is_first) run.first = std::move(answers);
  }
  for (const auto& [step, checkpoint] : checkpoints)
    if (!files.empty() && !files.contains(step))
      notes.push_back(cat(run.name, ": metrics.jsonl has an evaluation at step ", step,
                          " whose responses are not there (eval/step_", step,
                          ".jsonl); area and difficulty go without it"));
  if (run.first.problems != run.last.problems) {
    run.evaluations.clear();
    notes.push_back(cat(run.name, ": the first and the last evaluation asked other prompts; area ",
                        "and difficulty, which follow prompts, are not shown"));
  }
  run.checkpoints.clear();
  for (const auto& [step, checkpoint] : checkpoints)
    if (!std::isnan(checkpoint.accuracy.value) || !std::isnan(checkpoint.mean_length.value))
      run.checkpoints.push_back(checkpoint);
}

// What the stored rollouts show; a note where they cannot be read.
void read_stored(const fs::path& folder, Run& run, std::vector<std::string>& notes) {
  const StoredRollouts stored(folder);
  run.stored_steps = stored.steps();
  run.pushes_obstacle = stored.obstacle();
  if (stored.steps().empty()) return;
  const int64_t last = stored.steps().back();
  try {
    run.samples = stored.groups(last, 0, kShownGroups);
    run.lengths = stored.lengths(last, kMaxLengthGroups);
  } catch (const UsageError& problem) {
    run.samples = run.lengths = nullptr;
    run.stored_steps.clear();
    notes.push_back(cat(run.name, ": its stored rollouts are not shown: ", problem.what()));
    return;
  }
  if (!run.pushes_obstacle.empty()) return;
  try {
    for (const int64_t step : stored.evenly(kPushSteps)) run.pushes.push_back(stored.pushes(step));
  } catch (const UsageError& problem) {
    run.pushes.clear();
    run.pushes_obstacle = problem.what();
  }
}

void read_rollouts_of(const fs::path& folder, Run& run, const ReportSettings& settings,
                      std::vector<std::string>& notes) {
  run.sampled = read_sampled(folder, kMaxDrawnSteps, settings);
  if (run.sampled.num_unmeasured > 0)
    notes.push_back(cat(run.name, ": ", run.sampled.num_unmeasured,
                        " responses sampled in training ended by a deadline or an abort and are "
                        "left out"));
  read_stored(folder, run, notes);
  if (run.first.step >= 0) return;  // there are evaluations
  run.first = run.sampled.first;
  run.last = run.sampled.last;
}

}  // namespace

Run read_run(const std::string& path, std::string name, const ReportSettings& settings,
             std::vector<std::string>& notes) {
  Run run;
  run.name = std::move(name);
  run.path = path;
  const fs::path folder(path);
  if (fs::is_regular_file(folder / "config.toml")) run.config = read_file(folder / "config.toml");
  read_metrics(folder / "metrics.jsonl", run, notes);
  read_evaluations(folder, run, settings.bootstrap, notes);
  read_rollouts_of(folder, run, settings, notes);
  if (run.checkpoints.empty())
    notes.push_back(cat(run.name, ": has no evaluation; only its training is shown"));
  else if (run.checkpoints.front().step != 0)
    notes.push_back(cat(run.name, ": the start policy was not evaluated; 'start' is step ",
                        run.checkpoints.front().step));
  return run;
}

double Checkpoint::tokens_per_correct() const {
  return accuracy.value > 0 ? mean_length.value / accuracy.value : kUndefined;
}

double Run::wall_s() const {
  double sum = kUndefined;
  for (const TrainRow& row : train)
    if (!std::isnan(row.time_s)) sum = (std::isnan(sum) ? 0 : sum) + row.time_s;
  return sum;
}

double Run::saved_s() const {
  double sum = kUndefined, at_first = kUndefined;
  for (const TrainRow& row : train) {
    if (std::isnan(row.rollout_s) || !(row.mean_length > 0)) continue;
    if (std::isnan(at_first)) at_first = row.mean_length;
    sum = (std::isnan(sum) ? 0 : sum) + row.rollout_s * (at_first / row.mean_length - 1);
  }
  return sum;
}

int64_t Run::num_steps() const { return static_cast<int64_t>(train.size()); }

std::pair<Checkpoint, Checkpoint> Run::ends() const {
  if (checkpoints.empty()) return {};
  return {checkpoints.front(), checkpoints.back()};
}

double Run::clipped_ratio() const {
  if (!checkpoints.empty() && !std::isnan(checkpoints.back().clipped_ratio))
    return checkpoints.back().clipped_ratio;
  return train.empty() ? kUndefined : train.back().clipped_ratio;
}

}  // namespace vernier
