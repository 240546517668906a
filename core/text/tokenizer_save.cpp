// Writes a tokenizer as a Hugging Face folder.
#include <algorithm>

#include "core/base/errors.h"
#include "core/base/files.h"
#include "core/base/json.h"
#include "core/text/patterns.h"
#include "core/text/tokenizer_spec.h"

namespace vernier {
namespace {

using Model = TokenizerSpec::Model;

// What `transformers` takes for "no limit".
constexpr double kNoLimit = 1e30;

Json byte_level(bool regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", true},
          {"use_regex", regex}};
}

Json split(const std::string& regex) {
  return {{"type", "Split"},
          {"pattern", {{"Regex", regex}}},
          {"behavior", "Isolated"},
          {"invert", false}};
}

Json pre_tokenizer(const TokenizerSpec& spec) {
  if (spec.model == Model::characters) return split(kAnyCharacter);
  if (spec.steps.empty()) return byte_level(spec.gpt2_regex);
  using Kind = PretokenizerStep::Kind;
  Json list = Json::array();
  for (const PretokenizerStep& step : spec.steps) {
    ensure(step.kind != Kind::literal && step.behavior == SplitBehavior::isolated && !step.invert,
           "a cut that GGUF files have, as others come with their tokenizer.json");
    if (step.kind == Kind::regex)
      list.push_back(split(step.pattern));
    else
      list.push_back({{"type", "Digits"}, {"individual_digits", step.kind == Kind::digit}});
  }
  list.push_back(byte_level(spec.gpt2_regex));
  return {{"type", "Sequence"}, {"pretokenizers", std::move(list)}};
}

const std::string& token_at(const TokenizerSpec& spec, int32_t id) {
  return spec.tokens[static_cast<size_t>(id)];
}

Json model(const TokenizerSpec& spec) {
  Json::object_t vocabulary;  // filled past the search for keys, which looks at all of them
  vocabulary.reserve(spec.tokens.size());
  for (size_t id = 0; id < spec.tokens.size(); ++id)
    if (spec.in_model[id]) vocabulary.emplace_back(spec.tokens[id], id);
  // Without an entry for it in the vocabulary, an unknown character is an error there as here.
  if (spec.model == Model::characters)
    return {{"type", "WordLevel"}, {"vocab", std::move(vocabulary)}, {"unk_token", "<unk>"}};
  Json merges = Json::array();
  for (const Merge& merge : spec.merges)
    merges.push_back(cat(token_at(spec, merge.left), " ", token_at(spec, merge.right)));
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", nullptr},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", false},
          {"byte_fallback", false},
          {"ignore_merges", spec.ignore_merges},
          {"vocab", std::move(vocabulary)},
          {"merges", std::move(merges)}};
}

Json added_tokens(const TokenizerSpec& spec) {
  Json list = Json::array();
  for (const AddedToken& token : spec.added)
    list.push_back({{"id", token.id},
                    {"content", token.content},
                    {"single_word", token.single_word},
                    {"lstrip", token.lstrip},
                    {"rstrip", token.rstrip},
                    {"normalized", token.normalized},
                    {"special", token.special}});
  return list;
}

// Special tokens around a text; none of it where there are none.
Json post_processor(const TokenizerSpec& spec) {
  if (spec.prefix.empty() && spec.suffix.empty()) return nullptr;
  Json single = Json::array(), tokens = Json::object();
  const auto add = [&](int32_t id) {
    const std::string& token = token_at(spec, id);
    single.push_back({{"SpecialToken", {{"id", token}, {"type_id", 0}}}});
    tokens[token] = {{"id", token}, {"ids", {id}}, {"tokens", {token}}};
  };
  const auto text = [](const char* which) {
    return Json{{"Sequence", {{"id", which}, {"type_id", 0}}}};
  };
  for (const int32_t id : spec.prefix) add(id);
  single.push_back(text("A"));
  for (const int32_t id : spec.suffix) add(id);
  Json pair = single;
  pair.push_back(text("B"));
  return {{"type", "TemplateProcessing"},
          {"single", std::move(single)},
          {"pair", std::move(pair)},
          {"special_tokens", std::move(tokens)}};
}

Json normalizer(const TokenizerSpec& spec) {
  if (spec.normalizer.empty()) return nullptr;
  ensure(spec.normalizer.size() == 1 && spec.normalizer[0].kind == NormalizerStep::Kind::nfc,
         "the normalizer that GGUF files have, as others come with their tokenizer.json");
  return Json::object({{"type", "NFC"}});
}

// Of a tokenizer that came from GGUF's own keys or from characters: those of files keep the files.
Json tokenizer_file(const TokenizerSpec& spec) {
  ensure(spec.model != Model::text, "a tokenizer on bytes or of one id a character");
  const bool characters = spec.model == Model::characters;
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", added_tokens(spec)},
          {"normalizer", normalizer(spec)},
          {"pre_tokenizer", pre_tokenizer(spec)},
          {"post_processor", post_processor(spec)},
          {"decoder", characters ? Json{{"type", "Fuse"}} : byte_level(true)},
          {"model", model(spec)}};
}

Json config_file(const TokenizerSpec& spec) {
  ensure(spec.eos.has_value(), "an end token, which GGUF files and characters have");
  Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                 {"clean_up_tokenization_spaces", false},
                 {"model_max_length", kNoLimit},
                 {"eos_token", token_at(spec, *spec.eos)}};
  if (spec.bos) config["bos_token"] = token_at(spec, *spec.bos);
  if (spec.pad) config["pad_token"] = token_at(spec, *spec.pad);
  if (!spec.chat_template.empty()) config["chat_template"] = spec.chat_template;
  return config;
}

void write(const std::filesystem::path& path, const Json& json) {
  write_file(path, json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

}  // namespace

void write_spec(const TokenizerSpec& spec, const std::filesystem::path& folder) {
  const std::vector<std::string>& known = tokenizer_files();
  for (const auto& [name, content] : spec.files) {
    ensure(std::find(known.begin(), known.end(), name) != known.end(), "a file of a tokenizer");
    write_file(folder / name, content);
  }
  if (!spec.files.empty()) return;
  write(folder / "tokenizer.json", tokenizer_file(spec));
  write(folder / "tokenizer_config.json", config_file(spec));
}

}  // namespace vernier
