#include "core/text/tokenizer_spec.h"

#include <algorithm>
#include <limits>
#include <set>

#include "core/base/errors.h"
#include "core/text/normalize.h"
#include "core/weights/weights.h"

namespace vernier {
namespace {

// Longer ones could make the search for them quadratic.
constexpr size_t kMaxAddedToken = 512;
constexpr const char* kPad = "<pad>";

// Types of tokens in GGUF files.
constexpr int64_t kUnknown = 2, kControl = 3, kUserDefined = 4;

uint64_t pair_key(int32_t left, int32_t right) {
  return (uint64_t{static_cast<uint32_t>(left)} << 32) | static_cast<uint32_t>(right);
}

void read_gguf_tokens(const GgufFile& file, TokenizerSpec& spec) {
  spec.tokens = file.texts("tokenizer.ggml.tokens");
  if (spec.tokens.size() > size_t{std::numeric_limits<int32_t>::max()})
    fail(spec.source, ": tokenizer.ggml.tokens has ", spec.tokens.size(), " tokens");
  spec.num_vocabulary = static_cast<int32_t>(spec.tokens.size());
  const auto& types = file.integers("tokenizer.ggml.token_type");
  if (types.size() != spec.tokens.size())
    fail(spec.source, ": tokenizer.ggml.token_type has ", types.size(), " entries for ",
         spec.tokens.size(), " tokens");
  for (size_t i = 0; i < types.size(); ++i) {
    if (types[i] != kUnknown && types[i] != kControl && types[i] != kUserDefined) continue;
    spec.added.push_back({.content = spec.tokens[i],
                          .id = static_cast<int32_t>(i),
                          .special = types[i] != kUserDefined});
  }
}

std::optional<int32_t> gguf_id(const GgufFile& file, const std::string& key, size_t size) {
  if (!file.has(key)) return std::nullopt;
  const int64_t id = file.integer(key);
  if (id < 0 || static_cast<uint64_t>(id) >= size)
    fail(file.path(), ": ", key, " is ", id, "; the vocabulary has ", size, " tokens");
  return static_cast<int32_t>(id);
}

void add_if_missing(TokenizerSpec& spec, std::optional<int32_t> id) {
  if (!id) return;
  for (AddedToken& token : spec.added)
    if (token.id == *id) return;
  spec.added.push_back(
      {.content = spec.tokens[static_cast<size_t>(*id)], .id = *id, .special = true});
}

}  // namespace

TokenizerSpec spec_from_gguf(const GgufFile& file) {
  TokenizerSpec spec;
  spec.source = file.path();
  const std::string& model = file.text("tokenizer.ggml.model");
  if (model != "gpt2")
    fail(spec.source, ": tokenizer.ggml.model '", model, "' is not supported; 'gpt2' is");
  const std::string& pre = file.text("tokenizer.ggml.pre");
  if (pre != "smollm" && pre != "gpt-2")
    fail(spec.source, ": tokenizer.ggml.pre '", pre,
         "' is not supported; 'smollm' and 'gpt-2' are");
  if (pre == "smollm") spec.steps.push_back({PretokenizerStep::Kind::digit, ""});
  for (const std::string key : {"tokenizer.ggml.add_space_prefix", "tokenizer.ggml.add_bos_token",
                                "tokenizer.ggml.add_eos_token"})
    if (file.has(key) && file.metadata().at(key) != GgufFile::Value(false))
      fail(spec.source, ": ", key, " is not supported; it has to be false");

  read_gguf_tokens(file, spec);
  MergeList merges(spec);
  for (const std::string& merge : file.texts("tokenizer.ggml.merges")) merges.add(merge);
  const auto eos = gguf_id(file, "tokenizer.ggml.eos_token_id", spec.tokens.size());
  if (!eos) fail(spec.source, ": metadata key 'tokenizer.ggml.eos_token_id' is missing");
  spec.eos = *eos;
  spec.bos = gguf_id(file, "tokenizer.ggml.bos_token_id", spec.tokens.size());
  spec.pad = gguf_id(file, "tokenizer.ggml.padding_token_id", spec.tokens.size());
  if (file.has("tokenizer.chat_template"))
    spec.chat_template = file.text("tokenizer.chat_template");
  finish_spec(spec);
  return spec;
}

TokenizerSpec spec_from_characters(const std::string& characters, const std::string& end) {
  TokenizerSpec spec;
  spec.source = "character tokenizer";
  spec.characters = true;
  for (size_t i = 0; i < characters.size();) {
    const size_t length = character_length(std::string_view(characters).substr(i));
    if (length == 0) fail(spec.source, ": byte ", i, " of the characters is not UTF-8");
    const std::string character = characters.substr(i, length);
    if (character == end) spec.eos = static_cast<int32_t>(spec.tokens.size());
    spec.tokens.push_back(character);
    i += length;
  }
  if (spec.eos < 0) fail(spec.source, ": the end token '", end, "' is not one of the characters");
  spec.pad = static_cast<int32_t>(spec.tokens.size());
  spec.tokens.emplace_back(kPad);
  spec.num_vocabulary = static_cast<int32_t>(spec.tokens.size());
  finish_spec(spec);
  return spec;
}

std::string kind_of(const TokenizerSpec& spec) {
  if (spec.characters) return "characters";
  using Kind = PretokenizerStep::Kind;
  if (!spec.gpt2_regex || spec.nfc || spec.steps.size() > 1) return "regex";
  if (spec.steps.empty()) return "gpt2";
  return spec.steps[0].kind == Kind::digit ? "smollm" : "regex";
}

MergeList::MergeList(TokenizerSpec& spec) : spec_(spec) {
  for (int32_t id = 0; id < spec.num_vocabulary; ++id)
    ids_.emplace(spec.tokens[static_cast<size_t>(id)], id);
}

void MergeList::refuse(const std::string& merge, std::string_view why) const {
  fail(spec_.source, ": merge ", spec_.merges.size(), " ('", merge, "') ", why);
}

int32_t MergeList::find(const std::string& token, const std::string& merge) const {
  const auto found = ids_.find(token);
  if (found == ids_.end())
    refuse(merge, cat("needs '", token, "', which is not in the vocabulary"));
  return found->second;
}

void MergeList::add(const std::string& left, const std::string& right) {
  const std::string both = cat(left, " ", right);
  if (std::count(both.begin(), both.end(), ' ') != 1) refuse(both, "is not two tokens");
  const Merge merge{find(left, both), find(right, both), find(left + right, both)};
  if (!known_.insert(pair_key(merge.left, merge.right)).second) refuse(both, "stands twice");
  spec_.merges.push_back(merge);
}

void MergeList::add(const std::string& both) {
  const size_t space = both.find(' ');
  if (space == std::string::npos) refuse(both, "is not two tokens");
  add(both.substr(0, space), both.substr(space + 1));
}

void finish_spec(TokenizerSpec& spec) {
  std::set<std::string_view> seen;
  for (const std::string& token : spec.tokens) {
    if (token.empty()) fail(spec.source, ": token ", seen.size(), " is empty");
    if (!is_utf8(token)) fail(spec.source, ": token ", seen.size(), " is not UTF-8");
    if (!seen.insert(token).second)
      fail(spec.source, ": token '", token, "' stands twice in the vocabulary");
  }
  if (!spec.characters && spec.merges.empty())
    fail(spec.source, ": the vocabulary has no merges, and byte-pair encoding needs them");
  add_if_missing(spec, spec.eos);
  add_if_missing(spec, spec.bos);
  add_if_missing(spec, spec.pad);
  std::sort(spec.added.begin(), spec.added.end(),
            [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
  for (size_t i = 0; i < spec.added.size(); ++i) {
    const AddedToken& token = spec.added[i];
    if (i > 0 && spec.added[i - 1].id == token.id)
      fail(spec.source, ": added token '", token.content, "' stands twice");
    if (token.content.size() > kMaxAddedToken)
      fail(spec.source, ": added token ", token.id, " has ", token.content.size(), " bytes; up to ",
           kMaxAddedToken, " are allowed");
  }
}

}  // namespace vernier
