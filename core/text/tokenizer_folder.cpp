// Reads the tokenizer of a Hugging Face folder: tokenizer.json, and what other files say about it.
#include <algorithm>

#include "core/base/errors.h"
#include "core/base/files.h"
#include "core/base/text.h"
#include "core/text/tokenizer_spec.h"
#include "core/weights/json_field.h"

namespace vernier {
namespace {

using Field = JsonField;
using Value = SortedJson;

// A token named in tokenizer_config.json, as a string or as an object with its content.
std::optional<int32_t> named_token(const Field& root, const char* key, const TokenizerSpec& spec) {
  if (!root.has(key)) return std::nullopt;
  const Field field = root.at(key);
  const std::string& token = field->is_object() ? field.at("content").text() : field.text();
  const auto found = std::find(spec.tokens.begin(), spec.tokens.end(), token);
  if (found == spec.tokens.end() || token.empty())
    field.refuse("'", token, "' is not in the vocabulary");
  return static_cast<int32_t>(found - spec.tokens.begin());
}

// The template is a text, or a list of named ones of which "default" counts.
std::string read_chat_template(const Field& root) {
  if (!root.has("chat_template")) return "";
  const Field field = root.at("chat_template");
  if (field->is_string()) return field.text();
  if (field->is_array())
    for (size_t i = 0; i < field->size(); ++i)
      if (field.entry(i).at("name").text() == "default")
        return field.entry(i).at("template").text();
  field.refuse("is neither a text nor a list with a template named 'default'");
}

bool is_named(const Field& root, const std::string& token) {
  for (const char* key : {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token",
                          "cls_token", "mask_token"}) {
    if (!root.has(key)) continue;
    const Field field = root.at(key);
    if ((field->is_object() ? field.at("content").text() : field.text()) == token) return true;
  }
  return false;
}

// Tokens that tokenizer_config.json lists have to be those of tokenizer.json. Their flags replace
// those which stand there, as `transformers` adds the tokens once more, and a named one is special.
void read_listed_tokens(const Field& root, TokenizerSpec& spec) {
  if (!root.has("added_tokens_decoder")) return;
  const Field list = root.at("added_tokens_decoder");
  if (!list->is_object()) list.refuse("is not an object");
  std::unordered_map<std::string, AddedToken*> known;
  for (AddedToken& token : spec.added) known.emplace(cat(token.id), &token);
  for (const auto& [id, unused] : list->items()) {
    const Field entry = list.at(id.c_str());
    const std::string& content = entry.at("content").text();
    const auto found = known.find(id);
    if (found == known.end() || found->second->content != content)
      list.refuse("token ", id, " '", content, "' is not an added token of tokenizer.json");
    AddedToken& token = *found->second;
    token.special = entry.flag("special", false) || is_named(root, content);
    token.normalized = entry.flag("normalized", !token.special);
    token.single_word = entry.flag("single_word", false);
    token.lstrip = entry.flag("lstrip", false);
    token.rstrip = entry.flag("rstrip", false);
  }
}

// What `add_bos_token` or `add_eos_token` asks for. Where tokenizer.json has a template, both have
// to say the same; `around` is its side.
void read_around(const Field& root, const char* key, const char* name, std::optional<int32_t> token,
                 const TokenizerSpec& spec, std::vector<int32_t>& around) {
  if (!root.has(key)) return;
  const bool wanted = root.at(key).truth();
  const bool there = token && std::find(around.begin(), around.end(), *token) != around.end();
  if (spec.has_template && wanted != there)
    root.at(key).refuse(wanted ? "true" : "false", ", but the post_processor of ", spec.source,
                        there ? " adds the token of " : " does not add the token of ", name);
  if (spec.has_template || !wanted) return;
  if (!token) root.at(key).refuse("true, but the file has no ", name);
  around.push_back(*token);
}

void read_config(const std::string& text, const std::string& path, TokenizerSpec& spec) {
  const Value file = parse_sorted_json(text, path);
  const Field root(file, path);
  if (!file.is_object()) root.refuse("is not a JSON object");
  root.needs("split_special_tokens", false);
  read_listed_tokens(root, spec);
  spec.eos = named_token(root, "eos_token", spec);
  spec.bos = named_token(root, "bos_token", spec);
  spec.pad = named_token(root, "pad_token", spec);
  read_around(root, "add_bos_token", "bos_token", spec.bos, spec, spec.prefix);
  read_around(root, "add_eos_token", "eos_token", spec.eos, spec, spec.suffix);
  spec.chat_template = read_chat_template(root);
}

// eos_token_id of generation_config.json or config.json, where it is there: an id or a list.
std::vector<int32_t> configured_ends(const FileTexts& files, const std::string& name,
                                     const std::string& where, const TokenizerSpec& spec) {
  const auto text = files.find(name);
  if (text == files.end()) return {};
  const Value file = parse_sorted_json(text->second, where + name);
  const Field root(file, where + name);
  if (!root.has("eos_token_id")) return {};
  const Field field = root.at("eos_token_id");
  std::vector<int32_t> ends;
  if (!field->is_array()) ends.push_back(field.id());
  for (size_t i = 0; field->is_array() && i < field->size(); ++i)
    ends.push_back(field.entry(i).id());
  if (ends.empty()) field.refuse("the list is empty");
  for (const int32_t id : ends)
    if (static_cast<size_t>(id) >= spec.tokens.size())
      field.refuse(id, " is outside the vocabulary of ", spec.tokens.size(), " tokens");
  return ends;
}

}  // namespace

const std::vector<std::string>& tokenizer_files() {
  static const std::vector<std::string> names = {"tokenizer.json",
                                                 "tokenizer_config.json",
                                                 "special_tokens_map.json",
                                                 "added_tokens.json",
                                                 "vocab.json",
                                                 "merges.txt",
                                                 "tokenizer.model",
                                                 "chat_template.jinja"};
  return names;
}

const std::vector<std::string>& end_files() {
  static const std::vector<std::string> names = {"generation_config.json", "config.json"};
  return names;
}

TokenizerSpec spec_from_folder(const std::filesystem::path& folder) {
  FileTexts files;
  for (const auto* names : {&tokenizer_files(), &end_files()})
    for (const std::string& name : *names)
      if (std::filesystem::exists(folder / name)) files[name] = read_file(folder / name);
  if (!files.contains("tokenizer.json"))
    read_file(folder / "tokenizer.json");  // says what is wrong
  return spec_from_files(std::move(files), (folder / "").string());
}

TokenizerSpec spec_from_files(FileTexts files, const std::string& where) {
  const auto named = files.find("tokenizer.json");
  if (named == files.end()) fail(where, "tokenizer.json: is missing");
  TokenizerSpec spec = spec_from_json(named->second, where + "tokenizer.json");
  if (const auto config = files.find("tokenizer_config.json"); config != files.end())
    read_config(config->second, where + "tokenizer_config.json", spec);
  // Newer versions of `transformers` keep the template in a file of its own.
  if (const auto jinja = files.find("chat_template.jinja"); jinja != files.end())
    spec.chat_template = jinja->second;
  for (const std::string& name : end_files()) {
    std::vector<int32_t> ends = configured_ends(files, name, where, spec);  // checked in either
    if (spec.ends.empty()) spec.ends = std::move(ends);
    files.erase(name);  // the model's files, not the tokenizer's
  }
  if (spec.ends.empty() && spec.eos) spec.ends = {*spec.eos};
  if (spec.ends.empty())
    fail(where,
         ": no end token: neither eos_token_id in generation_config.json or config.json nor "
         "eos_token in tokenizer_config.json");
  spec.files = std::move(files);
  finish_spec(spec);
  return spec;
}

}  // namespace vernier
