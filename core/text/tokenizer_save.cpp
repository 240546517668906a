// Writes a tokenizer as a Hugging Face folder.
#include "core/base/errors.h"
#include "core/base/files.h"
#include "core/base/json.h"
#include "core/text/tokenizer_spec.h"

namespace vernier {
namespace {

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
  if (spec.characters) return split("[\\s\\S]");
  if (spec.steps.empty()) return byte_level(spec.gpt2_regex);
  using Kind = PretokenizerStep::Kind;
  Json list = Json::array();
  for (const PretokenizerStep& step : spec.steps) {
    if (step.kind == Kind::regex)
      list.push_back(split(step.regex));
    else
      list.push_back({{"type", "Digits"}, {"individual_digits", step.kind == Kind::digit}});
  }
  list.push_back(byte_level(spec.gpt2_regex));
  return {{"type", "Sequence"}, {"pretokenizers", std::move(list)}};
}

Json model(const TokenizerSpec& spec) {
  const auto token = [&](int32_t id) -> const std::string& {
    return spec.tokens[static_cast<size_t>(id)];
  };
  Json::object_t vocabulary;  // filled past the search for keys, which looks at all of them
  vocabulary.reserve(spec.tokens.size());
  for (int32_t id = 0; id < spec.num_vocabulary; ++id) vocabulary.emplace_back(token(id), id);
  // Without an entry for it in the vocabulary, an unknown character is an error there as here.
  if (spec.characters)
    return {{"type", "WordLevel"}, {"vocab", std::move(vocabulary)}, {"unk_token", "<unk>"}};
  Json merges = Json::array();
  for (const Merge& merge : spec.merges)
    merges.push_back(cat(token(merge.left), " ", token(merge.right)));
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", nullptr},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", false},
          {"byte_fallback", false},
          {"ignore_merges", false},
          {"vocab", std::move(vocabulary)},
          {"merges", std::move(merges)}};
}

Json added_tokens(const TokenizerSpec& spec) {
  Json list = Json::array();
  for (const AddedToken& token : spec.added)
    list.push_back({{"id", token.id},
                    {"content", token.content},
                    {"single_word", false},
                    {"lstrip", false},
                    {"rstrip", false},
                    {"normalized", token.normalized},
                    {"special", token.special}});
  return list;
}

Json tokenizer_file(const TokenizerSpec& spec) {
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", added_tokens(spec)},
          {"normalizer", spec.nfc ? Json{{"type", "NFC"}} : Json()},
          {"pre_tokenizer", pre_tokenizer(spec)},
          {"post_processor", nullptr},
          {"decoder", spec.characters ? Json{{"type", "Fuse"}} : byte_level(true)},
          {"model", model(spec)}};
}

Json config_file(const TokenizerSpec& spec) {
  const auto token = [&](int32_t id) { return spec.tokens[static_cast<size_t>(id)]; };
  Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                 {"clean_up_tokenization_spaces", false},
                 {"model_max_length", kNoLimit},
                 {"eos_token", token(spec.eos)}};
  if (spec.bos) config["bos_token"] = token(*spec.bos);
  if (spec.pad) config["pad_token"] = token(*spec.pad);
  if (!spec.chat_template.empty()) config["chat_template"] = spec.chat_template;
  return config;
}

void write(const std::filesystem::path& path, const Json& json) {
  write_file(path, json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

}  // namespace

void write_spec(const TokenizerSpec& spec, const std::filesystem::path& folder) {
  write(folder / "tokenizer.json", tokenizer_file(spec));
  write(folder / "tokenizer_config.json", config_file(spec));
}

}  // namespace vernier
