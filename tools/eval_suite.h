// Several data sets in one evaluation, as papers report them: a file names them with their
// sampling.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/base/config.h"
#include "core/base/json.h"
#include "core/kernels/sample.h"
#include "core/metrics/paired.h"
#include "trainer/evaluate.h"

namespace vernier {

/// [sampling] and [[dataset]] of a suite.
struct Suite {
  struct Dataset {
    std::string name, path;  // the path under the folder of the data
    std::string verify, prompt_field, answer_field;
  };
  std::string prompt_template = "{prompt}";
  int64_t n = 1, max_completion_length = 0;
  SamplingParams sampling;
  std::vector<Dataset> datasets;

  /// Throws UsageError with every mistake of the file, and where a data set's file is not in
  /// `data_folder`, naming all that are missing.
  static Suite load(const std::string& path, const std::string& data_folder);

 private:
  void bind(Binder& root);
};

/// What an earlier evaluation of the suite found: accuracy and length of each of its rows.
class SuiteReference {
 public:
  SuiteReference() = default;
  /// What `eval --suite --json` printed for another model; none of an empty path. Throws UsageError
  /// where it lacks a row of the suite.
  static SuiteReference load(const std::string& path, const Suite& suite);

  bool none() const { return rows_.empty(); }
  double aes(const std::string& name, const Evaluation& evaluation,
             const AesFactors& factors) const;

 private:
  std::map<std::string, std::pair<double, double>> rows_;
};

/// One row of a suite's table.
struct SuiteRow {
  std::string name;  // "mean" for the last row, over the data sets
  Evaluation evaluation;
  std::optional<double> aes;
};

/// Adds the row of means over data sets, each as much as the others (no interval: they are no
/// sample), and AES against the rows of the same names in `reference`.
std::vector<SuiteRow> finish_suite(std::vector<SuiteRow> rows, const SuiteReference& reference,
                                   const AesFactors& factors);

Json suite_json(const std::vector<SuiteRow>& rows);

/// A table of accuracy, tokens and AES; `format` is text, markdown or latex.
std::string suite_table(const std::vector<SuiteRow>& rows, const std::string& format);

}  // namespace vernier
