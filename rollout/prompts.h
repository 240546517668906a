// Where prompts come from: task families and files of rows.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/base/config.h"
#include "core/text/chat_format.h"
#include "core/text/tokenizer.h"
#include "core/types.h"
#include "rollout/length_request.h"
#include "rollout/mixture.h"
#include "rollout/prompt_source.h"
#include "rollout/tasks/task.h"

namespace vernier {

/// Where prompts are from: files, or a task family.
struct DataSource {
  std::string name;         // of [[data.source]]
  std::string train, eval;  // paths of files (row_file.h)
  std::string task;         // or a task family
  std::unique_ptr<Task> family;
  double weight = 1;
  // Rows of a file whose difficulty lies in [first, second]; empty: all.
  std::vector<double> train_difficulty, eval_difficulty;
  std::string difficulty_unit = "value";  // or "share" of the rows, by difficulty

  /// The keys that [data] and an entry of [[data.source]] share, and behind them the table of the
  /// task family.
  void bind_source(Binder& config);
  void bind_family(Binder& config);
};

/// [data]: what a run trains and is evaluated on.
struct DataConfig : DataSource {
  std::vector<DataSource> sources;  // in place of one
  CurriculumConfig curriculum;
  std::string prompt_template = "{prompt}";
  std::string prompt_field, answer_field;  // columns, "" for the known names
  std::string answer_from = "column";      // what of the column is the answer
  std::string verify = "exact";            // rule for rows that name none
  int64_t instruction_examples = 0;
  std::string on_bad_row = "error";
  bool shuffle = true;
  int64_t eval_prompts = 400, eval_seed = 1234;
  LengthRequest length_request;

  void bind(Binder& config);

  /// Whether there is something to train on, or to be evaluated on.
  bool has_training() const;
  bool has_evaluation() const;

  /// Of the warm start: whether there are demonstrations, the difficulties that they have, and
  /// number `index`, of a source that is drawn by weight; `hardest` as in Task.
  bool has_demonstrations() const;
  Tier demonstrated() const;
  Demonstration demonstrate(uint64_t seed, int64_t index, int64_t hardest) const;

 private:
  void bind_sources(Binder& config);
  // Those with demonstrations; [data] itself where there is no [[data.source]].
  std::vector<const DataSource*> demonstrators() const;
};

/// Looks at a prompt before the run begins; throws UsageError, opened by `where`, to refuse it.
using PromptCheck = std::function<void(Prompt&& prompt, const std::string& where)>;

/// Training prompts in shuffled epochs, or evaluation prompts in order (fixed by eval_seed, the
/// same for every run). Throws UsageError where the configuration names neither file nor task.
/// `check` sees every row of a file, where on_bad_row decides what becomes of a refusal, and the
/// first prompts of a task.
std::unique_ptr<PromptSource> training_prompts(const DataConfig& config, uint64_t seed,
                                               const PromptCheck& check = {});
std::unique_ptr<PromptSource> evaluation_prompts(const DataConfig& config,
                                                 const PromptCheck& check = {});

/// The rows of a file, in order. Reads the file once to find and check them, then a row at a time;
/// memory is 16 bytes a row.
std::unique_ptr<PromptSource> file_prompts(const std::string& path, const DataConfig& config,
                                           bool shuffle, uint64_t seed,
                                           const PromptCheck& check = {});

/// Of the rows, those whose difficulty lies in [first, second] of `range`: of values, or of shares
/// of all rows by difficulty ([0, 0.3]: the easiest 30 %).
struct DifficultyRange {
  std::vector<double> range;  // empty: all
  std::string unit = "value";
};
std::unique_ptr<PromptSource> file_prompts(const std::string& path, const DataConfig& config,
                                           const DifficultyRange& difficulty, bool shuffle,
                                           uint64_t seed, const PromptCheck& check = {});

/// Fills in text (length request, template, chat format) and token ids. The rows' chat lists are
/// rendered as they are; plain text becomes the user's turn of `chat_format`, which
/// choose_chat_format() gave. A format writes its begin token itself; without one ("none") the
/// tokenizer's own goes first, as the model was trained.
void render_prompt(Prompt& prompt, const DataConfig& config, const ChatFormat& chat_format,
                   const Tokenizer& tokenizer);

}  // namespace vernier
