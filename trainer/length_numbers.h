// What the responses of an evaluation say of length beside its mean: docs/lengths.md has each
// number with its formula and source.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/base/json.h"
#include "core/metrics/metrics.h"
#include "core/metrics/selection.h"
#include "core/metrics/statistics.h"
#include "core/types.h"
#include "rewards/length_table.h"

namespace vernier {

/// A number with its 95 % interval: bootstrap over prompts, over problems where it is of rounds.
struct LengthNumber {
  std::string name;
  Estimate value;
  int64_t count = 0;  // what it is a share or mean of: responses, or tokens where it is of tokens
};

/// Names, units and meanings of all of them; `<x>` in a name stands for what the data call it.
const std::vector<MetricDoc>& length_number_docs();

/// For numbers whose paper was not read in full: where its definition is from.
std::vector<std::string> definition_notes(std::span<const LengthNumber> numbers);

/// Takes the judged groups of an evaluation in any order and keeps a few numbers of each. Responses
/// that the policy did not end are left out.
class LengthNumbers {
 public:
  /// `after`: a reader sees only what follows the last of these in a text; "</think>". `table`: of
  /// the lengths that rows ask for.
  explicit LengthNumbers(std::string after,
                         std::shared_ptr<const LengthTable> table = LengthTable::read("ruler"))
      : after_(std::move(after)), table_(std::move(table)) {}

  /// `candidates`: judge_group()'s.
  void add(const Group& group, std::span<const Candidate> candidates);

  /// Columns that are not what a number needs, so that their rows are not in it.
  const std::vector<std::string>& notes() const { return notes_; }

  /// Those that the data say anything about, in the order of their docs.
  std::vector<LengthNumber> numbers(const Bootstrap& bootstrap) const;

 private:
  struct OfPrompt {
    std::pair<int64_t, int64_t> place;  // step and group
    std::string problem, task, tier;
    std::optional<int64_t> round;
    std::vector<std::pair<size_t, Tally>> sums;   // by number of name
    std::vector<std::pair<double, bool>> excess;  // characters over the minimal answer, verdict
    std::map<int64_t, bool> verdicts;             // by sample, of those that have one
  };

  void tally(OfPrompt& prompt, const std::string& name, double sum, double count = 1);
  void add_visible(OfPrompt& prompt, const Json& row, std::optional<double> minimal,
                   const Response& response);
  void add_thinking(OfPrompt& prompt, const Response& response);
  void add_overthinking(OfPrompt& prompt, const Prompt& asked, const Response& response);
  void add_requested(OfPrompt& prompt, const Group& group, const Response& response);
  std::string visible(const Response& response) const;
  std::optional<double> minimal_answer(const Prompt& prompt, const Json& row);
  Json usable(const Json& column, const char* name, const char* wanted, bool fits);

  std::string after_;
  std::shared_ptr<const LengthTable> table_;
  std::vector<std::string> names_;  // of the means
  std::vector<OfPrompt> prompts_;
  std::set<std::string> unusable_;  // columns
  std::vector<std::string> notes_;
};

}  // namespace vernier
