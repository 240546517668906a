// Writes a tokenizer as GGUF metadata: llama.cpp's keys, and the files it came from.
#include <algorithm>
#include <map>

#include "core/base/errors.h"
#include "core/text/tokenizer_spec.h"

namespace vernier {
namespace {

// Types of tokens.
constexpr int64_t kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6;

// What llama.cpp calls the cuts of a kind of tokenizer.
std::string pre_of(const TokenizerSpec& spec) {
  static const std::map<std::string, std::string> kNames = {{"gpt2", "gpt-2"},
                                                            {"smollm", "smollm"},
                                                            {"olmo", "olmo"},
                                                            {"llama3", "llama-bpe"},
                                                            {"qwen2", "qwen2"}};
  const std::string kind = kind_of(spec);
  const auto found = kNames.find(kind);
  if (found != kNames.end()) return found->second;
  std::vector<std::string> known = {"metaspace"};
  for (const auto& [name, unused] : kNames) known.push_back(name);
  fail(spec.source, ": GGUF has no name for a tokenizer of kind '", kind, "'; it has for ",
       join(known));
}

bool is_byte_token(const std::string& token) {
  return token.size() == 6 && token.starts_with("<0x") && token.ends_with('>');
}

// Tokens up to the model's vocabulary, which may be larger, and their types.
void add_tokens(const TokenizerSpec& spec, int64_t vocabulary, GgufMetadata& out) {
  std::vector<std::string> tokens = spec.tokens;
  std::vector<int64_t> types(tokens.size(), kNormal);
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (spec.model == TokenizerSpec::Model::text && is_byte_token(tokens[i])) types[i] = kByte;
    if (static_cast<int32_t>(i) == spec.unknown) types[i] = kUnknown;
  }
  for (const AddedToken& token : spec.added) {
    int64_t& type = types[static_cast<size_t>(token.id)];
    if (type != kUnknown) type = token.special ? kControl : kUserDefined;
  }
  for (int64_t id = 0; id < vocabulary; ++id) {
    const auto i = static_cast<size_t>(id);
    if (i < tokens.size() && !tokens[i].empty()) continue;
    if (i == tokens.size()) {
      tokens.emplace_back();
      types.push_back(kUnused);
    }
    tokens[i] = cat("[PAD", id, "]");  // what llama.cpp's converter writes
    types[i] = kUnused;
  }
  out.emplace_back("tokenizer.ggml.tokens", GgufFile::Array(std::move(tokens)));
  out.emplace_back("tokenizer.ggml.token_type", GgufFile::Array(std::move(types)));
}

// llama.cpp's tokenizer "llama" joins the pair with the best score of its product first. Merges are
// in the order of their products' scores, so the first merge that makes a token gives one.
void add_scores(const TokenizerSpec& spec, int64_t vocabulary, GgufMetadata& out) {
  std::vector<double> scores(static_cast<size_t>(vocabulary), 0.0);
  std::vector<bool> seen(scores.size(), false);
  double rank = 0;
  for (const Merge& merge : spec.merges) {
    const auto product = static_cast<size_t>(merge.product);
    rank += 1;
    if (!seen[product]) scores[product] = -rank;
    seen[product] = true;
  }
  out.emplace_back("tokenizer.ggml.scores", GgufFile::Array(std::move(scores)));
}

void add_merges(const TokenizerSpec& spec, GgufMetadata& out) {
  std::vector<std::string> merges;
  for (const Merge& merge : spec.merges) {
    const std::string &left = spec.tokens[static_cast<size_t>(merge.left)],
                      &right = spec.tokens[static_cast<size_t>(merge.right)];
    if ((left + right).find(' ') != std::string::npos)
      fail(spec.source, ": merge of '", left, "' and '", right,
           "' has a space, which GGUF cannot say");
    merges.push_back(cat(left, " ", right));
  }
  out.emplace_back("tokenizer.ggml.merges", GgufFile::Array(std::move(merges)));
}

void add_around(const TokenizerSpec& spec, GgufMetadata& out) {
  const auto is = [](const std::vector<int32_t>& around, std::optional<int32_t> token) {
    return token && around == std::vector<int32_t>{*token};
  };
  if ((!spec.prefix.empty() && !is(spec.prefix, spec.bos)) ||
      (!spec.suffix.empty() && !is(spec.suffix, spec.eos)))
    fail(spec.source,
         ": GGUF can put the begin token before a text and the end token after it; "
         "this tokenizer puts other tokens there");
  out.emplace_back("tokenizer.ggml.add_bos_token", !spec.prefix.empty());
  out.emplace_back("tokenizer.ggml.add_eos_token", !spec.suffix.empty());
}

}  // namespace

GgufMetadata gguf_metadata(const TokenizerSpec& spec, int64_t vocabulary) {
  if (spec.model == TokenizerSpec::Model::characters)
    fail(spec.source, ": a tokenizer of one id a character has no form in GGUF");
  GgufMetadata out;
  if (spec.model == TokenizerSpec::Model::text) {
    out.emplace_back("tokenizer.ggml.model", std::string("llama"));
    out.emplace_back("tokenizer.ggml.pre", std::string("default"));
    add_tokens(spec, vocabulary, out);
    add_scores(spec, vocabulary, out);
    const bool space = !spec.metaspace || spec.metaspace->prepend != Metaspace::Prepend::never;
    out.emplace_back("tokenizer.ggml.add_space_prefix", space);
  } else {
    out.emplace_back("tokenizer.ggml.model", std::string("gpt2"));
    out.emplace_back("tokenizer.ggml.pre", pre_of(spec));
    add_tokens(spec, vocabulary, out);
    add_merges(spec, out);
  }
  const auto id = [&](const char* key, std::optional<int32_t> token) {
    if (token) out.emplace_back(key, int64_t{*token});
  };
  id("tokenizer.ggml.bos_token_id", spec.bos);
  id("tokenizer.ggml.eos_token_id", spec.eos ? *spec.eos : spec.ends.at(0));
  id("tokenizer.ggml.padding_token_id", spec.pad);
  add_around(spec, out);
  if (!spec.chat_template.empty()) out.emplace_back("tokenizer.chat_template", spec.chat_template);
  for (const auto& [name, text] : spec.files) out.emplace_back(gguf_file_key(name), text);
  return out;
}

}  // namespace vernier
