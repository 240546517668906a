// Writes a tokenizer as GGUF metadata: llama.cpp's keys, and the files it came from.
#include <algorithm>

#include "core/base/errors.h"
#include "core/text/patterns.h"
#include "core/text/tokenizer_gguf.h"

namespace vernier {
namespace {

// The name that stands for what this tokenizer does before its merges, and for nothing else.
std::string pre_of(const TokenizerSpec& spec) {
  std::vector<std::string> known, near;
  for (const GgufPre& pre : gguf_pres()) {
    known.push_back(pre.name);
    if (pre.gpt2_regex != spec.gpt2_regex || pre.steps != spec.steps) continue;
    const bool normal = pre.normalizer == spec.normalizer;
    if (normal && pre.ignore_merges == spec.ignore_merges) return pre.name;
    near.push_back(cat(pre.name, " has ",
                       normal ? cat("ignore_merges ", pre.ignore_merges ? "true" : "false")
                              : std::string("another normalizer")));
  }
  if (near.empty())
    fail(spec.source, ": GGUF cannot say the cuts of this tokenizer, of kind '", kind_of(spec),
         "'; its names for cuts are ", join(known));
  fail(spec.source, ": GGUF cannot say this tokenizer: of the names with its cuts, ", join(near));
}

// Whether llama.cpp's tokenizer "llama" has to put a space before a text. All that it does is that,
// marks in place of spaces, merges of the whole text, and bytes for what is unknown.
bool has_space_prefix(const TokenizerSpec& spec) {
  const auto refuse = [&](const char* what) {
    fail(spec.source, ": GGUF cannot say this tokenizer: its model 'llama' has no ", what);
  };
  if (spec.ignore_merges) refuse("ignore_merges");
  if (!spec.byte_fallback) refuse("unknown tokens in place of bytes: byte_fallback is false");
  if (spec.metaspace) {
    if (spec.metaspace->mark != kSpaceMark) refuse("other mark of a space than U+2581");
    if (!spec.normalizer.empty()) refuse("normalizer besides Metaspace");
    const auto crosses = [&](const Merge& merge) {
      return spec.tokens[static_cast<size_t>(merge.right)].starts_with(kSpaceMark);
    };
    if (spec.metaspace->split && std::any_of(spec.merges.begin(), spec.merges.end(), crosses))
      refuse("cuts at spaces, which Metaspace makes across merges");
    return spec.metaspace->prepend != Metaspace::Prepend::never;
  }
  using Kind = NormalizerStep::Kind;
  const NormalizerStep prepend{.kind = Kind::prepend, .content = kSpaceMark};
  const NormalizerStep replace{.kind = Kind::replace, .pattern = " ", .content = kSpaceMark};
  const bool space = spec.normalizer == std::vector{prepend, replace};
  if (!space && spec.normalizer != std::vector{replace})
    refuse("normalizer but those that make U+2581 of spaces");
  // Gemma's cut at spaces, of which that leaves none, is none.
  const bool uncut = spec.steps.empty() || (spec.steps.size() == 1 &&
                                            spec.steps[0].kind == PretokenizerStep::Kind::literal &&
                                            spec.steps[0].pattern == " " && !spec.steps[0].invert);
  if (!uncut) refuse("cuts before its merges");
  return space;
}

bool is_byte_token(const std::string& token) {
  return token.size() == 6 && token.starts_with("<0x") && token.ends_with('>');
}

// Tokens up to the model's vocabulary, which may be larger, and their types.
void add_tokens(const TokenizerSpec& spec, int64_t vocabulary, GgufMetadata& out) {
  std::vector<std::string> tokens = spec.tokens;
  std::vector<int64_t> types(tokens.size(), kNormalToken);
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (spec.model == TokenizerSpec::Model::text && is_byte_token(tokens[i])) types[i] = kByteToken;
    if (static_cast<int32_t>(i) == spec.unknown) types[i] = kUnknownToken;
  }
  for (const AddedToken& token : spec.added) {
    int64_t& type = types[static_cast<size_t>(token.id)];
    if (type != kUnknownToken) type = token.special ? kControlToken : kUserDefinedToken;
  }
  for (int64_t id = 0; id < vocabulary; ++id) {
    const auto i = static_cast<size_t>(id);
    if (i < tokens.size() && !tokens[i].empty()) continue;
    if (i == tokens.size()) {
      tokens.emplace_back();
      types.push_back(kUnusedToken);
    }
    tokens[i] = cat("[PAD", id, "]");  // what llama.cpp's converter writes
    types[i] = kUnusedToken;
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
    out.emplace_back("tokenizer.ggml.add_space_prefix", has_space_prefix(spec));
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
