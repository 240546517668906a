#include "rollout/json_rows.h"

#include <algorithm>
#include <vector>

#include "core/base/errors.h"
#include "core/base/files.h"
#include "rewards/verify/scan.h"

namespace vernier {
namespace {

bool is_task(const Json& value) {
  return value.is_object() && value.contains("Definition") && value.contains("Instances");
}

std::string shown(const Json& value) {
  const std::string text = dump_json(value);
  return text.size() <= 60 ? text : text.substr(0, whole_utf8_prefix(text.substr(0, 60))) + "...";
}

// What `key` says of an object, which has to be a text.
std::string text_at(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end()) fail("has no ", key);
  if (!found->is_string()) fail(key, ": ", shown(*found), " is not a text");
  return found->get<std::string>();
}

const Json& list_at(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_array())
    fail(key, ": ", found == object.end() ? "is missing" : shown(*found), "; a list is wanted");
  return *found;
}

// A line of the prompt: trimmed, and with a full stop where it ends in no punctuation mark.
std::string sentence(std::string_view head, std::string_view text) {
  constexpr std::string_view kMarks = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
  std::string out = cat(head, trimmed(text));
  if (kMarks.find(out.back()) == std::string_view::npos) out += '.';
  return out;
}

// A task of Natural Instructions.
class Instructions {
 public:
  Instructions(const Json& file, std::string name, int64_t examples)
      : file_(file), name_(std::move(name)) {
    const Json& definition = file.at("Definition");
    const Json& first = definition.is_array() && !definition.empty() ? definition[0] : definition;
    if (!first.is_string())
      fail("Definition: ", shown(definition), " is neither a text nor a list of texts");
    opening_ = sentence("Definition: ", first.get<std::string>()) + "\n\n";
    if (examples == 0) return;
    const Json& positive = list_at(file, "Positive Examples");
    for (int64_t i = 0; i < std::min(examples, std::ssize(positive)); ++i)
      placed(cat("Positive Examples, ", i + 1),
             [&] { add_example(positive[static_cast<size_t>(i)], i + 1); });
  }

  Json row(const Json& instance, size_t number) const {
    if (!instance.is_object()) fail("an instance is an object, not ", shown(instance));
    const std::string input = text_at(instance, "input");
    Json out;
    out["id"] = instance.contains("id") ? instance["id"] : Json(cat(name_, "-", number));
    out["prompt"] = cat(opening_, "Now complete the following example -\n",
                        sentence("Input: ", input), "\nOutput: ");
    add_answers(instance, out);
    out["input"] = input;
    out["data_source"] = name_;
    for (const char* key : {"Categories", "Domains"})
      if (file_.contains(key)) out[key] = file_[key];
    return out;
  }

 private:
  void add_example(const Json& example, int64_t number) {
    if (!example.is_object()) fail("an example is an object, not ", shown(example));
    opening_ +=
        cat(" Positive Example ", number, " -\n", sentence("Input: ", text_at(example, "input")),
            "\n", sentence(" Output: ", text_at(example, "output")), "\n\n");
  }

  static void add_answers(const Json& instance, Json& out) {
    const auto found = instance.find("output");
    const Json outputs = found == instance.end() ? Json::array()
                         : found->is_string()    ? Json::array({*found})
                                                 : *found;
    const auto is_text = [](const Json& one) { return one.is_string(); };
    if (!outputs.is_array() || outputs.empty() || !std::ranges::all_of(outputs, is_text))
      fail("output: ", found == instance.end() ? "is missing" : shown(*found),
           "; a list of texts is wanted");
    out["answer"] = outputs[0];
    for (size_t i = 1; i < outputs.size(); ++i) out["other_answers"].push_back(outputs[i]);
  }

  const Json& file_;
  std::string name_;
  std::string opening_;  // of every prompt
};

std::string kind_of(const Json& value) {
  if (!value.is_object()) return shown(value);
  std::vector<std::string> keys;
  for (const auto& [key, unused] : value.items())
    if (keys.size() < 8) keys.push_back(key);
  if (value.size() > keys.size()) keys.emplace_back("...");
  return cat("one object with ", keys.empty() ? "no keys" : join(keys));
}

}  // namespace

bool is_json_line(std::string_view first_line) {
  const Json value = Json::parse(first_line, nullptr, false);
  return value.is_object() && !is_task(value);
}

std::string json_rows(const std::string& path, int64_t examples, const RowSink& sink) {
  return json_rows(path, read_file(path), examples, sink);
}

std::string json_rows(const std::string& path, std::string_view text, int64_t examples,
                      const RowSink& sink) {
  constexpr std::string_view kAllowed =
      "; a list of rows, a task of Natural Instructions (Definition, Instances), or rows as JSON "
      "Lines are wanted";
  Json file;
  try {
    file = parse_json(text, path);
  } catch (const UsageError& problem) {
    fail(problem.what(), kAllowed);
  }
  if (file.is_array()) {
    for (const Json& row : file) sink([&] { return row; });
    return ", row ";
  }
  if (!is_task(file)) fail(path, ": is ", kind_of(file), kAllowed);
  placed(path, [&] {
    const Instructions task(file, fs::path(path).stem().string(), examples);
    size_t number = 0;
    for (const Json& instance : list_at(file, "Instances")) {
      ++number;
      sink([&] { return task.row(instance, number); });
    }
  });
  return ", instance ";
}

}  // namespace vernier
