// Where prompts come from: a task family or a JSON Lines file.
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
#include "rollout/tasks/task.h"

namespace vernier {

/// Which prompts next. A source has no hidden state: what it gives depends on the place alone, so a
/// resumed run asks for the same prompts.
class PromptSource {
 public:
  virtual ~PromptSource() = default;

  /// `count` prompts from place `first` on, in the order of training. Text without chat format.
  virtual std::vector<Prompt> take(int64_t first, int64_t count) const = 0;

  /// Prompts of one epoch; 0 where they never repeat.
  virtual int64_t size() const = 0;
};

/// [data]: what a run trains and is evaluated on.
struct DataConfig {
  std::string train, eval;  // JSONL paths
  std::string task;         // or a task family
  std::string prompt_template = "{prompt}";
  std::string prompt_field, answer_field;  // columns, "" for the known names
  std::string verify = "exact";            // rule for rows that name none
  std::string on_bad_row = "error";
  bool shuffle = true;
  int64_t eval_prompts = 400, eval_seed = 1234;
  LengthRequest length_request;
  std::unique_ptr<Task> family;

  void bind(Binder& config);
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

/// The rows of a JSONL file, in order. Reads the file once to find and check its lines, then a row
/// at a time; memory is 16 bytes a row.
std::unique_ptr<PromptSource> jsonl_prompts(const std::string& path, const DataConfig& config,
                                            bool shuffle, uint64_t seed,
                                            const PromptCheck& check = {});

/// Fills in text (length request, template, chat format) and token ids. The rows' chat lists are
/// rendered as they are; plain text becomes the user's turn of `chat_format`, which
/// choose_chat_format() gave. A format writes its begin token itself; without one ("none") the
/// tokenizer's own goes first, as the model was trained.
void render_prompt(Prompt& prompt, const DataConfig& config, const ChatFormat& chat_format,
                   const Tokenizer& tokenizer);

}  // namespace vernier
