#include "tools/eval_suite.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "core/base/errors.h"
#include "core/base/files.h"
#include "core/base/text.h"
#include "rewards/verify/rules.h"

namespace vernier {
namespace {

constexpr const char* kMean = "mean";

std::string with_interval(const Estimate& estimate, int digits, double scale,
                          const std::string& dash) {
  if (!std::isfinite(estimate.value)) return "";
  std::string out = fixed(scale * estimate.value, digits);
  if (std::isfinite(estimate.low) && std::isfinite(estimate.high))
    out += cat(" [", fixed(scale * estimate.low, digits), dash,
               fixed(scale * estimate.high, digits), "]");
  return out;
}

// What LaTeX would take for its own.
std::string latex_text(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (std::string_view("&%$#_{}").find(c) != std::string_view::npos) out += '\\';
    if (c == '\\')
      out += "\\textbackslash{}";
    else if (c == '~' || c == '^')
      out += cat('\\', c, "{}");
    else
      out += c;
  }
  return out;
}

using Cells = std::vector<std::string>;

std::vector<Cells> cells_of(const std::vector<SuiteRow>& rows, const std::string& dash) {
  const bool has_aes =
      std::ranges::any_of(rows, [](const SuiteRow& row) { return row.aes.has_value(); });
  std::vector<Cells> out = {{"data set", "prompts", "samples", "accuracy [%]", "length [tokens]"}};
  if (has_aes) out.front().emplace_back("AES");
  for (const SuiteRow& row : rows) {
    const Evaluation& e = row.evaluation;
    Cells& cells = out.emplace_back();
    cells = {row.name, cat(e.num_prompts), cat(e.num_samples),
             with_interval(e.accuracy, 1, 100, dash), with_interval(e.mean_length, 1, 1, dash)};
    if (has_aes)
      cells.push_back(row.aes && std::isfinite(*row.aes) ? fixed(*row.aes, 3) : std::string());
  }
  return out;
}

std::string text_table(const std::vector<Cells>& rows) {
  std::vector<size_t> widths(rows.front().size(), 0);
  for (const Cells& row : rows)
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  std::string out;
  for (const Cells& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string space(widths[i] - row[i].size(), ' ');
      out += cat(i > 0 ? "  " : "", i == 0 ? row[i] + space : space + row[i]);
    }
    out += "\n";
  }
  return out;
}

std::string markdown_table(const std::vector<Cells>& rows) {
  std::string out;
  for (size_t r = 0; r < rows.size(); ++r) {
    for (const std::string& cell : rows[r]) {
      std::string safe;
      for (const char c : cell) safe += c == '|' ? std::string("\\|") : std::string(1, c);
      out += "| " + safe + " ";
    }
    out += "|\n";
    if (r > 0) continue;
    for (size_t i = 0; i < rows[r].size(); ++i) out += i == 0 ? "|---" : "|---:";
    out += "|\n";
  }
  return out;
}

std::string latex_table(const std::vector<Cells>& rows) {
  std::string out =
      cat("\\begin{tabular}{l", std::string(rows.front().size() - 1, 'r'), "}\n\\hline\n");
  for (size_t r = 0; r < rows.size(); ++r) {
    std::string line;
    for (size_t i = 0; i < rows[r].size(); ++i)
      line += cat(i > 0 ? " & " : "", latex_text(rows[r][i]));
    const bool before_mean = r + 2 == rows.size() && rows.back().front() == kMean;
    out += cat(line, " \\\\\n", r == 0 || before_mean ? "\\hline\n" : "");
  }
  return out + "\\hline\n\\end{tabular}\n";
}

}  // namespace

void Suite::bind(Binder& root) {
  root.table("sampling", [&](Binder& b) {
    b.number("n", n, 1, 4096, "responses a prompt");
    b.number("max_completion_length", max_completion_length, 1, 1 << 24, "tokens of a response");
    if (!b.has("max_completion_length")) b.error("max_completion_length", "is needed");
    b.number("temperature", sampling.temperature, 0.0, 100.0, "0: always the most probable token");
    b.number("top_p", sampling.top_p, 1e-6, 1.0, "1: all tokens");
    b.number("top_k", sampling.top_k, 0, 1 << 24, "0: all tokens");
    b.number("min_p", sampling.min_p, 0.0, 1.0, "0: all tokens");
    b.text("prompt_template", prompt_template, "wraps a plain prompt; {prompt} stands for it");
  });
  std::set<std::string> names;
  root.tables("dataset", [&](Binder& b) {
    Dataset& one = datasets.emplace_back();
    b.text("name", one.name, "in the table");
    b.text("path", one.path, "prompts, in the folder of the data: JSON Lines, Parquet or JSON");
    b.choice("verify", one.verify, verify_rules(), "rule of correctness");
    b.text("prompt_field", one.prompt_field, "column of the prompt; empty: the known names");
    b.text("answer_field", one.answer_field, "column of the answer; empty: the known names");
    for (const auto& [key, value] :
         {std::pair("name", &one.name), {"path", &one.path}, {"verify", &one.verify}})
      if (value->empty()) b.error(key, "is needed");
    if (one.name == "-" || one.name.starts_with('.') || one.name.find('/') != std::string::npos)
      b.error("name", cat("'", one.name, "' is no name of a file, which --out gives it"));
    else if (one.name == kMean || !names.insert(one.name).second)
      b.error("name", cat("'", one.name, "' is another row's"));
  });
  if (datasets.empty()) root.error("dataset", "is needed: [[dataset]] with name, path and verify");
}

Suite Suite::load(const std::string& path, const std::string& data_folder) {
  Suite suite;
  ConfigFile file = ConfigFile::load(path);
  file.bind([&](Binder& root) { suite.bind(root); });
  std::string missing;
  for (Dataset& one : suite.datasets) {
    const fs::path full = fs::path(data_folder) / one.path;
    if (!fs::exists(full))
      missing += cat(missing.empty() ? "" : "\n", one.name, ": ", full.string(),
                     " is not there; a file of rows with a prompt and an answer is wanted");
    one.path = full.string();
  }
  if (!missing.empty()) fail(missing);
  return suite;
}

SuiteReference SuiteReference::load(const std::string& path, const Suite& suite) {
  SuiteReference out;
  if (path.empty()) return out;
  const Json file = parse_json(read_file(path), path);
  const auto refuse = [&](const std::string& name) {
    fail("--reference: ", path, ": has no accuracy and mean_length of ", name,
         "; it is what eval --suite --json printed for another model");
  };
  if (file.is_object() && file.contains("datasets") && file["datasets"].is_array())
    for (const Json& row : file["datasets"])
      if (row.is_object() && row.value("name", Json()).is_string() &&
          row.value("accuracy", Json()).is_number() && row.value("mean_length", Json()).is_number())
        out.rows_[row["name"].get<std::string>()] = {row["accuracy"].get<double>(),
                                                     row["mean_length"].get<double>()};
  for (const Suite::Dataset& dataset : suite.datasets)
    if (!out.rows_.contains(dataset.name)) refuse(dataset.name);
  if (suite.datasets.size() > 1 && !out.rows_.contains(kMean)) refuse(kMean);
  return out;
}

double SuiteReference::aes(const std::string& name, const Evaluation& evaluation,
                           const AesFactors& factors) const {
  const auto& [accuracy, length] = rows_.at(name);
  return accuracy_efficiency_score(evaluation.accuracy.value, evaluation.mean_length.value,
                                   accuracy, length, factors);
}

std::vector<SuiteRow> finish_suite(std::vector<SuiteRow> rows, const SuiteReference& reference,
                                   const AesFactors& factors) {
  SuiteRow mean{kMean, {}, {}};
  for (double* number :
       {&mean.evaluation.pass_at_n, &mean.evaluation.majority_at_n, &mean.evaluation.clipped})
    *number = kUndefined;
  double accuracy = 0, length = 0;
  for (const SuiteRow& row : rows) {
    accuracy += row.evaluation.accuracy.value;
    length += row.evaluation.mean_length.value;
    mean.evaluation.num_prompts += row.evaluation.num_prompts;
    mean.evaluation.num_samples += row.evaluation.num_samples;
  }
  mean.evaluation.accuracy.value = accuracy / static_cast<double>(rows.size());
  mean.evaluation.mean_length.value = length / static_cast<double>(rows.size());
  if (rows.size() > 1) rows.push_back(mean);
  if (reference.none()) return rows;
  for (SuiteRow& row : rows) row.aes = reference.aes(row.name, row.evaluation, factors);
  return rows;
}

Json suite_json(const std::vector<SuiteRow>& rows) {
  Json out = {{"bootstrap", bootstrap_json({})}, {"datasets", Json::array()}};
  for (const SuiteRow& row : rows) {
    Json one = {{"name", row.name}};
    one.update(evaluation_json(row.evaluation));
    if (row.aes) one["aes"] = json_number(*row.aes);
    out["datasets"].push_back(one);
  }
  return out;
}

std::string suite_table(const std::vector<SuiteRow>& rows, const std::string& format) {
  const std::vector<Cells> cells = cells_of(rows, format == "latex" ? "--" : "–");
  if (format == "markdown") return markdown_table(cells);
  return format == "latex" ? latex_table(cells) : text_table(cells_of(rows, "-"));
}

}  // namespace vernier
