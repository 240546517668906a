// What an evaluation found at one token budget, summed up prompt by prompt.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/base/json.h"
#include "trainer/choices.h"
#include "trainer/evaluate.h"
#include "trainer/length_numbers.h"

namespace vernier {

/// How it is summed up.
struct TableOptions {
  std::vector<int64_t> ks = {};  // of choices among k; empty: powers of 2, and all of a prompt
  double bucket_tokens = 0;      // of the length-filtered vote; 0: by the spread of the lengths
  std::string after = {};        // a reader sees only what follows the last of these
  std::shared_ptr<const LengthTable> length_table = LengthTable::read("ruler");
};

struct EvalNumbers {
  std::optional<int64_t> budget;  // none: responses as they are stored
  Evaluation evaluation;
  std::vector<ChoiceOfK> choices;
  FilteredVote vote;
  std::vector<LengthNumber> lengths;
  std::vector<std::string> notes;
};

/// Keeps a few numbers of each prompt and none of its text.
class EvalTable {
 public:
  EvalTable(std::optional<int64_t> budget, TableOptions options)
      : budget_(budget),
        options_(std::move(options)),
        lengths_(options_.after, options_.length_table) {}

  std::optional<int64_t> budget() const { return budget_; }

  /// Takes a group that judge_group() has judged, in any order.
  void add(const Group& group, const std::vector<Candidate>& candidates);

  /// Throws UsageError where a k is above the responses of every prompt.
  EvalNumbers numbers() const;

 private:
  struct OfPrompt {
    std::pair<int64_t, int64_t> place;  // step and group
    PromptSummary summary;
    PromptCandidates candidates;
  };
  std::optional<int64_t> budget_;
  TableOptions options_;
  LengthNumbers lengths_;
  std::vector<OfPrompt> prompts_;
};

/// As a member of "budgets" of `vernier eval --json`.
Json eval_json(const EvalNumbers& numbers);

/// The tables of all budgets for people, with the choices and lengths of the last one. `forced`:
/// the same with the thinking ended at the budgets and answers of up to `answer_tokens`, or empty.
std::string eval_text(const std::vector<EvalNumbers>& budgets,
                      const std::vector<EvalNumbers>& forced, int64_t answer_tokens);

}  // namespace vernier
