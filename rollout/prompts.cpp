#include "rollout/prompts.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/base/errors.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/rng.h"
#include "rewards/verify/judge.h"
#include "rewards/verify/math/extract.h"
#include "rewards/verify/scan.h"
#include "rollout/row_file.h"
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

// A number, or what reasoning-gym writes: an object, which tells it where it has one number alone.
// Null where there is none.
const Json* find_difficulty(const Json& row) {
  const Json* found = find_field(row, {"difficulty", "metadata.difficulty"});
  if (found == nullptr || !found->is_object()) return found;
  return found->size() == 1 && found->front().is_number() ? &found->front() : nullptr;
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

// The answer in a column that may hold a whole solution.
std::string answer_in(const std::string& text, const std::string& form, const std::string& where) {
  if (form == "column") return text;
  if (form == "gsm8k") {
    constexpr std::string_view kMark = "####";
    const size_t mark = text.rfind(kMark);
    if (mark == std::string::npos)
      fail(where, ": answer: has no ####, behind which data.answer_from = \"gsm8k\" looks: ",
           text.substr(0, 60));
    std::string out(trimmed(std::string_view(text).substr(mark + kMark.size())));
    std::erase(out, ',');  // thousands
    return out;
  }
  bool any_box = false;
  const std::vector<std::string> boxes = math::boxed_answers(text, any_box);
  if (boxes.empty())
    fail(where, ": answer: has no \\boxed{...}, in which data.answer_from = \"boxed\" looks: ",
         text.substr(0, 60));
  return join(boxes);
}

// Throws where the row's rule cannot compare with its answers.
void check_answers(const Prompt& prompt, const std::string& where) {
  const auto check = [&](const std::string& key, const std::string& answer) {
    placed(cat(where, ": ", key), [&] { return verify(prompt.verify, "", answer); });
    const bool marked = prompt.verify == "marked";
    if (!marked && prompt.verify != "exact" && prompt.verify != "last_line") return;
    if (!verify(prompt.verify, (marked ? "#" : "") + answer, answer).correct)
      fail(where, ": ", key, ": no response is right by verify = \"", prompt.verify,
           "\": ", dump_json(answer).substr(0, 60),
           "; the rule leaves out what it has at its ends, or looks at a part of it alone");
  };
  check("answer", prompt.answer);
  for (const std::string& other : prompt.other_answers) check("other_answers", other);
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
    prompt.answer = answer_in(text_of(*answer), config.answer_from, where);
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
  if (const Json* others = find_field(row, {"other_answers"})) {
    if (!others->is_array()) fail(where, ": other_answers: is not a list of answers");
    for (const Json& other : *others)
      prompt.other_answers.push_back(answer_in(text_of(other), config.answer_from, where));
  }
  if (has_rule(prompt)) check_answers(prompt, where);
  if (const Json* source = find_field(row, {"data_source", "task", "metadata.source_dataset"}))
    prompt.task = text_of(*source);
  if (const Json* difficulty = find_difficulty(row)) {
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

// Of a source among several: two of one family are to have instances of their own.
uint64_t source_seed(const DataConfig& config, const DataSource& source, uint64_t seed) {
  if (config.sources.empty()) return seed;
  const auto place = static_cast<uint64_t>(&source - config.sources.data());
  return Rng(seed, Stream::mixture, place, 2).bits(0);
}

class FilePrompts final : public PromptSource {
 public:
  FilePrompts(const std::string& path, const DataConfig& config, const DifficultyRange& difficulty,
              bool shuffle, uint64_t seed, const PromptCheck& check)
      : path_(path), rows_(path, config.instruction_examples), shuffle_(shuffle), seed_(seed) {
    fields_.prompt_field = config.prompt_field;
    fields_.answer_field = config.answer_field;
    fields_.answer_from = config.answer_from;
    fields_.verify = config.verify;
    std::vector<double> difficulties;  // of places_, where rows are chosen by them
    int64_t bad = 0;
    rows_.each([&](const RowFile::Row& row, std::string_view text) {
      const std::string where = rows_.where(row);
      try {
        Prompt prompt = prompt_from_row(rows_.parse(row, text), fields_, 0, row.number - 1, where);
        const std::optional<double> known = prompt.difficulty;
        if (!difficulty.range.empty() && !known)
          fail(where, ": has no difficulty, by which data chooses its rows");
        if (check) check(std::move(prompt), where);
        places_.push_back(row);
        if (!difficulty.range.empty()) difficulties.push_back(*known);
      } catch (const UsageError&) {
        if (config.on_bad_row == "error") throw;
        ++bad;
      }
    });
    if (bad > 0) log::warn(cat(path, ": ", bad, " rows left out (data.on_bad_row = \"skip\")"));
    if (places_.empty()) fail(path, ": has no usable row");
    if (!difficulty.range.empty()) choose(difficulty, difficulties);
  }

  std::vector<Prompt> take(int64_t first, int64_t count) const override {
    std::vector<Prompt> out;
    for (int64_t i = first; i < first + count; ++i) {
      const int64_t epoch = i / size(), place = i % size();
      const int64_t number =
          shuffle_ ? Permutation(seed_, static_cast<uint64_t>(epoch), size())(place) : place;
      const RowFile::Row& row = places_[static_cast<size_t>(number)];
      // The place, not the row: a row that comes twice in a step is drawn with other numbers.
      out.push_back(prompt_from_row(rows_.read(row), fields_, i, row.number - 1, rows_.where(row)));
    }
    return out;
  }
  int64_t size() const override { return static_cast<int64_t>(places_.size()); }

 private:
  // A share is one of the rows in order of difficulty, of equal ones in the file's order: shares
  // beside each other have no row in common.
  void choose(const DifficultyRange& wanted, const std::vector<double>& difficulties) {
    const double low = wanted.range[0], high = wanted.range[1];
    std::vector<size_t> order(places_.size());
    std::iota(order.begin(), order.end(), size_t{0});
    if (wanted.unit == "share") {
      std::ranges::stable_sort(order, {}, [&](size_t i) { return difficulties[i]; });
      const auto rank = [&](double share) {
        return std::llround(share * static_cast<double>(order.size()));
      };
      order = {order.begin() + rank(low), order.begin() + rank(high)};
      std::ranges::sort(order);
    } else {
      std::erase_if(order,
                    [&](size_t i) { return difficulties[i] < low || difficulties[i] > high; });
    }
    if (order.empty())
      fail(path_, ": none of its ", places_.size(), " rows has a difficulty of ", low, " to ", high,
           wanted.unit == "share" ? " as shares" : "");
    std::vector<RowFile::Row> chosen;
    for (const size_t i : order) chosen.push_back(places_[i]);
    places_ = std::move(chosen);
  }

  std::string path_;
  RowFile rows_;
  DataConfig fields_;
  bool shuffle_;
  uint64_t seed_;
  std::vector<RowFile::Row> places_;
};

}  // namespace

void DataSource::bind_source(Binder& config) {
  config.text("train", train,
              "file of training prompts: JSON Lines, Parquet, a task of Natural Instructions");
  config.text("eval", eval, "the same of evaluation prompts");
  std::vector<std::string> families = {""};
  for (const std::string& known : TaskRegistry::names()) families.push_back(known);
  config.choice("task", task, families, "task family, in place of files");
  config.list("train_difficulty", train_difficulty, -1e12, 1e12,
              "[low, high]: training rows of this difficulty alone; empty: all");
  config.list("eval_difficulty", eval_difficulty, -1e12, 1e12, "the same of evaluation rows");
  config.choice("difficulty_unit", difficulty_unit, {"value", "share"},
                "of low and high: values, or shares of the rows by difficulty, 0 to 1");
  if (!task.empty() && !(train.empty() && eval.empty()))
    config.error("task", "is set beside train or eval; choose one of them");
  for (auto [key, range] : {std::pair("train_difficulty", &train_difficulty),
                            std::pair("eval_difficulty", &eval_difficulty)}) {
    config.only_if(key, task.empty(), "data.task, which has `tiers` and `lengths`");
    if (range->empty()) continue;
    const bool share = difficulty_unit == "share";
    if (range->size() == 2 && range->front() <= range->back() &&
        (!share || (range->front() >= 0 && range->back() <= 1)))
      continue;
    config.error(key, share ? "is not [low, high] within 0 and 1" : "is not [low, high]");
    range->clear();
  }
  config.only_if("difficulty_unit", !train_difficulty.empty() || !eval_difficulty.empty(),
                 "neither train_difficulty nor eval_difficulty");
}

void DataSource::bind_family(Binder& config) {
  for (const auto& [known, row] : TaskRegistry::all()) {
    if (known == task) config.table(known, [&](Binder& own) { family = row.make(own); });
  }
}

void DataConfig::bind_sources(Binder& config) {
  config.tables("source", [&](Binder& own) {
    DataSource& source = sources.emplace_back();
    own.text("name", source.name, "in metrics and ids; of a task its name, if not given");
    own.number("weight", source.weight, 1e-6, 1e9, "share of the prompts, relative to the others");
    source.bind_source(own);
    source.bind_family(own);
    if (source.name.empty()) source.name = source.task;
    if (source.name.empty()) own.error("name", "is needed where the source is a file");
    if (source.task.empty() && source.train.empty() && source.eval.empty())
      own.error("", "has neither task nor train nor eval");
    const auto same = [&](const DataSource& other) { return other.name == source.name; };
    if (std::count_if(sources.begin(), sources.end(), same) > 1)
      own.error("name", cat("two sources are named ", source.name));
  });
  config.table("curriculum", [&](Binder& own) { curriculum.bind(own); });
  if (sources.empty()) {
    if (curriculum.mode != "none")
      config.error("curriculum", "is of [[data.source]], and there is none");
    return;
  }
  if (!task.empty() || !train.empty() || !eval.empty())
    config.error("source", "stands beside data.task, train or eval; choose one");
}

void DataConfig::bind(Binder& config) {
  bind_source(config);
  config.text("prompt_template", prompt_template, "wraps a plain prompt; {prompt} stands for it");
  config.text("prompt_field", prompt_field,
              "column of the prompt; empty: prompt, question, problem or input");
  config.text("answer_field", answer_field,
              "column of the answer; empty: answer, label, solution, ground_truth or "
              "reward_model.ground_truth");
  config.choice("answer_from", answer_from, {"column", "gsm8k", "boxed"},
                "the answer is the column, or in it behind ####, or in its last \\boxed{}");
  config.choice("verify", verify, verify_rules(), "rule of correctness where a row names none");
  config.number(
      "instruction_examples", instruction_examples, 0, 16,
      "of a task of Natural Instructions: positive examples before each question, at most");
  config.choice("on_bad_row", on_bad_row, {"error", "skip"}, "stop at a bad row, or leave it out");
  config.flag("shuffle", shuffle, "a new order of a file's rows every epoch");
  config.number("eval_prompts", eval_prompts, 1, 1000000, "prompts of an evaluation, at most");
  config.number("eval_seed", eval_seed, 0, int64_t{1} << 53, "fixes a task's evaluation prompts");
  // Tables come behind the keys of [data].
  config.table("length_request", [&](Binder& own) { length_request.bind(own); });
  bind_sources(config);
  const auto is_task = [](const DataSource& source) { return !source.task.empty(); };
  const bool no_file = sources.empty() ? !task.empty() : std::ranges::all_of(sources, is_task);
  const bool no_task = sources.empty() ? task.empty() : std::ranges::none_of(sources, is_task);
  for (const char* key :
       {"prompt_field", "answer_field", "answer_from", "verify", "on_bad_row", "shuffle"})
    config.only_if(key, !no_file, "data.task");
  const auto is_json = [](const DataSource& source) {
    return source.train.ends_with(".json") || source.eval.ends_with(".json");
  };
  config.only_if("instruction_examples",
                 sources.empty() ? is_json(*this) : std::ranges::any_of(sources, is_json),
                 "files that are not .json");
  config.only_if("eval_seed", !no_task, "files: their rows come in order");
  if (prompt_template.find("{prompt}") == std::string::npos)
    config.error("prompt_template", "does not have {prompt} in it");
  bind_family(config);
}

bool DataConfig::has_training() const {
  const auto trains = [](const DataSource& one) {
    return one.family != nullptr || !one.train.empty();
  };
  return sources.empty() ? trains(*this) : std::ranges::any_of(sources, trains);
}

bool DataConfig::has_evaluation() const {
  const auto tests = [](const DataSource& one) {
    return one.family != nullptr || !one.eval.empty();
  };
  return sources.empty() ? tests(*this) : std::ranges::any_of(sources, tests);
}

std::vector<const DataSource*> DataConfig::demonstrators() const {
  std::vector<const DataSource*> out;
  const auto add = [&](const DataSource& one) {
    if (one.family != nullptr && one.family->demonstrate) out.push_back(&one);
  };
  if (sources.empty()) add(*this);
  for (const DataSource& one : sources) add(one);
  return out;
}

bool DataConfig::has_demonstrations() const { return !demonstrators().empty(); }

Tier DataConfig::demonstrated() const {
  Tier out;
  for (const DataSource* one : demonstrators()) {
    if (out.longest == 0) out.shortest = one->family->easiest;
    out.shortest = std::min(out.shortest, one->family->easiest);
    out.longest = std::max(out.longest, one->family->hardest);
  }
  return out;
}

Demonstration DataConfig::demonstrate(uint64_t seed, int64_t index, int64_t hardest) const {
  std::vector<const DataSource*> all = demonstrators();
  if (hardest > 0)
    std::erase_if(all, [&](const DataSource* one) { return one->family->easiest > hardest; });
  ensure(!all.empty(), "a source with demonstrations that are so easy");
  double sum = 0;
  for (const DataSource* one : all) sum += one->weight;
  double left = sum * Rng(seed, Stream::mixture, static_cast<uint64_t>(index), 1).uniform(0);
  size_t place = 0;
  while (place + 1 < all.size() && left >= all[place]->weight) left -= all[place++]->weight;
  const Task& chosen = *all[place]->family;
  return chosen.demonstrate(seed, index, std::min(hardest, chosen.hardest));
}

std::unique_ptr<PromptSource> file_prompts(const std::string& path, const DataConfig& config,
                                           const DifficultyRange& difficulty, bool shuffle,
                                           uint64_t seed, const PromptCheck& check) {
  return std::make_unique<FilePrompts>(path, config, difficulty, shuffle, seed, check);
}

std::unique_ptr<PromptSource> file_prompts(const std::string& path, const DataConfig& config,
                                           bool shuffle, uint64_t seed, const PromptCheck& check) {
  return file_prompts(path, config, DifficultyRange(), shuffle, seed, check);
}

std::unique_ptr<PromptSource> training_prompts(const DataConfig& config, uint64_t seed,
                                               const PromptCheck& check) {
  if (!config.has_training())
    fail("data: neither train nor task is set; there is nothing to train on");
  const auto open = [&](const DataSource& one) -> std::unique_ptr<PromptSource> {
    if (one.family != nullptr)
      return std::make_unique<TaskPrompts>(*one.family, one.task, source_seed(config, one, seed),
                                           Split::train, 0, check);
    return file_prompts(one.train, config, {one.train_difficulty, one.difficulty_unit},
                        config.shuffle, seed, check);
  };
  if (config.sources.empty()) return open(config);
  std::vector<MixturePart> parts;
  for (const DataSource& one : config.sources)
    if (one.family != nullptr || !one.train.empty())
      parts.push_back({one.name, one.weight, open(one)});
  return std::make_unique<Mixture>(std::move(parts), config.curriculum, seed);
}

std::unique_ptr<PromptSource> evaluation_prompts(const DataConfig& config,
                                                 const PromptCheck& check) {
  if (!config.has_evaluation())
    fail("data: neither eval nor task is set; there is nothing to evaluate on");
  const auto open = [&](const DataSource& one) -> std::unique_ptr<PromptSource> {
    if (one.family != nullptr)
      return std::make_unique<TaskPrompts>(
          *one.family, one.task,
          source_seed(config, one,
                      static_cast<uint64_t>(config.eval_seed) ^ kEvaluationStream << 40),
          Split::test, config.eval_prompts, check);
    return file_prompts(one.eval, config, {one.eval_difficulty, one.difficulty_unit}, false, 0,
                        check);
  };
  if (config.sources.empty()) return open(config);
  std::vector<MixturePart> parts;
  for (const DataSource& one : config.sources)
    if (one.family != nullptr || !one.eval.empty())
      parts.push_back({one.name, one.weight, open(one)});
  return std::make_unique<EvaluationMixture>(std::move(parts), config.eval_prompts);
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
