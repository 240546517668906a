// Reads the tokenizer of a Hugging Face folder. What a file asks for is either done or refused by
// name: a field that is skipped would give other ids and no message.
#include <algorithm>
#include <set>

#include "core/base/errors.h"
#include "core/base/files.h"
#include "core/text/normalize.h"
#include "core/text/tokenizer_spec.h"
#include "core/weights/json_field.h"

namespace vernier {
namespace {

using Field = JsonField;
using Value = SortedJson;

constexpr const char* kAnyCharacter = "[\\s\\S]";

// Tokens by id; ids run from 0 without a gap.
void read_vocabulary(const Field& vocabulary, TokenizerSpec& spec) {
  if (!vocabulary->is_object()) vocabulary.refuse("is not an object");
  spec.tokens.resize(vocabulary->size());
  for (const auto& [token, id] : vocabulary->items()) {
    const auto count = static_cast<uint64_t>(spec.tokens.size());
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= count)
      vocabulary.refuse("token '", token, "' has id ", id.dump(), "; ids of ", count,
                        " tokens are 0 to ", count - 1);
    std::string& place = spec.tokens[id.get<size_t>()];
    if (token.empty()) vocabulary.refuse("token ", id.dump(), " is empty");
    if (!place.empty())
      vocabulary.refuse("tokens '", place, "' and '", token, "' have the same id ", id.dump());
    place = token;
  }
  spec.num_vocabulary = static_cast<int32_t>(spec.tokens.size());
}

void read_merges(const Field& merges, TokenizerSpec& spec) {
  if (merges.entries() == 0) merges.refuse("no merges, and byte-pair encoding needs them");
  MergeList list(spec);
  for (const Value& merge : merges.value()) {
    // "a b" was written until tokenizers 0.20, ["a", "b"] since.
    if (merge.is_string())
      list.add(merge.get_ref<const std::string&>());
    else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string())
      list.add(merge[0].get<std::string>(), merge[1].get<std::string>());
    else
      merges.refuse("entry ", spec.merges.size(), " is neither \"a b\" nor [\"a\", \"b\"]");
  }
}

void read_bpe(const Field& model, TokenizerSpec& spec) {
  model.only({"type", "vocab", "merges", "dropout", "unk_token", "continuing_subword_prefix",
              "end_of_word_suffix", "fuse_unk", "byte_fallback", "ignore_merges"});
  model.needs("dropout", 0.0);
  model.needs("unk_token", nullptr);
  model.needs("continuing_subword_prefix", "");
  model.needs("end_of_word_suffix", "");
  model.needs("byte_fallback", false);
  model.needs("ignore_merges", false);  // `fuse_unk` says nothing without an unk_token
  read_vocabulary(model.at("vocab"), spec);
  read_merges(model.at("merges"), spec);
}

void read_model(const Field& model, TokenizerSpec& spec) {
  // Files of 2019 and 2020 have no type; they are BPE where they have merges.
  const std::string type = model.type();
  if (type == "BPE" || (type.empty() && model.has("merges"))) return read_bpe(model, spec);
  if (type != "WordLevel") model.refuse("type '", type, "' is not supported; BPE is");
  spec.characters = true;
  spec.gpt2_regex = false;
  model.only({"type", "vocab", "unk_token"});
  read_vocabulary(model.at("vocab"), spec);
}

void read_added(const Field& list, TokenizerSpec& spec) {
  std::unordered_map<std::string, int32_t> ids;
  for (size_t i = 0; i < spec.tokens.size(); ++i)
    ids.emplace(spec.tokens[i], static_cast<int32_t>(i));
  for (size_t i = 0; i < list.entries(); ++i) {
    const Field entry = list.entry(i);
    entry.only({"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
    for (const char* key : {"single_word", "lstrip", "rstrip"}) entry.needs(key, false);
    const AddedToken token{.content = entry.at("content").text(),
                           .id = entry.at("id").id(),
                           .special = entry.flag("special", false),
                           .normalized = entry.flag("normalized", false)};
    const auto known = ids.find(token.content);
    const auto next = static_cast<int32_t>(spec.tokens.size());
    const int32_t expected = known == ids.end() ? next : known->second;
    if (token.id != expected)
      entry.refuse("'", token.content, "' has id ", token.id, ", and ",
                   known == ids.end() ? "the next free one is " : "the vocabulary gives it ",
                   expected);
    if (known == ids.end()) {
      spec.tokens.push_back(token.content);
      ids.emplace(token.content, token.id);
    }
    spec.added.push_back(token);
  }
}

void read_normalizer(const Field& root, TokenizerSpec& spec) {
  if (!root.has("normalizer")) return;
  const Field normalizer = root.at("normalizer");
  if (normalizer.type() != "NFC")
    normalizer.refuse("type '", normalizer.type(), "' is not supported; NFC and null are");
  normalizer.only({"type"});
  spec.nfc = true;
}

void read_split(const Field& split, TokenizerSpec& spec) {
  split.only({"type", "pattern", "behavior", "invert"});
  split.needs("behavior", "Isolated");
  split.needs("invert", false);
  const Field pattern = split.at("pattern");
  pattern.only({"Regex"});
  spec.steps.push_back({PretokenizerStep::Kind::regex, pattern.at("Regex").text()});
}

void read_step(const Field& step, TokenizerSpec& spec) {
  if (step.type() == "Split") return read_split(step, spec);
  if (step.type() != "Digits")
    step.refuse("type '", step.type(), "' is not supported here; Split and Digits are");
  step.only({"type", "individual_digits"});
  const bool alone = step.flag("individual_digits", false);
  spec.steps.push_back(
      {alone ? PretokenizerStep::Kind::digit : PretokenizerStep::Kind::digits, ""});
}

void read_byte_level(const Field& step, TokenizerSpec& spec) {
  if (step.type() != "ByteLevel")
    step.refuse("type '", step.type(), "' is not supported as the last one; ByteLevel is");
  step.only({"type", "add_prefix_space", "trim_offsets", "use_regex"});
  if (step.flag("add_prefix_space", true)) step.refuse("add_prefix_space has to be false");
  spec.gpt2_regex = step.flag("use_regex", true);  // `trim_offsets` does not touch ids
}

void read_pre_tokenizer(const Field& pre, TokenizerSpec& spec) {
  if (pre.type() != "Sequence") return read_byte_level(pre, spec);
  pre.only({"type", "pretokenizers"});
  const Field list = pre.at("pretokenizers");
  const size_t count = list.entries();
  if (count == 0) list.refuse("no pre-tokenizers");
  for (size_t i = 0; i + 1 < count; ++i) read_step(list.entry(i), spec);
  read_byte_level(list.entry(count - 1), spec);
}

// Only special tokens around a text are a post-processor's work on ids. encode() adds none, so a
// file that asks for them would be read as another tokenizer.
void read_post_processor(const Field& post) {
  if (post.type() == "ByteLevel") return;
  if (post.type() == "TemplateProcessing") {
    const Field single = post.at("single");
    for (size_t i = 0; i < single.entries(); ++i)
      if (single.entry(i).has("SpecialToken"))
        single.entry(i).refuse("special tokens around every text are not supported");
    return;
  }
  if (post.type() != "Sequence") post.refuse("type '", post.type(), "' is not supported");
  const Field list = post.at("processors");
  for (size_t i = 0; i < list.entries(); ++i)
    if (list.entry(i).type() == "Sequence")
      list.entry(i).refuse("a Sequence in a Sequence is not supported");
    else
      read_post_processor(list.entry(i));
}

// One id a character: exactly what write_spec() makes of it.
void read_character_shape(const Field& root, TokenizerSpec& spec) {
  const Field pre = root.at("pre_tokenizer");
  if (pre.type() != "Split" || root.at("decoder").type() != "Fuse" || root.has("normalizer"))
    root.refuse("a WordLevel model is read with a Split, a Fuse decoder and no normalizer only");
  read_split(pre, spec);
  if (spec.steps[0].regex != kAnyCharacter)
    pre.refuse("a WordLevel model is read with the pattern '", kAnyCharacter, "' only");
  spec.steps.clear();
  std::set<std::string_view> added;
  for (const AddedToken& token : spec.added) added.insert(token.content);
  for (const std::string& token : spec.tokens)
    if (!added.contains(token) && character_length(token) != token.size())
      root.at("model").refuse("token '", token, "' is not one character");
}

Value read_json(const std::filesystem::path& path) {
  return parse_sorted_json(read_file(path), path.string());
}

void read_tokenizer_json(const std::filesystem::path& path, TokenizerSpec& spec) {
  const Value file = read_json(path);
  const Field root(file, path.string());
  // `truncation` and `padding` are settings of the last call before it was saved; `transformers`
  // sets them anew at every call.
  root.only({"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
             "post_processor", "decoder", "model"});
  read_model(root.at("model"), spec);
  if (root.has("added_tokens")) read_added(root.at("added_tokens"), spec);
  if (spec.characters) return read_character_shape(root, spec);
  read_normalizer(root, spec);
  read_pre_tokenizer(root.at("pre_tokenizer"), spec);
  if (root.has("post_processor")) read_post_processor(root.at("post_processor"));
  const Field decoder = root.at("decoder");
  if (decoder.type() != "ByteLevel")
    decoder.refuse("type '", decoder.type(), "' is not supported; ByteLevel is");
}

// A token named in tokenizer_config.json, as a string or as an object with its content.
std::optional<int32_t> named_token(const Field& root, const char* key, const TokenizerSpec& spec) {
  if (!root.has(key)) return std::nullopt;
  const Field field = root.at(key);
  const std::string& token = field->is_object() ? field.at("content").text() : field.text();
  const auto found = std::find(spec.tokens.begin(), spec.tokens.end(), token);
  if (found == spec.tokens.end()) field.refuse("'", token, "' is not in the vocabulary");
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

// Tokens that tokenizer_config.json lists have to be those of tokenizer.json.
void check_listed_tokens(const Field& root, const TokenizerSpec& spec) {
  if (!root.has("added_tokens_decoder")) return;
  const Field list = root.at("added_tokens_decoder");
  if (!list->is_object()) list.refuse("is not an object");
  std::unordered_map<std::string, std::string_view> known;
  for (const AddedToken& token : spec.added) known.emplace(cat(token.id), token.content);
  for (const auto& [id, unused] : list->items()) {
    const std::string& content = list.at(id.c_str()).at("content").text();
    const auto found = known.find(id);
    if (found == known.end() || found->second != content)
      list.refuse("token ", id, " '", content, "' is not an added token of tokenizer.json");
  }
}

// eos_token_id of generation_config.json or config.json.
std::optional<int32_t> configured_eos(const std::filesystem::path& path,
                                      const TokenizerSpec& spec) {
  if (!std::filesystem::exists(path)) return std::nullopt;
  const Value file = read_json(path);
  const Field root(file, path.string());
  if (!root.has("eos_token_id")) return std::nullopt;
  const Field field = root.at("eos_token_id");
  if (field->is_array() && field->size() != 1)
    field.refuse("names ", field->size(), " end tokens; one is supported");
  const int32_t id = field->is_array() ? field.entry(0).id() : field.id();
  if (static_cast<size_t>(id) >= spec.tokens.size())
    field.refuse(id, " is outside the vocabulary of ", spec.tokens.size(), " tokens");
  return id;
}

}  // namespace

TokenizerSpec spec_from_folder(const std::filesystem::path& folder) {
  TokenizerSpec spec;
  spec.source = (folder / "tokenizer.json").string();
  read_tokenizer_json(folder / "tokenizer.json", spec);

  std::optional<int32_t> eos;
  if (const auto path = folder / "tokenizer_config.json"; std::filesystem::exists(path)) {
    const Value file = read_json(path);
    const Field root(file, path.string());
    check_listed_tokens(root, spec);
    eos = named_token(root, "eos_token", spec);
    spec.bos = named_token(root, "bos_token", spec);
    spec.pad = named_token(root, "pad_token", spec);
    if (root.has("add_bos_token") && root.at("add_bos_token").value() != Value(false))
      root.at("add_bos_token").refuse("a begin token before every text is not supported");
    spec.chat_template = read_chat_template(root);
  }
  // Newer versions of `transformers` keep the template in a file of its own.
  if (const auto path = folder / "chat_template.jinja"; std::filesystem::exists(path))
    spec.chat_template = read_file(path);
  const auto generation = configured_eos(folder / "generation_config.json", spec);
  if (eos && generation && *generation != *eos)
    fail((folder / "generation_config.json").string(), ": eos_token_id: ", *generation,
         " is not the tokenizer's end token ", *eos, "; responses would end elsewhere");
  if (!eos) eos = generation;
  if (!eos) eos = configured_eos(folder / "config.json", spec);
  if (!eos)
    fail(folder.string(),
         ": no end token: neither eos_token in tokenizer_config.json nor "
         "eos_token_id in generation_config.json or config.json");
  spec.eos = *eos;
  finish_spec(spec);
  return spec;
}

}  // namespace vernier
