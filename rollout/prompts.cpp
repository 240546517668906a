#include "rollout/prompts.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "core/base/errors.h"
#include "core/base/files.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/rng.h"
#include "rewards/verify/judge.h"
#include "rollout/rows.h"

namespace vernier {
namespace {

constexpr uint64_t kEvaluationStream = 0x65766C;  // keeps evaluation prompts apart from training's

class TaskPrompts final : public PromptSource {
 public:
  TaskPrompts(const Task& task, const std::string& name, uint64_t seed, Split split, int64_t size,
              const PromptCheck& check)
      : task_(task), seed_(seed), split_(split), size_(size) {
    constexpr int64_t kChecked = 256;
    if (check)
      for (Prompt& prompt : take(0, size == 0 ? kChecked : std::min(size, kChecked)))
        check(std::move(prompt), cat("data.task = \"", name, "\""));
  }

  std::vector<Prompt> take(int64_t first, int64_t count) const override {
    std::vector<Prompt> out;
    for (int64_t i = first; i < first + count; ++i) out.push_back(task_.prompt({seed_, i, split_}));
    return out;
  }
  int64_t size() const override { return size_; }

 private:
  Task task_;
  uint64_t seed_;
  Split split_;
  int64_t size_;
};

std::string text_of(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  return dump_json(value);
}

// The first of `names` that the row has; a dotted name looks inside. Null where there is none.
const Json* find_field(const Json& row, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    const Json* at = &row;
    for (size_t begin = 0; at != nullptr && begin <= name.size();) {
      const size_t dot = std::min(name.find('.', begin), name.size());
      const std::string part = name.substr(begin, dot - begin);
      at = at->is_object() && at->contains(part) ? &(*at)[part] : nullptr;
      begin = dot + 1;
    }
    if (at != nullptr && !at->is_null()) return at;
  }
  return nullptr;
}

std::vector<ChatMessage> messages_of(const std::string& text, const std::string& where) {
  const Json list = parse_json(text, where);
  std::vector<ChatMessage> messages;
  for (const Json& entry : list) {
    if (!entry.is_object() || !entry.contains("role") || !entry.contains("content") ||
        !entry["role"].is_string() || !entry["content"].is_string())
      fail(where, ": a message is {\"role\": text, \"content\": text}, not ",
           dump_json(entry).substr(0, 60));
    messages.push_back({entry["role"].get<std::string>(), entry["content"].get<std::string>()});
  }
  if (messages.empty()) fail(where, ": the list of messages is empty");
  return messages;
}

// `place`: the row's in its file, which is its id where it names none.
Prompt prompt_from_row(const Json& row, const DataConfig& config, int64_t index, int64_t place,
                       const std::string& where) {
  if (!row.is_object()) fail(where, ": a row is a JSON object, not ", dump_json(row).substr(0, 40));
  const auto names = [](const std::string& chosen, std::vector<std::string> known) {
    return chosen.empty() ? known : std::vector<std::string>{chosen};
  };
  const std::vector<std::string> prompt_names =
      names(config.prompt_field, {"prompt", "question", "problem", "input"});
  const Json* text = find_field(row, prompt_names);
  if (text == nullptr) fail(where, ": has none of ", join(prompt_names));
  if (!text->is_string() && !text->is_array())
    fail(where, ": prompt is neither a text nor a list of messages");
  Prompt prompt;
  prompt.index = index;
  prompt.text = text_of(*text);
  prompt.is_chat = text->is_array();
  if (prompt.is_chat) messages_of(prompt.text, where);
  prompt.row = dump_json(row);
  if (const Json* id = find_field(row, {"id"}))
    prompt.id = text_of(*id);
  else
    prompt.id = cat(place);
  if (const Json* answer =
          find_field(row, names(config.answer_field, {"answer", "label", "solution", "ground_truth",
                                                      "reward_model.ground_truth"}))) {
    prompt.answer = text_of(*answer);
    prompt.verify = config.verify;
  } else if (!config.answer_field.empty()) {
    fail(where, ": has no '", config.answer_field, "', which data.answer_field names");
  } else if (!needs_answer(config.verify)) {
    prompt.verify = config.verify;
  }
  if (const Json* rule = find_field(row, {"verify"})) {
    prompt.verify = text_of(*rule);
    const auto& known = verify_rules();
    if (std::find(known.begin(), known.end(), prompt.verify) == known.end())
      fail(where, ": verify: ", prompt.verify, " is not one of ", join(known),
           suggestion(prompt.verify, known));
  }
  if (has_rule(prompt))
    placed(where + ": answer", [&] { return verify(prompt.verify, "", prompt.answer); });
  if (const Json* source = find_field(row, {"data_source", "task"})) prompt.task = text_of(*source);
  if (const Json* difficulty = find_field(row, {"difficulty", "metadata.difficulty"})) {
    if (!difficulty->is_number())
      fail(where, ": difficulty: ", dump_json(*difficulty).substr(0, 60), " is not a number");
    prompt.difficulty = difficulty->get<double>();
  }
  if (const Json* limit = find_field(row, {"max_completion_length"})) {
    constexpr int64_t kMost = 1 << 24;
    if (!limit->is_number_integer() || *limit < 1 || *limit > kMost)
      fail(where, ": max_completion_length: ", dump_json(*limit).substr(0, 60),
           " is not an integer of 1 to ", kMost);
    prompt.max_completion_length = limit->get<int64_t>();
  }
  keep_columns(row, prompt);
  return prompt;
}

class JsonlPrompts final : public PromptSource {
 public:
  JsonlPrompts(const std::string& path, const DataConfig& config, bool shuffle, uint64_t seed,
               const PromptCheck& check)
      : path_(path), shuffle_(shuffle), seed_(seed) {
    fields_.prompt_field = config.prompt_field;
    fields_.answer_field = config.answer_field;
    fields_.verify = config.verify;
    if (path.ends_with(".zst"))
      fail(path, ": prompts are read at random; unpack the archive first");
    if (fs::exists(path) && !fs::is_regular_file(path))
      fail(path,
           ": is not a file; prompts are read at random, so a pipe has to be written down first");
    std::ifstream file(path, std::ios::binary);
    if (!file) fail(path, ": cannot be opened: ", std::strerror(errno));
    std::string line;
    int64_t bad = 0, line_number = 0;
    for (int64_t offset = 0; std::getline(file, line);) {
      ++line_number;
      const int64_t begin = offset;
      offset += static_cast<int64_t>(line.size()) + 1;
      if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
      try {
        const std::string where = cat(path, ":", line_number);
        Prompt prompt =
            prompt_from_row(parse_json(line, where), fields_, 0, std::ssize(lines_), where);
        if (check) check(std::move(prompt), where);
        lines_.push_back({begin, line_number});
      } catch (const UsageError&) {
        if (config.on_bad_row == "error") throw;
        ++bad;
      }
    }
    if (bad > 0) log::warn(cat(path, ": ", bad, " rows left out (data.on_bad_row = \"skip\")"));
    if (lines_.empty()) fail(path, ": has no usable row");
  }

  std::vector<Prompt> take(int64_t first, int64_t count) const override {
    std::ifstream file(path_, std::ios::binary);
    std::vector<Prompt> out;
    std::string line;
    for (int64_t i = first; i < first + count; ++i) {
      const int64_t epoch = i / size(), place = i % size();
      const int64_t row =
          shuffle_ ? Permutation(seed_, static_cast<uint64_t>(epoch), size())(place) : place;
      file.clear();
      file.seekg(lines_[static_cast<size_t>(row)].offset);
      if (!std::getline(file, line)) fail_run(path_, ": changed while it was in use");
      const std::string where = cat(path_, ":", lines_[static_cast<size_t>(row)].number);
      // The place, not the row: a row that comes twice in a step is drawn with other numbers.
      out.push_back(prompt_from_row(parse_json(line, where), fields_, i, row, where));
    }
    return out;
  }
  int64_t size() const override { return static_cast<int64_t>(lines_.size()); }

 private:
  struct Line {
    int64_t offset, number;
  };
  std::string path_;
  DataConfig fields_;
  bool shuffle_;
  uint64_t seed_;
  std::vector<Line> lines_;
};

}  // namespace

void DataConfig::bind(Binder& config) {
  config.text("train", train, "JSONL file of training prompts");
  config.text("eval", eval, "JSONL file of evaluation prompts");
  std::vector<std::string> families = {""};
  for (const std::string& name : TaskRegistry::names()) families.push_back(name);
  config.choice("task", task, families, "task family, in place of files");
  config.text("prompt_template", prompt_template, "wraps a plain prompt; {prompt} stands for it");
  config.text("prompt_field", prompt_field,
              "column of the prompt; empty: prompt, question, problem or input");
  config.text("answer_field", answer_field,
              "column of the answer; empty: answer, label, solution, ground_truth or "
              "reward_model.ground_truth");
  config.choice("verify", verify, verify_rules(), "rule of correctness where a row names none");
  config.choice("on_bad_row", on_bad_row, {"error", "skip"}, "stop at a bad row, or leave it out");
  config.flag("shuffle", shuffle, "a new order of a file's rows every epoch");
  config.number("eval_prompts", eval_prompts, 1, 1000000, "prompts of an evaluation, at most");
  config.number("eval_seed", eval_seed, 0, int64_t{1} << 53, "fixes a task's evaluation prompts");
  for (const char* key : {"prompt_field", "answer_field", "verify", "on_bad_row", "shuffle"})
    config.only_if(key, task.empty(), "data.task");
  config.only_if("eval_seed", !task.empty(), "files: their rows come in order");
  config.table("length_request", [&](Binder& own) { length_request.bind(own); });
  if (prompt_template.find("{prompt}") == std::string::npos)
    config.error("prompt_template", "does not have {prompt} in it");
  if (!task.empty() && !(train.empty() && eval.empty()))
    config.error("task", "is set beside train or eval; choose one of them");
  for (const auto& [name, row] : TaskRegistry::all()) {
    if (name == task) config.table(name, [&](Binder& own) { family = row.make(own); });
  }
}

std::unique_ptr<PromptSource> jsonl_prompts(const std::string& path, const DataConfig& config,
                                            bool shuffle, uint64_t seed, const PromptCheck& check) {
  return std::make_unique<JsonlPrompts>(path, config, shuffle, seed, check);
}

std::unique_ptr<PromptSource> training_prompts(const DataConfig& config, uint64_t seed,
                                               const PromptCheck& check) {
  if (config.family != nullptr)
    return std::make_unique<TaskPrompts>(*config.family, config.task, seed, Split::train, 0, check);
  if (config.train.empty())
    fail("data: neither train nor task is set; there is nothing to train on");
  return jsonl_prompts(config.train, config, config.shuffle, seed, check);
}

std::unique_ptr<PromptSource> evaluation_prompts(const DataConfig& config,
                                                 const PromptCheck& check) {
  if (config.family != nullptr)
    return std::make_unique<TaskPrompts>(
        *config.family, config.task,
        static_cast<uint64_t>(config.eval_seed) ^ kEvaluationStream << 40, Split::test,
        config.eval_prompts, check);
  if (config.eval.empty())
    fail("data: neither eval nor task is set; there is nothing to evaluate on");
  return jsonl_prompts(config.eval, config, false, 0, check);
}

void render_prompt(Prompt& prompt, const DataConfig& config, const ChatFormat& chat_format,
                   const Tokenizer& tokenizer) {
  config.length_request.apply(prompt);
  const std::string opening = config.length_request.opening(prompt);
  std::vector<ChatMessage> messages;
  if (prompt.is_chat) {
    messages = messages_of(prompt.text, cat("prompt ", prompt.id));
  } else {
    std::string text = config.prompt_template;
    text.replace(text.find("{prompt}"), std::string_view("{prompt}").size(), prompt.text);
    messages.push_back({"user", text});
  }
  prompt.text = apply_chat_format(chat_format, messages, true) + opening;
  prompt.ids = placed(cat("prompt ", prompt.id), [&] { return tokenizer.encode(prompt.text); });
  if (prompt.ids.empty()) fail("prompt ", prompt.id, ": is empty");
  if (chat_format.name == "none") prompt.ids = tokenizer.add_prefix(std::move(prompt.ids));
}

}  // namespace vernier
