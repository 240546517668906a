// Tokenizers.
#include <doctest/doctest.h>
#include <unistd.h>

#include <functional>
#include <map>
#include <source_location>

#include "core/base/errors.h"
#include "core/base/files.h"
#include "core/base/json.h"
#include "core/text/bpe.h"
#include "core/text/tokenizer.h"
#include "core/weights/weights.h"
#include "tests/testing.h"

#ifndef VERNIER_SMOLLM2_GGUF  // path of SmolLM2-135M-Instruct; tests that need it skip without it
#define VERNIER_SMOLLM2_GGUF ""
#endif

namespace vernier {
namespace {

using Ids = std::vector<int32_t>;

const fs::path kCases =
    fs::path(std::source_location::current().file_name()).parent_path() / "cases";

using testing::TemporaryFolder;

// The bytes as ids 0 to 255 and a few merges; ids 256 and up as listed.
Json small_tokenizer() {
  Json vocabulary = Json::object();
  for (int byte = 0; byte < 256; ++byte)
    vocabulary[std::string(byte_symbol(static_cast<uint8_t>(byte)))] = byte;
  for (const char* token : {"he", "ll", "hell", "hello", "aa", "aaaa", "Ġw", "12", "Ã©"})
    vocabulary[token] = vocabulary.size();  // 256 .. 264
  Json added = Json::array();
  const auto add = [&](const char* content, bool special, bool normalized) {
    added.push_back({{"id", vocabulary.size() + added.size()},
                     {"content", content},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", normalized},
                     {"special", special}});
  };
  add("<|end|>", true, false);     // 265
  add("<|end|><|x", true, false);  // 266
  add("<|begin|>", true, false);   // 267
  add("é!", false, true);          // 268
  add("  ", false, false);         // 269
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", added},
          {"normalizer", nullptr},
          {"pre_tokenizer",
           {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}}},
          {"post_processor", nullptr},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"ignore_merges", false},
            {"vocab", vocabulary},
            {"merges", {"h e", "l l", "he ll", "hell o", "a a", "aa aa", "Ġ w", "1 2", "Ã ©"}}}}};
}

Tokenizer load(const TemporaryFolder& folder, const Json& tokenizer, const Json& config) {
  write_file(folder.path() / "tokenizer.json", dump_json(tokenizer));
  write_file(folder.path() / "tokenizer_config.json", dump_json(config));
  return Tokenizer::from_folder(folder.path());
}

Tokenizer load(const Json& tokenizer) {
  const TemporaryFolder folder;
  return load(folder, tokenizer, {{"eos_token", "<|end|>"}});
}

std::string load_error(const Json& tokenizer, const Json& config) {
  const TemporaryFolder folder;
  try {
    load(folder, tokenizer, config);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

// The small tokenizer with the value at `pointer` replaced.
Json changed(const char* pointer, const char* value) {
  Json tokenizer = small_tokenizer();
  tokenizer[Json::json_pointer(pointer)] = Json::parse(value);
  return tokenizer;
}

bool have_smollm2() {
  if (fs::exists(VERNIER_SMOLLM2_GGUF)) return true;
  MESSAGE("skipped: no SmolLM2-135M-Instruct at '", VERNIER_SMOLLM2_GGUF, "'");
  return false;
}

TEST_CASE("bytes have printable symbols") {
  CHECK(byte_symbol('a') == "a");
  CHECK(byte_symbol(' ') == "Ġ");
  CHECK(byte_symbol('\n') == "Ċ");
  CHECK(byte_symbol(0) == "Ā");
  CHECK(byte_symbol(0xAD) == "Ń");
  CHECK(byte_symbol(0xFF) == "ÿ");
  std::string all, symbols;
  for (int byte = 0; byte < 256; ++byte) {
    all += static_cast<char>(byte);
    symbols += byte_symbol(static_cast<uint8_t>(byte));
  }
  CHECK(bytes_of_token(symbols) == all);
  CHECK(bytes_of_token("a b") == "a b");  // a space is no symbol
  CHECK(bytes_of_token("Ġ猫") == "Ġ猫");
}

TEST_CASE("merges go by rank, then from the left") {
  const Tokenizer tokenizer = load(small_tokenizer());
  CHECK(tokenizer.kind() == "gpt2");
  CHECK(tokenizer.size() == 270);
  CHECK(tokenizer.encode("hello") == Ids{259});
  CHECK(tokenizer.encode("hell") == Ids{258});
  CHECK(tokenizer.encode("helo") == Ids{256, 'l', 'o'});
  CHECK(tokenizer.encode("aaa") == Ids{260, 'a'});
  CHECK(tokenizer.encode("aaaaa") == Ids{261, 'a'});
  CHECK(tokenizer.encode("aaaaaa") == Ids{261, 260});
  CHECK(tokenizer.encode("hello w") == Ids{259, 262});
  CHECK(tokenizer.encode("12") == Ids{263});
  CHECK(tokenizer.encode("é") == Ids{264});
  CHECK(tokenizer.encode("").empty());
  CHECK(tokenizer.decode({}).empty());
  CHECK(tokenizer.id_of("hello") == 259);
  CHECK(tokenizer.id_of("<|end|>") == 265);
  CHECK(!tokenizer.id_of("nothing"));
  CHECK_THROWS_WITH_AS(tokenizer.decode(Ids{270}),
                       "token id 270 is outside the vocabulary of 270 tokens", UsageError);
  CHECK_THROWS_AS(tokenizer.decode(Ids{-1}), UsageError);
}

TEST_CASE("merges are read in both spellings") {
  Json pairs = small_tokenizer();
  for (Json& merge : pairs["model"]["merges"]) {
    const std::string text = merge;
    const size_t space = text.find(' ');
    merge = {text.substr(0, space), text.substr(space + 1)};
  }
  const Tokenizer tokenizer = load(pairs);
  CHECK(tokenizer.encode("hello aaaa w12") == load(small_tokenizer()).encode("hello aaaa w12"));
  CHECK(tokenizer.encode("hello") == Ids{259});
}

TEST_CASE("special tokens are found in the text, the longest first") {
  const Tokenizer tokenizer = load(small_tokenizer());
  CHECK(tokenizer.encode("<|end|>") == Ids{265});
  CHECK(tokenizer.encode("hello<|end|><|end|>aa") == Ids{259, 265, 265, 260});
  CHECK(tokenizer.encode("<|end|><|x") == Ids{266});
  CHECK(tokenizer.encode("<|end|><|begin|>") == Ids{265, 267});
  CHECK(tokenizer.encode("<|end|") == Ids{'<', '|', 'e', 'n', 'd', '|'});
  CHECK(tokenizer.encode("<|<|end|>") == Ids{'<', '|', 265});
  CHECK(tokenizer.encode("a   b") == Ids{'a', 269, ' ', 'b'});
  CHECK(tokenizer.encode("é!") == Ids{268});
  for (const Ids& ids : {Ids{265, 'a', 267}, Ids{269, 266}}) {
    CHECK(tokenizer.encode(tokenizer.decode(ids)) == ids);
  }
  CHECK(tokenizer.decode(Ids{269, 268}) == "  \xE9!");  // symbols of bytes, as in tokenizers
}

TEST_CASE("normalisation form C comes first where the file asks for it") {
  Json tokenizer = changed("/normalizer", R"({"type":"NFC"})");
  const Tokenizer nfc = load(tokenizer), plain = load(small_tokenizer());
  CHECK(nfc.encode("e\u0301") == Ids{264});
  CHECK(nfc.encode("e\u0301!") == Ids{268});  // a normalised added token
  CHECK(plain.encode("e\u0301") == Ids{'e', 0xCC, 0x81});
  CHECK(nfc.decode(nfc.encode("a\u0301\u0323")) == "\u1EA1\u0301");  // marks change places
  CHECK(nfc.decode(nfc.encode("\u1100\u1161\u11A8")) == "\uAC01");
  CHECK(nfc.decode(nfc.encode("\u212B\u0344\u0958")) == "\u00C5\u0308\u0301\u0915\u093C");
  std::string marks = "x";
  for (int i = 0; i < 50'000; ++i) marks += "\u0301\u0323";
  CHECK(nfc.decode(nfc.encode(marks)).starts_with("x\u0323\u0323"));
}

TEST_CASE("expressions of a file cut the text") {
  const char* split = R"({"type":"Sequence","pretokenizers":[
    {"type":"Split","pattern":{"Regex":"\\s+|[^\\s]"},"behavior":"Isolated","invert":false},
    {"type":"ByteLevel","add_prefix_space":false,"trim_offsets":false,"use_regex":false}]})";
  const Tokenizer tokenizer = load(changed("/pre_tokenizer", split));
  CHECK(tokenizer.kind() == "regex");
  CHECK(tokenizer.encode("aa w12") == Ids{'a', 'a', ' ', 'w', '1', '2'});
  const char* digits = R"({"type":"Sequence","pretokenizers":[
    {"type":"Digits","individual_digits":true},
    {"type":"ByteLevel","add_prefix_space":false,"use_regex":true}]})";
  CHECK(load(changed("/pre_tokenizer", digits)).encode("aa12") == Ids{260, '1', '2'});
  CHECK(load(changed("/pre_tokenizer", digits)).kind() == "smollm");
  const char* runs = R"({"type":"Sequence","pretokenizers":[{"type":"Digits"},
    {"type":"ByteLevel","add_prefix_space":false,"use_regex":true}]})";
  CHECK(load(changed("/pre_tokenizer", runs)).encode("aa12") == Ids{260, 263});
}

TEST_CASE("bytes that are not UTF-8 come back") {
  const Tokenizer tokenizer = load(small_tokenizer());
  for (const std::string_view text :
       {"\xFF", "a\xC3", "\xE2\x82", "h\x80llo\xF0\x9F", "\xED\xA0\x80 aa", "\xC0\x80<|end|>\xF5"})
    CHECK(tokenizer.decode(tokenizer.encode(text)) == text);
  const std::string zero("a\0b", 3);
  CHECK(tokenizer.encode(zero) == Ids{'a', 0, 'b'});
  Json poor = small_tokenizer();
  poor["model"]["vocab"].erase("ÿ");
  poor["model"]["vocab"]["spare"] = 255;
  CHECK_THROWS_WITH_AS(load(poor).encode("a\xFF"),
                       "the text has the byte 255, for which this vocabulary has no token",
                       UsageError);
}

TEST_CASE("a megabyte of one word comes back") {
  const Tokenizer tokenizer = load(small_tokenizer());
  std::string mixed;
  while (mixed.size() < 1'000'000) mixed += "hellaheaaol";
  for (const std::string& text : {std::string(1'000'000, 'a'), mixed, std::string(1'000'000, ' '),
                                  std::string(1'000'000, '\n'), std::string(1'000'000, '<')}) {
    const Ids ids = tokenizer.encode(text);
    CHECK(tokenizer.decode(ids) == text);
    if (text[0] == 'a') CHECK(ids == Ids(250'000, 261));
  }
}

struct BadField {
  const char *pointer, *value, *message;
};

void check_refused(std::initializer_list<BadField> fields) {
  for (const BadField& bad : fields) {
    const std::string message = load_error(changed(bad.pointer, bad.value), {{"eos_token", "he"}});
    CAPTURE(message);
    CAPTURE(bad.message);
    CHECK(message.find(bad.message) != std::string::npos);
  }
}

TEST_CASE("what a tokenizer.json asks for and is not done is named") {
  check_refused({
      {"/model/dropout", "0.1", "model.dropout: 0.1: only 0.0 is supported"},
      {"/model/ignore_merges", "1", "model.ignore_merges: 1 is not true or false"},
      {"/model/continuing_subword_prefix", "\"##\"",
       "model.continuing_subword_prefix: \"##\": only"},
      {"/model/end_of_word_suffix", "\"</w>\"", "model.end_of_word_suffix: \"</w>\": only"},
      {"/model/lookahead", "1", "model: 'lookahead' is not supported"},
      {"/model/type", "\"Unigram\"", "model: type 'Unigram' is not supported"},
      {"/model/merges", "[]", "model.merges: no merges"},
      {"/model/merges", "null", "model: 'merges' is missing"},
      {"/model/merges/0", "\"he\"", "merge 0 ('he') is not two tokens"},
      {"/model/merges/0", "\"h e l\"", "merge 0 ('h e l') is not two tokens"},
      {"/model/merges/1", "\"h 猫\"", "merge 1 ('h 猫') needs '猫', which is not in the"},
      {"/model/merges/1", "\"o o\"", "merge 1 ('o o') needs 'oo', which is not in the"},
      {"/model/merges/1", "\"h e\"", "merge 1 ('h e') stands twice"},
      {"/model/merges/1", "[1,2]", "entry 1 is neither"},
      {"/model/vocab/he", "3", "have the same id 3"},
      {"/model/vocab/he", "265", "'<|end|>' has id 265, which 'he' has in the vocabulary"},
      {"/model/vocab/he", "9000000", "'he' has id 9000000; ids of 265 tokens are 0 to 1000264"},
      {"/model/vocab/he", "-1", "token 'he' has id -1"},
      {"/model/vocab/he", "\"x\"", "token 'he' has id \"x\""},
      {"/added_tokens/0/id", "300", "'<|end|>' has id 300, and the next free one is 265"},
      {"/added_tokens/0/content", "\"he\"", "'he' has id 265, and the vocabulary gives it 256"},
      {"/added_tokens/0/content", "\"\"", "added_tokens[0]: the content is empty"},
      {"/added_tokens/0/lstrip", "1", "added_tokens[0].lstrip: 1 is not true or false"},
      {"/added_tokens/1/special", "1", "added_tokens[1].special: 1 is not true or false"},
      {"/normalizer", R"({"type":"Nmt"})", "normalizer: type 'Nmt' is not supported"},
      {"/pre_tokenizer", "null", "decoder: type 'ByteLevel' is not supported here"},
      {"/pre_tokenizer/type", "\"Whitespace\"", "pre_tokenizer: type 'Whitespace'"},
      {"/pre_tokenizer/add_prefix_space", "true", "add_prefix_space has to be false"},
      {"/decoder/type", "\"BPEDecoder\"", "decoder: type 'BPEDecoder' is not supported"},
      {"/post_processor", R"({"type":"BertProcessing"})", "type 'BertProcessing'"},
      {"/post_processor",
       R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}}]})",
       "post_processor: 'special_tokens' is missing"},
      {"/tokens", "1", "tokenizer.json: 'tokens' is not supported"},
  });
  for (const char* fine :
       {R"({"type":"ByteLevel","trim_offsets":true})",
        R"({"type":"TemplateProcessing","single":[{"Sequence":{"id":"A","type_id":0}}],"pair":[]})",
        R"({"type":"Sequence","processors":[{"type":"ByteLevel"}]})"})
    CHECK(load(changed("/post_processor", fine)).encode("hello") == Ids{259});
  CHECK(load(changed("/truncation", R"({"max_length":4})")).encode("hello").size() == 1);
}

TEST_CASE("expressions that mean something else here are named") {
  const auto split = [](const std::string& rest, const char* message) {
    const std::string steps = cat(R"({"type":"Sequence","pretokenizers":[{"type":)", rest,
                                  R"(},{"type":"ByteLevel","add_prefix_space":false}]})");
    check_refused({{"/pre_tokenizer", steps.c_str(), message}});
  };
  const auto regex = [&](const char* text, const char* message) {
    split(cat(R"("Split","behavior":"Isolated","pattern":{"Regex":)", dump_json(Json(text)), "}"),
          message);
  };
  split(R"("Split","behavior":"Moved","pattern":{"Regex":"a"})",
        "behavior: 'Moved' is not supported");
  split(R"("Split","behavior":"Isolated","pattern":{"Text":"a"})", "'Text' is not supported");
  split(R"("Whitespace")", "pretokenizers[0]: type 'Whitespace'");
  regex("a(", "expression 'a(': missing closing parenthesis");
  regex("a*", "expression 'a*': may match the empty text");
  regex("^a", "an anchor is not supported");
  regex("\\h+", "\\h is not supported");
  regex("[a&&b]", "'&&' in a class is not supported");
  regex("[a[b]]", "'[' in a class is not supported");
  regex("[]a]", "']' at the head of a class");
  regex("(?i)a|b", "an option for the rest of a group");
}

TEST_CASE("the end token comes from whichever file names it") {
  const TemporaryFolder folder;
  const Json tokenizer = small_tokenizer();
  CHECK(load(folder, tokenizer, {{"eos_token", "<|begin|>"}}).eos_id() == 267);
  CHECK(load(folder, tokenizer, {{"eos_token", {{"content", "<|end|>"}}}}).eos_id() == 265);
  const Tokenizer full = load(folder, tokenizer,
                              {{"eos_token", "<|end|>"},
                               {"bos_token", "<|begin|>"},
                               {"pad_token", {{"content", "he"}}},
                               {"chat_template", {{{"name", "default"}, {"template", "{{x}}"}}}}});
  CHECK(full.bos_id() == 267);
  CHECK(full.pad_id() == 256);
  CHECK(full.chat_template() == "{{x}}");
  CHECK(full.encode("hell") == Ids{256, 257});  // it is an added token now, as in transformers

  CHECK(load_error(tokenizer, Json::object()).find("no end token: neither eos_token") !=
        std::string::npos);
  CHECK(load_error(tokenizer, {{"eos_token", "<eos>"}}).find("eos_token: '<eos>' is not in the") !=
        std::string::npos);
  const Json other = {{"eos_token", "he"}, {"added_tokens_decoder", {{"5", {{"content", "x"}}}}}};
  CHECK(load_error(tokenizer, other).find("token 5 'x' is not an added token") !=
        std::string::npos);
  write_file(folder.path() / "config.json", R"({"eos_token_id":[265]})");
  CHECK(load(folder, tokenizer, Json::object()).eos_id() == 265);
  write_file(folder.path() / "generation_config.json", R"({"eos_token_id":267})");
  CHECK(load(folder, tokenizer, Json::object()).eos_id() == 267);
  write_file(folder.path() / "generation_config.json", R"({"eos_token_id":[1,2]})");
  CHECK(load(folder, tokenizer, Json::object()).eos_ids() == Ids{1, 2});
  write_file(folder.path() / "generation_config.json", R"({"eos_token_id":999})");
  CHECK_THROWS_WITH_AS(load(folder, tokenizer, Json::object()),
                       doctest::Contains("999 is outside the vocabulary of 270"), UsageError);
  // What is asked of a generation counts for more than what the tokenizer calls its end.
  write_file(folder.path() / "generation_config.json", R"({"eos_token_id":1})");
  CHECK(load(folder, tokenizer, {{"eos_token", "he"}}).eos_id() == 1);
  fs::remove(folder.path() / "generation_config.json");
  fs::remove(folder.path() / "config.json");
  write_file(folder.path() / "chat_template.jinja", "{{y}}");
  CHECK(load(folder, tokenizer, {{"eos_token", "he"}}).chat_template() == "{{y}}");
  CHECK_THROWS_AS(Tokenizer::from_folder(folder.path() / "none"), UsageError);
}

TEST_CASE("a saved tokenizer is the same one") {
  const TemporaryFolder folder;
  const char* steps = R"({"type":"Sequence","pretokenizers":[
    {"type":"Digits","individual_digits":true},
    {"type":"Split","pattern":{"Regex":"w+"},"behavior":"Isolated","invert":false},
    {"type":"ByteLevel","add_prefix_space":false,"use_regex":true}]})";
  Json source = changed("/pre_tokenizer", steps);
  source["normalizer"] = {{"type", "NFC"}};
  const Tokenizer first =
      load(folder, source, {{"eos_token", "<|end|>"}, {"chat_template", "{{x}}"}});
  first.save(folder.path());
  const Tokenizer second = Tokenizer::from_folder(folder.path());
  for (const char* text : {"hello w12 aa", "<|end|><|x e\u0301!", "  w  ", "\t123 ww"})
    CHECK(second.encode(text) == first.encode(text));
  CHECK(second.eos_id() == first.eos_id());
  CHECK(!second.bos_id());
  CHECK(second.chat_template() == "{{x}}");
  CHECK(second.size() == first.size());
  const std::string saved = read_file(folder.path() / "tokenizer.json");
  second.save(folder.path());
  CHECK(read_file(folder.path() / "tokenizer.json") == saved);
}

TEST_CASE("a character tokenizer has one id a character") {
  const Tokenizer tokenizer = Tokenizer::from_characters("01é\n😀.", ".");
  CHECK(tokenizer.kind() == "characters");
  CHECK(tokenizer.size() == 7);
  CHECK(tokenizer.eos_id() == 5);
  CHECK(tokenizer.pad_id() == 6);
  CHECK(!tokenizer.bos_id());
  CHECK(tokenizer.encode("10é\n😀..") == Ids{1, 0, 2, 3, 4, 5, 5});
  CHECK(tokenizer.encode("1<pad>") == Ids{1, 6});
  CHECK(tokenizer.decode(Ids{1, 2, 5, 6}) == "1é.<pad>");
  CHECK_THROWS_WITH_AS(tokenizer.encode("1ü"),
                       "the character 'ü' is not one of the 6 that this model knows", UsageError);
  CHECK_THROWS_WITH_AS(tokenizer.encode("1\xFF"), "the text has the byte 255, which is not UTF-8",
                       UsageError);

  const TemporaryFolder folder;
  tokenizer.save(folder.path());
  const Tokenizer second = Tokenizer::from_folder(folder.path());
  CHECK(second.kind() == "characters");
  CHECK(second.size() == 7);
  CHECK(second.eos_id() == 5);
  CHECK(second.pad_id() == 6);
  CHECK(second.encode("10é\n😀..<pad>") == Ids{1, 0, 2, 3, 4, 5, 5, 6});

  CHECK_THROWS_WITH_AS(Tokenizer::from_characters("aba", "b"),
                       "character tokenizer: token 'a' stands twice in the vocabulary", UsageError);
  CHECK_THROWS_WITH_AS(Tokenizer::from_characters("ab", "c"),
                       doctest::Contains("the end token 'c' is not one of the characters"),
                       UsageError);
  CHECK_THROWS_WITH_AS(Tokenizer::from_characters("a\xFF", "a"),
                       doctest::Contains("byte 1 of the characters is not UTF-8"), UsageError);

  Json file = parse_json(read_file(folder.path() / "tokenizer.json"), "saved");
  const auto error = [&](const char* pointer, const Json& value) {
    Json other = file;
    other[Json::json_pointer(pointer)] = value;
    return load_error(other, {{"eos_token", "."}});
  };
  const auto has = [](const std::string& text, const char* part) {
    return text.find(part) != std::string::npos;
  };
  CHECK(has(error("/pre_tokenizer/pattern/Regex", "."), "with the pattern '[\\s\\S]' only"));
  CHECK(has(error("/decoder", nullptr), "'decoder' is missing"));
  CHECK(has(error("/decoder/type", "ByteLevel"), "a WordLevel model is read with a Split"));
  CHECK(has(error("/normalizer", {{"type", "NFC"}}), "a WordLevel model is read with a Split"));
  file["model"]["vocab"].erase("0");
  CHECK(has(error("/model/vocab/zero", 0), "token 'zero' is not one character"));
}

// GGUF metadata, value by value. Types: 4 u32, 5 i32, 7 truth value, 8 text, 9 array.
class GgufMetadata {
 public:
  void text(const std::string& key, const std::string& value) { put(key, 8) += string(value); }
  void number(const std::string& key, uint32_t value) { put(key, 4) += raw(value); }
  void flag(const std::string& key, bool value) { put(key, 7) += value ? '\1' : '\0'; }
  void texts(const std::string& key, const std::vector<std::string>& values) {
    std::string& out = put(key, 9) += raw(uint32_t{8}) + raw(uint64_t{values.size()});
    for (const std::string& value : values) out += string(value);
  }
  void numbers(const std::string& key, const std::vector<int32_t>& values) {
    std::string& out = put(key, 9) += raw(uint32_t{5}) + raw(uint64_t{values.size()});
    for (const int32_t value : values) out += raw(value);
  }

  Tokenizer load(const TemporaryFolder& folder) const {
    std::string file = "GGUF" + raw(uint32_t{3}) + raw(uint64_t{0}) + raw(uint64_t{values_.size()});
    for (const auto& [key, value] : values_) file += string(key) + value;
    write_file(folder.path() / "t.gguf", file);
    return Tokenizer::from_gguf(GgufFile(folder.path() / "t.gguf"));
  }

 private:
  template <class Number>
  static std::string raw(Number value) {
    return std::string(reinterpret_cast<const char*>(&value), sizeof value);
  }
  static std::string string(const std::string& text) { return raw(uint64_t{text.size()}) + text; }
  std::string& put(const std::string& key, uint32_t type) {
    return values_.insert_or_assign("tokenizer." + key, raw(type)).first->second;
  }

  std::map<std::string, std::string> values_;
};

GgufMetadata small_gguf() {
  GgufMetadata out;
  std::vector<std::string> tokens = {"<|end|>", "aa", "<x>"};
  for (int byte = 0; byte < 256; ++byte)
    tokens.emplace_back(byte_symbol(static_cast<uint8_t>(byte)));
  std::vector<int32_t> types(tokens.size(), 1);
  types[0] = 3;
  types[2] = 4;
  out.text("ggml.model", "gpt2");
  out.text("ggml.pre", "gpt-2");
  out.texts("ggml.tokens", tokens);
  out.numbers("ggml.token_type", types);
  out.texts("ggml.merges", {"a a"});
  out.number("ggml.eos_token_id", 0);
  return out;
}

TEST_CASE("a tokenizer comes from GGUF metadata") {
  const TemporaryFolder folder;
  const Tokenizer tokenizer = small_gguf().load(folder);
  CHECK(tokenizer.kind() == "gpt2");
  CHECK(tokenizer.size() == 259);
  CHECK(tokenizer.eos_id() == 0);
  CHECK(!tokenizer.bos_id());
  CHECK(!tokenizer.pad_id());
  CHECK(tokenizer.chat_template().empty());
  CHECK(tokenizer.encode("aaa<x><|end|>") == Ids{1, 'a' + 3, 2, 0});
  tokenizer.save(folder.path());
  CHECK(Tokenizer::from_folder(folder.path()).encode("aaa<x><|end|>") == Ids{1, 'a' + 3, 2, 0});

  for (const auto& [pre, kind] :
       std::map<std::string, std::string>{{"smollm", "smollm"},
                                          {"olmo", "olmo"},
                                          {"llama-bpe", "llama3"},
                                          {"qwen2", "qwen2"},
                                          {"deepseek-r1-qwen", "qwen2"}}) {
    GgufMetadata metadata = small_gguf();
    metadata.text("ggml.pre", pre);
    metadata.number("ggml.bos_token_id", 2);
    metadata.flag("ggml.add_bos_token", true);
    metadata.flag("ggml.add_eos_token", true);
    const Tokenizer other = metadata.load(folder);
    other.save(folder.path());
    const Tokenizer saved = Tokenizer::from_folder(folder.path());
    for (const Tokenizer* one : {&other, &saved}) {
      CHECK(one->kind() == kind);
      CHECK(one->add_special({1}) == Ids{2, 1, 0});
    }
  }

  GgufMetadata llama = small_gguf();  // says nothing of its begin token, which its model had
  llama.text("ggml.pre", "llama-bpe");
  llama.number("ggml.bos_token_id", 2);
  CHECK(llama.load(folder).add_special({1}) == Ids{2, 1});

  const auto refused = [&](const std::function<void(GgufMetadata&)>& change, const char* message) {
    GgufMetadata metadata = small_gguf();
    change(metadata);
    CHECK_THROWS_WITH_AS(metadata.load(folder), doctest::Contains(message), UsageError);
  };
  using M = GgufMetadata;
  refused([](M& m) { m.text("ggml.model", "llama"); }, "model 'llama' is not supported; 'gpt2' is");
  refused([](M& m) { m.text("ggml.pre", "default"); }, "pre 'default' is not supported; gpt-2,");
  refused([](M& m) { m.number("ggml.pre", 1); }, "'tokenizer.ggml.pre' is an integer; a text");
  refused([](M& m) { m.flag("ggml.add_space_prefix", true); }, "add_space_prefix is not supported");
  refused([](M& m) { m.flag("ggml.add_bos_token", true); }, "but the file names no such token");
  refused([](M& m) { m.number("ggml.add_eos_token", 1); }, "is neither true nor false");
  refused([](M& m) { m.numbers("ggml.token_type", {1}); }, "token_type has 1 entries for 259");
  refused([](M& m) { m.texts("ggml.merges", {}); }, "the vocabulary has no merges");
  refused([](M& m) { m.texts("ggml.merges", {"a  a"}); }, "merge 0 ('a  a') is not two tokens");
  refused([](M& m) { m.number("ggml.eos_token_id", 259); }, "eos_token_id is 259; the vocabulary");
  refused([](M& m) { m.number("ggml.bos_token_id", ~0u); }, "bos_token_id is 4294967295");
  const auto tokens = [&](std::vector<std::string> texts, const char* message) {
    refused(
        [&](M& m) {
          m.numbers("ggml.token_type", std::vector<int32_t>(texts.size(), 1));
          m.texts("ggml.tokens", texts);
        },
        message);
  };
  tokens({"a", "aa", "a"}, "token 'a' stands twice");
  tokens({"a", "aa", ""}, "token 2 is empty");
  tokens({"a", "aa", "\xFF"}, "token 2 is not UTF-8");
}

TEST_CASE("SmolLM2's tokenizer gives the ids that transformers gives") {
  if (!have_smollm2()) return;
  const Tokenizer tokenizer = Tokenizer::from_gguf(GgufFile(VERNIER_SMOLLM2_GGUF));
  CHECK(tokenizer.kind() == "smollm");
  CHECK(tokenizer.size() == 49152);
  CHECK(tokenizer.eos_id() == 2);
  CHECK(tokenizer.bos_id() == 1);
  CHECK(tokenizer.pad_id() == 2);
  CHECK(tokenizer.id_of("<|im_end|>") == 2);
  CHECK(tokenizer.chat_template().starts_with("{% for message in messages %}"));

  const TemporaryFolder folder;
  tokenizer.save(folder.path());
  const Tokenizer saved = Tokenizer::from_folder(folder.path());
  CHECK(saved.chat_template() == tokenizer.chat_template());

  LineReader lines((kCases / "text" / "smollm2.jsonl").string());
  std::string line;
  int64_t num_texts = 0;
  while (lines.next(line)) {
    const Json row = parse_json(line, lines.where());
    if (!row.contains("text")) continue;
    const std::string text = row["text"];
    const Ids want = row["ids"].get<Ids>();
    CAPTURE(lines.where());
    CHECK(tokenizer.encode(text) == want);
    CHECK(saved.encode(text) == want);
    CHECK(tokenizer.decode(want) == text);
    ++num_texts;
  }
  CHECK(num_texts >= 1000);
}

}  // namespace
}  // namespace vernier
