// Reads the text of a tokenizer.json. What a file asks for is either done or refused by name: a
// field that is skipped would give other ids and no message.
#include <algorithm>
#include <set>

#include "core/base/errors.h"
#include "core/base/text.h"
#include "core/text/bpe.h"
#include "core/text/patterns.h"
#include "core/text/tokenizer_parts.h"
#include "core/text/tokenizer_spec.h"
#include "core/text/unicode.h"
#include "core/weights/json_field.h"

namespace vernier {
namespace {

using Field = JsonField;
using Value = SortedJson;
using Model = TokenizerSpec::Model;

// Tokens by id. Ids may leave gaps, but not such that the list of tokens would be mostly empty.
void read_vocabulary(const Field& vocabulary, TokenizerSpec& spec) {
  constexpr uint64_t kMaxUnused = 1'000'000;
  if (!vocabulary->is_object()) vocabulary.refuse("is not an object");
  const uint64_t limit = vocabulary->size() + kMaxUnused;
  for (const auto& [token, id] : vocabulary->items()) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= limit)
      vocabulary.refuse("token '", token, "' has id ", id.dump(), "; ids of ", vocabulary->size(),
                        " tokens are 0 to ", limit - 1, " at most");
    if (token.empty()) vocabulary.refuse("token ", id.dump(), " is empty");
    const auto place = id.get<size_t>();
    if (place >= spec.tokens.size()) spec.tokens.resize(place + 1);
    if (!spec.tokens[place].empty())
      vocabulary.refuse("tokens '", spec.tokens[place], "' and '", token, "' have the same id ",
                        id.dump());
    spec.tokens[place] = token;
  }
  for (const std::string& token : spec.tokens) spec.in_model.push_back(!token.empty());
}

void read_merges(const Field& merges, TokenizerSpec& spec) {
  if (merges.entries() == 0) merges.refuse("no merges, and byte-pair encoding needs them");
  MergeList list(spec);
  for (const Value& merge : merges.value()) {
    // "a b" was written until tokenizers 0.20, ["a", "b"] since. Old files kept the head of
    // merges.txt.
    if (merge.is_string()) {
      const auto& text = merge.get_ref<const std::string&>();
      if (!text.starts_with("#version")) list.add(text);
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
               merge[1].is_string()) {
      list.add(merge[0].get<std::string>(), merge[1].get<std::string>());
    } else {
      merges.refuse("entry ", spec.merges.size(), " is neither \"a b\" nor [\"a\", \"b\"]");
    }
  }
}

int32_t find_token(const TokenizerSpec& spec, std::string_view token) {
  const auto found = std::find(spec.tokens.begin(), spec.tokens.end(), token);
  return found == spec.tokens.end() ? -1 : static_cast<int32_t>(found - spec.tokens.begin());
}

void read_bpe(const Field& model, TokenizerSpec& spec) {
  model.only({"type", "vocab", "merges", "dropout", "unk_token", "continuing_subword_prefix",
              "end_of_word_suffix", "fuse_unk", "byte_fallback", "ignore_merges"});
  model.needs("dropout", 0.0);
  model.needs("continuing_subword_prefix", "");
  model.needs("end_of_word_suffix", "");
  spec.fuse_unknown = model.flag("fuse_unk", false);
  spec.byte_fallback = model.flag("byte_fallback", false);
  spec.ignore_merges = model.flag("ignore_merges", false);
  read_vocabulary(model.at("vocab"), spec);
  read_merges(model.at("merges"), spec);
}

// What happens to characters that the vocabulary lacks. With a token for every byte there are none.
void read_unknown(const Field& model, TokenizerSpec& spec) {
  if (spec.model == Model::byte_level) {
    const std::set<std::string_view> tokens(spec.tokens.begin(), spec.tokens.end());
    for (int byte = 0; byte < 256; ++byte) {
      if (tokens.contains(byte_symbol(static_cast<uint8_t>(byte)))) continue;
      for (const char* key : {"unk_token", "byte_fallback"})
        if (model.has(key) && model.at(key).value() != Value(false))
          model.at(key).refuse("not supported where the vocabulary lacks a byte, as that of ",
                               byte);
    }
    return;
  }
  if (!model.has("unk_token")) return;
  const Field unknown = model.at("unk_token");
  spec.unknown = find_token(spec, unknown.text());
  if (spec.unknown < 0) unknown.refuse("'", unknown.text(), "' is not in the vocabulary");
}

void read_model(const Field& model, TokenizerSpec& spec) {
  // Files of 2019 and 2020 have no type; they are BPE where they have merges.
  const std::string type = model.type();
  if (type == "BPE" || (type.empty() && model.has("merges"))) return read_bpe(model, spec);
  if (type != "WordLevel") model.refuse("type '", type, "' is not supported; BPE is");
  spec.model = Model::characters;
  spec.gpt2_regex = false;
  model.only({"type", "vocab", "unk_token"});
  read_vocabulary(model.at("vocab"), spec);
}

// A token that the vocabulary does not have gets the next id after as many as the vocabulary has,
// whatever the file says: so a file that says something else is refused.
void read_added(const Field& list, TokenizerSpec& spec) {
  std::unordered_map<std::string, int32_t> ids;
  for (size_t i = 0; i < spec.tokens.size(); ++i)
    if (!spec.tokens[i].empty()) ids.emplace(spec.tokens[i], static_cast<int32_t>(i));
  std::unordered_map<std::string, AddedToken> seen;
  auto next = static_cast<int32_t>(ids.size());
  for (size_t i = 0; i < list.entries(); ++i) {
    const Field entry = list.entry(i);
    entry.only({"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
    const AddedToken token{.content = entry.at("content").text(),
                           .id = entry.at("id").id(),
                           .special = entry.flag("special", false),
                           .normalized = entry.flag("normalized", false),
                           .single_word = entry.flag("single_word", false),
                           .lstrip = entry.flag("lstrip", false),
                           .rstrip = entry.flag("rstrip", false)};
    if (token.content.empty()) entry.refuse("the content is empty");
    const auto known = ids.find(token.content);
    const int32_t expected = known == ids.end() ? next : known->second;
    if (token.id != expected)
      entry.refuse("'", token.content, "' has id ", token.id, ", and ",
                   known == ids.end() ? "the next free one is " : "the vocabulary gives it ",
                   expected);
    const auto [before, fresh] = seen.emplace(token.content, token);
    if (!fresh && before->second != token)
      entry.refuse("'", token.content, "' stands twice, with other flags");
    if (!fresh) continue;
    if (known == ids.end()) {
      const auto place = static_cast<size_t>(token.id);
      if (place >= spec.tokens.size()) spec.tokens.resize(place + 1);
      if (!spec.tokens[place].empty())
        entry.refuse("'", token.content, "' has id ", token.id, ", which '", spec.tokens[place],
                     "' has in the vocabulary");
      spec.tokens[place] = token.content;
      spec.in_model.resize(spec.tokens.size());
      ids.emplace(token.content, token.id);
      ++next;
    }
    spec.added.push_back(token);
  }
}

// One id a character: exactly what write_spec() makes of it.
void read_character_shape(const Field& root, TokenizerSpec& spec) {
  const Field pre = root.at("pre_tokenizer");
  if (pre.type() != "Split" || root.at("decoder").type() != "Fuse" || root.has("normalizer"))
    root.refuse("a WordLevel model is read with a Split, a Fuse decoder and no normalizer only");
  read_pre_tokenizer(root, spec);
  if (spec.steps[0] != PretokenizerStep{PretokenizerStep::Kind::regex, kAnyCharacter})
    pre.refuse("a WordLevel model is read with the pattern '", kAnyCharacter, "' only");
  spec.steps.clear();
  spec.model = Model::characters;
  std::set<std::string_view> added;
  for (const AddedToken& token : spec.added) added.insert(token.content);
  for (size_t id = 0; id < spec.tokens.size(); ++id) {
    const std::string& token = spec.tokens[id];
    if (token.empty()) root.at("model").refuse("id ", id, " has no token");
    if (!added.contains(token) && character_length(token) != token.size())
      root.at("model").refuse("token '", token, "' is not one character");
  }
}

void read_file_root(const Field& root, TokenizerSpec& spec) {
  // `truncation` and `padding` are settings of the last call before it was saved; `transformers`
  // sets them anew at every call.
  root.only({"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
             "post_processor", "decoder", "model"});
  root.needs("version", "1.0");
  read_model(root.at("model"), spec);
  if (root.has("added_tokens")) read_added(root.at("added_tokens"), spec);
  if (spec.model == Model::characters) {
    read_character_shape(root, spec);
  } else {
    read_normalizer(root, spec);
    read_pre_tokenizer(root, spec);
    read_decoder(root, spec);
    read_unknown(root.at("model"), spec);
  }
  if (root.has("post_processor")) read_post_processor(root.at("post_processor"), spec);
}

}  // namespace

TokenizerSpec spec_from_json(std::string_view text, const std::string& where) {
  TokenizerSpec spec;
  spec.source = where;
  const Value file = parse_sorted_json(text, where);
  read_file_root(Field(file, where), spec);
  finish_spec(spec);
  return spec;
}

}  // namespace vernier
