#include "core/text/tokenizer_spec.h"

#include <algorithm>
#include <unordered_set>

#include "core/base/errors.h"
#include "core/base/text.h"
#include "core/text/patterns.h"
#include "core/text/unicode.h"

namespace vernier {
namespace {

// Longer ones could make the search for them quadratic.
constexpr size_t kMaxAddedToken = 512;
constexpr const char* kPad = "<pad>";

void add_if_missing(TokenizerSpec& spec, std::optional<int32_t> id) {
  if (!id) return;
  for (const AddedToken& token : spec.added)
    if (token.id == *id) return;
  spec.added.push_back(
      {.content = spec.tokens[static_cast<size_t>(*id)], .id = *id, .special = true});
}

void check_tokens(const TokenizerSpec& spec) {
  std::unordered_set<std::string_view> seen;
  seen.reserve(spec.tokens.size());
  for (size_t id = 0; id < spec.tokens.size(); ++id) {
    const std::string& token = spec.tokens[id];
    if (token.empty()) continue;  // an unused id
    if (!is_utf8(token)) fail(spec.source, ": token ", id, " is not UTF-8");
    if (!seen.insert(token).second)
      fail(spec.source, ": token '", token, "' stands twice in the vocabulary");
  }
}

bool is_one_regex(const TokenizerSpec& spec, const char* regex) {
  return !spec.gpt2_regex && spec.steps.size() == 1 &&
         spec.steps[0] == PretokenizerStep{PretokenizerStep::Kind::regex, regex};
}

bool is_deepseek(const TokenizerSpec& spec) {
  std::vector<PretokenizerStep> steps;
  for (const char* regex : kDeepSeekRegexes)
    steps.push_back({PretokenizerStep::Kind::regex, regex});
  return !spec.gpt2_regex && spec.steps == steps;
}

bool has_marks(const TokenizerSpec& spec) {
  return spec.metaspace ||
         std::any_of(spec.normalizer.begin(), spec.normalizer.end(), [](const auto& step) {
           return step.kind == NormalizerStep::Kind::replace && step.content == kSpaceMark;
         });
}

}  // namespace

TokenizerSpec spec_from_characters(const std::string& characters, const std::string& end) {
  TokenizerSpec spec;
  spec.source = "character tokenizer";
  spec.model = TokenizerSpec::Model::characters;
  spec.gpt2_regex = false;
  for (size_t i = 0; i < characters.size();) {
    const size_t length = character_length(std::string_view(characters).substr(i));
    if (length == 0) fail(spec.source, ": byte ", i, " of the characters is not UTF-8");
    const std::string character = characters.substr(i, length);
    if (character == end) spec.eos = static_cast<int32_t>(spec.tokens.size());
    spec.tokens.push_back(character);
    i += length;
  }
  if (!spec.eos) fail(spec.source, ": the end token '", end, "' is not one of the characters");
  spec.ends = {*spec.eos};
  spec.pad = static_cast<int32_t>(spec.tokens.size());
  spec.tokens.emplace_back(kPad);
  spec.in_model.assign(spec.tokens.size(), true);
  finish_spec(spec);
  return spec;
}

std::string kind_of(const TokenizerSpec& spec) {
  if (spec.model == TokenizerSpec::Model::characters) return "characters";
  if (spec.model == TokenizerSpec::Model::text) return has_marks(spec) ? "metaspace" : "regex";
  const bool from_deepseek =
      std::any_of(spec.added.begin(), spec.added.end(),
                  [](const AddedToken& token) { return token.content == kDeepSeekBegin; });
  if (is_deepseek(spec)) return "deepseek-r1";
  if (is_one_regex(spec, kLlama3Regex)) return from_deepseek ? "deepseek-r1" : "llama3";
  if (is_one_regex(spec, kQwen2Regex)) return from_deepseek ? "deepseek-r1" : "qwen2";
  if (!spec.gpt2_regex) return "regex";
  if (spec.steps.empty() && spec.normalizer.empty()) return "gpt2";
  if (spec.steps.empty() && spec.normalizer.size() == 1)
    return spec.normalizer[0].kind == NormalizerStep::Kind::nfc ? "olmo" : "regex";
  const bool digits = spec.steps.size() == 1 && spec.normalizer.empty() &&
                      spec.steps[0].kind == PretokenizerStep::Kind::digit;
  return digits ? "smollm" : "regex";
}

MergeList::MergeList(TokenizerSpec& spec) : spec_(spec) {
  ids_.reserve(spec.tokens.size());
  for (size_t id = 0; id < spec.tokens.size(); ++id)
    if (!spec.tokens[id].empty()) ids_.emplace(spec.tokens[id], static_cast<int32_t>(id));
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
  const Merge merge{find(left, both), find(right, both), find(left + right, both)};
  if (!known_.insert(pair_key(merge.left, merge.right)).second) refuse(both, "stands twice");
  spec_.merges.push_back(merge);
}

void MergeList::add(const std::string& both) {
  const size_t space = both.find(' ');
  if (space == std::string::npos || both.find(' ', space + 1) != std::string::npos)
    refuse(both, "is not two tokens");
  add(both.substr(0, space), both.substr(space + 1));
}

void finish_spec(TokenizerSpec& spec) {
  check_tokens(spec);
  if (spec.model != TokenizerSpec::Model::characters && spec.merges.empty())
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
