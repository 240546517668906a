// Tokenizers of many kinds against the library `tokenizers`, and files that must not be read.
#include "core/text/tokenizer.h"

#include <doctest/doctest.h>

#include <chrono>
#include <source_location>
#include <thread>

#include "core/base/errors.h"
#include "core/base/files.h"
#include "core/base/json.h"
#include "core/base/text.h"
#include "core/text/cutter.h"
#include "core/text/normalizer.h"
#include "core/text/patterns.h"
#include "core/text/tokenizer_spec.h"
#include "core/text/unicode.h"
#include "tests/testing.h"

namespace vernier {
namespace {

using Ids = std::vector<int32_t>;
using testing::TemporaryFolder;

const fs::path kKinds = fs::path(std::source_location::current().file_name()).parent_path() /
                        "cases" / "text" / "tokenizers";

// tools/golden_tokenizers.py wrote these files: a tokenizer.json of each kind, ids of texts.
const std::vector<std::pair<std::string, std::string>> kExpectedKinds = {
    {"gpt2", "gpt2"},
    {"smollm2", "smollm"},
    {"llama3", "llama3"},
    {"smollm3", "llama3"},
    {"qwen2", "qwen2"},
    {"olmo", "olmo"},
    {"olmo2", "llama3"},
    {"cl100k", "regex"},
    {"deepseek-r1-llama", "deepseek-r1"},
    {"deepseek-r1-qwen", "deepseek-r1"},
    {"deepseek-v3", "deepseek-r1"},
    {"deepseek-coder", "regex"},
    {"deepseek-llm", "regex"},
    {"llama2", "metaspace"},
    {"llama2-normalized", "metaspace"},
    {"mistral", "metaspace"},
    {"metaspace-always", "metaspace"},
    {"metaspace-never", "metaspace"},
    {"metaspace-legacy", "metaspace"},
    {"few-bytes", "metaspace"},
    {"gemma", "metaspace"},
    {"odd-added", "regex"},
    {"odd-splits", "regex"},
    {"odd-normal", "regex"},
};

std::string read_kind(const std::string& name) {
  return read_file(kKinds / name / "tokenizer.json");
}

Tokenizer load_kind(const std::string& name) { return Tokenizer::from_json(read_kind(name), name); }

std::vector<Json> read_rows(const fs::path& path) {
  std::vector<Json> rows;
  LineReader reader(path.string());
  std::string line;
  while (reader.next(line)) rows.push_back(parse_json(line, reader.where()));
  return rows;
}

// Bytes that are not UTF-8 as the command line prints them.
std::string printable(const std::string& text) {
  return parse_json(dump_json(Json(text)), "text").get<std::string>();
}

void check_kind(const std::string& name, const std::vector<Json>& texts) {
  const Tokenizer tokenizer = load_kind(name);
  const std::vector<Json> rows = read_rows(kKinds / name / "ids.jsonl.zst");
  const Json& head = rows.at(0);
  const size_t common = head["common"], first = head["first"], count = head["count"];
  REQUIRE(common + count >= 1000);
  CHECK(tokenizer.encode("a") == head["a"].get<Ids>());
  CHECK(tokenizer.add_special(tokenizer.encode("a")) == head["a_with_special"].get<Ids>());
  for (size_t i = 0; i + 1 < rows.size(); ++i) {
    const Json& row = rows[i + 1];
    const Ids want = row["ids"].get<Ids>();
    CAPTURE(name);
    CAPTURE(i);
    if (row.contains("decode_only")) {
      CHECK(printable(tokenizer.decode(want)) == row["decode_only"].get<std::string>());
      continue;
    }
    const std::string text = texts.at(1 + (i < common ? i : first + i - common))["text"];
    CHECK(tokenizer.encode(text) == want);
    CHECK(printable(tokenizer.decode(want)) ==
          (row.contains("decoded") ? row["decoded"].get<std::string>() : text));
  }
}

TEST_CASE("every kind of tokenizer gives the ids and texts of tokenizers") {
  const std::vector<Json> texts = read_rows(kKinds / "texts.jsonl.zst");
  CHECK(texts.size() > 10'000);
  for (const auto& [name, kind] : kExpectedKinds) {
    check_kind(name, texts);
    CHECK(load_kind(name).kind() == kind);
  }
}

// All characters of Unicode but the surrogates, `count` in a text, with `between` after each.
std::vector<std::string> all_characters(size_t count, std::string_view between) {
  std::vector<std::string> texts(1);
  size_t in_text = 0;
  for (char32_t code = 0; code < 0x110000; ++code) {
    if (code >= 0xD800 && code < 0xE000) continue;
    append_character(code, texts.back());
    texts.back() += between;
    if (++in_text % count == 0) texts.emplace_back();
  }
  if (texts.back().empty()) texts.pop_back();
  return texts;
}

// Texts of characters drawn from those that the expressions tell apart.
std::string random_text(Rng& rng) {
  constexpr std::string_view kPool[] = {
      "a",      "Z",      "é",      "ſ",          "K",     "ß",  "猫",     "1",
      "²",      "٣",      "Ⅳ",      " ",          "  ",    "\t", "\n",     "\r",
      "\r\n",   "\u00A0", "\u2028", "\u3000",     "'",     "’",  "'s",     "'S",
      "'ll",    "'Re",    "'vE",    ".",          "!?",    "_",  "\u0301", "👍",
      "\u200D", "\u180E", "\u1C89", "\U0001E4F0", "\u0378"};
  std::string out;
  const uint64_t length = 1 + rng.next_bits() % 12;
  for (uint64_t i = 0; i < length; ++i) out += kPool[rng.next_bits() % std::size(kPool)];
  return out;
}

void check_scanner(const PretokenizerStep& step, const std::vector<std::string>& texts) {
  const auto scanner = make_scanner(step), reference = make_cutter(step);
  REQUIRE(scanner != nullptr);
  std::vector<std::string_view> found, want;
  for (const std::string& text : texts) {
    found.clear();
    want.clear();
    scanner->cut(text, found);
    reference->cut(text, want);
    if (found != want) {
      CAPTURE(text);
      CHECK(found == want);
      return;
    }
  }
}

TEST_CASE("scanners cut as the expressions do") {
  std::vector<std::string> texts;
  for (const std::string_view between : {"a ", "'"})
    for (std::string& text : all_characters(4096, between)) texts.push_back(std::move(text));
  Rng rng(7, Stream::init);
  for (int i = 0; i < 20'000; ++i) texts.push_back(random_text(rng));
  using Kind = PretokenizerStep::Kind;
  for (const char* regex : {kGpt2Regex, kLlama3Regex, kQwen2Regex})
    check_scanner({Kind::regex, regex}, texts);
  check_scanner({Kind::digit, ""}, texts);
  CHECK(make_scanner({Kind::digits, ""}) != nullptr);
  CHECK(make_scanner({Kind::regex, "a"}) == nullptr);
  CHECK(make_scanner({Kind::regex, kGpt2Regex, SplitBehavior::removed}) == nullptr);
  CHECK(make_scanner({Kind::regex, kGpt2Regex, SplitBehavior::isolated, true}) == nullptr);
}

std::string normalized(NormalizerStep::Kind kind, std::string_view text) {
  return Normalizer({{.kind = kind}}).apply(text);
}

TEST_CASE("normal forms are those of tokenizers, marks of later Unicode versions included") {
  using Kind = NormalizerStep::Kind;
  CHECK(normalized(Kind::nfc, "e\u0301\u1100\u1161") == "é가");
  CHECK(normalized(Kind::nfd, "é가") == "e\u0301\u1100\u1161");
  CHECK(normalized(Kind::nfkc, "ﬁ①") == "fi1");
  CHECK(normalized(Kind::nfkd, "ﷺ").size() == 33);
  CHECK(normalized(Kind::lowercase, "ÀİΣ") == "ài\u0307σ");
  // U+0898 came with Unicode 14: to tables of Unicode 9 it is no mark, and stays where it is.
  CHECK(normalized(Kind::nfc, "a\u0301\u0327") == "á\u0327");
  CHECK(normalized(Kind::nfd, "a\u0301\u0327") == "a\u0327\u0301");
  CHECK(normalized(Kind::nfd, "a\u0301\u08D0") == "a\u0301\u08D0");
  CHECK(normalized(Kind::nfc, "a\uF8FF\u08D0\u0301") == "a\uF8FF\u08D0\u0301");
}

std::string error_of(const Json& file) {
  try {
    Tokenizer::from_json(dump_json(file), "t.json");
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

struct Bad {
  const char *kind, *pointer, *value, *message;
};

TEST_CASE("a tokenizer.json that asks for more is refused by name") {
  for (const Bad& bad : std::initializer_list<Bad>{
           {"llama2", "/normalizer/normalizers/0", R"({"type":"Nmt"})",
            "normalizer.normalizers[0]: type 'Nmt' is not supported"},
           {"llama2", "/normalizer/normalizers/1/pattern", R"({"String":""})",
            "normalizers[1].pattern.String: is empty"},
           {"llama2", "/decoder/decoders/0/pattern", R"({"Regex":"a"})",
            "'Regex' is not supported in a decoder"},
           {"llama2", "/decoder/decoders/3/content", "\"ab\"", "'ab' is not one character"},
           {"llama2", "/decoder", "null", "'decoder' is missing"},
           {"llama2", "/model/unk_token", "\"<none>\"", "'<none>' is not in the vocabulary"},
           {"llama2", "/post_processor/processors/1/single/0/SpecialToken/id", "\"<x>\"",
            "'<x>' is missing"},
           {"llama2", "/post_processor/processors/1/special_tokens/<s>/ids/0", "9999",
            "9999 is outside the vocabulary"},
           {"llama2", "/post_processor/processors/0", R"({"type":"RobertaProcessing"})",
            "type 'RobertaProcessing' is not supported"},
           {"llama2", "/post_processor/processors/1/single/1", R"({"Sequence":{"id":"B"}})",
            "only one sequence, A, is supported"},
           {"mistral", "/normalizer", R"({"type":"NFC"})",
            "'first' is not supported together with a normalizer"},
           {"mistral", "/pre_tokenizer/prepend_scheme", "\"last\"", "'last' is not supported"},
           {"mistral", "/pre_tokenizer/replacement", "\"\"", "'' is not one character"},
           {"mistral", "/pre_tokenizer/add_prefix_space", "false", "contradicts add_prefix_space"},
           {"gpt2", "/pre_tokenizer/add_prefix_space", "true", "add_prefix_space has to be false"},
           {"gpt2", "/decoder/type", "\"WordPiece\"", "decoder: type 'WordPiece'"},
           {"gpt2", "/version", "\"2.0\"", "version: \"2.0\": only \"1.0\" is supported"},
           {"gpt2", "/added_tokens/0/id", "4294967296", "is not a token id"},
           {"gpt2", "/model/vocab/a", "4000000000", "'a' has id 4000000000"},
           {"llama3", "/pre_tokenizer/pretokenizers/0/behavior", "\"Random\"",
            "behavior: 'Random' is not supported"},
           {"llama3", "/pre_tokenizer/pretokenizers/0", R"({"type":"Punctuation"})",
            "pretokenizers[0]: type 'Punctuation' is not supported"},
           {"llama3", "/pre_tokenizer/pretokenizers/0/pattern/Regex", R"("\\w+")",
            "\\w is not supported"},
           {"llama3", "/pre_tokenizer/pretokenizers/0/pattern/Regex", "\"(?m:a)\"",
            "the option 'm' is not supported"},
           {"llama3", "/pre_tokenizer/pretokenizers/0/pattern/Regex", "\"(?i:a(MaSs)?)b\"",
            "'ss' in (?i:) is not supported"},
           {"llama3", "/pre_tokenizer/pretokenizers/0/pattern/Regex", "\"a(\"",
            "t.json: pre_tokenizer.pretokenizers[0].pattern.Regex: expression 'a(': missing"},
           {"llama3", "/pre_tokenizer/pretokenizers/0/pattern/Regex", "\"a*\"",
            "t.json: pre_tokenizer.pretokenizers[0].pattern.Regex: expression 'a*': may match"},
           {"llama2", "/normalizer/normalizers/1/pattern", R"({"Regex":"^a"})",
            "t.json: normalizer.normalizers[1].pattern.Regex: expression '^a': an anchor is not"},
           {"llama3", "/pre_tokenizer/pretokenizers/0/pattern/Regex", "\"(?i:ß)b\"",
            "a character beyond ASCII in (?i:)"},
           {"llama3", "/pre_tokenizer/pretokenizers/0/pattern/Regex", "\"(?R)a\"",
            "'(?R' is not supported"},
           {"llama3", "/pre_tokenizer/pretokenizers/0/pattern/Regex", "\"a{,3}b\"", "'{,'"},
       }) {
    Json file = parse_json(read_kind(bad.kind), bad.kind);
    REQUIRE(error_of(file).empty());
    file[Json::json_pointer(bad.pointer)] = Json::parse(bad.value);
    const std::string message = error_of(file);
    CAPTURE(message);
    CAPTURE(std::string(bad.message));
    CHECK(message.find(bad.message) != std::string::npos);
  }
}

TEST_CASE("the vocabulary may leave ids out") {
  Json file = parse_json(read_kind("gpt2"), "gpt2");
  file["added_tokens"] = Json::array();
  const auto last = static_cast<int32_t>(file["model"]["vocab"].size()) - 1;
  std::string token;
  for (const auto& [text, id] : file["model"]["vocab"].items())
    if (id == last) token = text;
  file["model"]["vocab"][token] = last + 10;
  const Tokenizer tokenizer = Tokenizer::from_json(dump_json(file), "t.json");
  CHECK(tokenizer.size() == last + 11);
  CHECK(tokenizer.id_of(token) == last + 10);
  CHECK(tokenizer.decode(Ids{last + 3}).empty());
  CHECK(!tokenizer.id_of(""));
  // The library counts tokens, not ids: the next one gets the first of those left out.
  file["added_tokens"] = {{{"id", last + 1}, {"content", "<x>"}}};
  CHECK(Tokenizer::from_json(dump_json(file), "t.json").encode("<x>") == Ids{last + 1});
  file["added_tokens"][0]["id"] = last + 11;
  CHECK(error_of(file).find("the next free one is") != std::string::npos);
}

TEST_CASE("what to do with unknown characters") {
  Json file = parse_json(read_kind("mistral"), "mistral");
  const Tokenizer full = Tokenizer::from_json(dump_json(file), "t.json");
  CHECK(full.decode(full.encode("\xFF\xFE")) == "\uFFFD\uFFFD");  // bytes, which are not UTF-8
  file["model"]["byte_fallback"] = false;
  const Tokenizer tokenizer = Tokenizer::from_json(dump_json(file), "t.json");
  CHECK_THROWS_WITH_AS(tokenizer.encode("\xFF"), doctest::Contains("which is not UTF-8"),
                       UsageError);
  file["model"]["unk_token"] = nullptr;
  const Tokenizer strict = Tokenizer::from_json(dump_json(file), "t.json");
  CHECK_THROWS_WITH_AS(strict.encode("\u0378"), doctest::Contains("has the character"), UsageError);
}

TEST_CASE("hostile files end with a message, and soon") {
  const auto start = std::chrono::steady_clock::now();
  const Json file = parse_json(read_kind("gpt2"), "gpt2");
  Json deep = file;
  for (int i = 0; i < 20; ++i)
    deep["normalizer"] = {{"type", "Sequence"}, {"normalizers", {deep["normalizer"]}}};
  CHECK(error_of(deep).find("type ''") != std::string::npos);  // a null in the middle
  CHECK_THROWS_AS(Tokenizer::from_json(std::string(100'000, '['), "t.json"), UsageError);
  CHECK_THROWS_AS(Tokenizer::from_json("", "t.json"), UsageError);
  CHECK_THROWS_AS(Tokenizer::from_json("[]", "t.json"), UsageError);

  Json large = file;
  large["added_tokens"][0]["content"] = std::string(1'000'000, 'x');
  CHECK(error_of(large).find("1000000 bytes; up to 512 are allowed") != std::string::npos);
  Json same = file;
  same["added_tokens"].push_back(same["added_tokens"][0]);
  CHECK(error_of(same).empty());
  same["added_tokens"][1]["lstrip"] = true;
  CHECK(error_of(same).find("stands twice") != std::string::npos);

  Json many = file;
  const auto size = many["model"]["vocab"].size();
  for (size_t i = 0; i < 5'000; ++i)
    many["added_tokens"].push_back(
        {{"id", size + 1 + i}, {"content", std::string(1 + i % 300, '<') + cat(i)}});
  many["added_tokens"].erase(0);
  for (size_t i = 0; i < 5'000; ++i) many["added_tokens"][i]["id"] = size + i;
  const Tokenizer overlapping = Tokenizer::from_json(dump_json(many), "t.json");
  const std::string marks(50'000, '<');
  CHECK(overlapping.decode(overlapping.encode(marks)) == marks);

  Json greedy = file;
  greedy["added_tokens"][0] = {{"id", size}, {"content", "  "}, {"lstrip", true}, {"rstrip", true}};
  const Tokenizer blanks = Tokenizer::from_json(dump_json(greedy), "t.json");
  CHECK(blanks.encode(std::string(1'000'000, ' ')).size() == 500'000);

  Json growing = file;
  growing["normalizer"] = {{"type", "Sequence"}, {"normalizers", Json::array()}};
  for (int i = 0; i < 40; ++i)
    growing["normalizer"]["normalizers"].push_back(
        {{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", "aa"}});
  const Tokenizer bomb = Tokenizer::from_json(dump_json(growing), "t.json");
  CHECK_THROWS_WITH_AS(bomb.encode("a"), doctest::Contains("t.json: the normalizer makes"),
                       UsageError);
  growing["normalizer"]["normalizers"][0]["content"] = std::string(600, 'a');
  CHECK(error_of(growing).find("has 600 bytes; up to 512 are allowed") != std::string::npos);

  // A merge whose product is a part of it would never end.
  Json loop = file;
  loop["model"]["merges"][0] = {"a", ""};
  CHECK(error_of(loop).find("needs ''") != std::string::npos);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  CHECK(took.count() < 20);
}

TEST_CASE("threads may share tokenizers, and a thread may use many") {
  const Tokenizer first = load_kind("llama3"), second = load_kind("mistral");
  const std::string text = "hello w12 <|eot_id|> aaaa é! hello <s>word 猫";
  const Ids ids = first.encode(text), others = second.encode(text);
  std::vector<std::thread> threads;
  std::vector<int> wrong(4);
  for (int& count : wrong)
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i)
        count += (first.encode(text) != ids) + (second.encode(text) != others);
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == std::vector<int>(4));
}

TEST_CASE("special tokens go around a text where a file says so") {
  const TemporaryFolder folder;
  const auto load = [&](const std::string& kind, const Json& config) {
    write_file(folder.path() / "tokenizer.json", read_kind(kind));
    write_file(folder.path() / "tokenizer_config.json", dump_json(config));
    return Tokenizer::from_folder(folder.path());
  };
  const Json names = {{"eos_token", "</s>"}, {"bos_token", "<s>"}};
  const auto with = [&](const char* key, bool value) {
    Json config = names;
    config[key] = value;
    return config;
  };
  CHECK(load("llama2", names).add_special({7}) == Ids{1, 7});
  CHECK(load("llama2", with("add_bos_token", true)).add_special({7}) == Ids{1, 7});
  CHECK(load("mistral", names).add_special({7}) == Ids{1, 7, 2});
  CHECK(load("metaspace-always", names).add_special({7}) == Ids{7});
  CHECK(load("metaspace-always", with("add_bos_token", true)).add_special({7}) == Ids{1, 7});
  CHECK(load("metaspace-always", with("add_eos_token", true)).add_special({7}) == Ids{7, 2});
  CHECK_THROWS_WITH_AS(load("llama2", with("add_bos_token", false)),
                       doctest::Contains("add_bos_token: false, but the post_processor of"),
                       UsageError);
  CHECK_THROWS_WITH_AS(load("llama2", with("add_eos_token", true)),
                       doctest::Contains("does not add the token of eos_token"), UsageError);
  CHECK_THROWS_WITH_AS(load("metaspace-always", {{"eos_token", "</s>"}, {"add_bos_token", true}}),
                       doctest::Contains("the file has no bos_token"), UsageError);
}

// transformers adds the tokens once more: ids of version 5.24.
TEST_CASE("flags of added_tokens_decoder replace those of tokenizer.json") {
  const TemporaryFolder folder;
  const Json file = parse_json(read_kind("odd-added"), "odd-added");
  const Json names = {{"eos_token", "</s>"}};
  const auto load = [&](const std::string& content, Json flags, Json config) {
    for (const Json& token : file["added_tokens"])
      if (token["content"] == content) {
        flags["content"] = content;
        config["added_tokens_decoder"][token["id"].dump()] = flags;
      }
    write_file(folder.path() / "tokenizer.json", dump_json(file));
    write_file(folder.path() / "tokenizer_config.json", dump_json(config));
    return Tokenizer::from_folder(folder.path());
  };
  const auto flags_of = [&](const std::string& content, const Json& flags, const Json& config) {
    const Tokenizer tokenizer = load(content, flags, config);
    for (const AddedToken& token : tokenizer.spec().added)
      if (token.content == content) return token;
    return AddedToken{};
  };
  const auto flags = [](const AddedToken& token) {
    return std::vector<bool>{token.special, token.normalized, token.single_word, token.lstrip,
                             token.rstrip};
  };
  using Flags = std::vector<bool>;
  const Json all = {{"special", true},
                    {"normalized", true},
                    {"single_word", true},
                    {"lstrip", true},
                    {"rstrip", true}};
  CHECK(flags(flags_of("[SEP]", all, names)) == Flags{true, true, true, true, true});
  CHECK(flags(flags_of("[SEP]", Json::object(), names)) == Flags{false, true, false, false, false});
  CHECK(flags(flags_of("[SEP]", {{"special", true}}, names)) ==
        Flags{true, false, false, false, false});
  Json named = names;
  named["mask_token"] = "<mask>";
  CHECK(flags(flags_of("<mask>", Json::object(), named)) ==
        Flags{true, false, false, false, false});

  const Tokenizer plain = load("<none>", {}, names),
                  bare = load("<mask>", {{"special", true}}, names);
  const int32_t mask = *plain.id_of("<mask>");
  CHECK(plain.encode("a <mask>") == Ids{*plain.id_of("a"), mask});  // takes the space along
  CHECK(bare.encode("a <mask>") == Ids{*plain.id_of("a"), *plain.id_of("Ġ"), mask});
  CHECK(load("<none>", {}, {{"eos_token", "</s>"}, {"split_special_tokens", false}}).size() > 0);
  CHECK_THROWS_WITH_AS(
      load("<none>", {}, {{"eos_token", "</s>"}, {"split_special_tokens", true}}),
      doctest::Contains("tokenizer_config.json: split_special_tokens: true: only false is"),
      UsageError);
}

TEST_CASE("several tokens may end a response") {
  const TemporaryFolder folder;
  write_file(folder.path() / "tokenizer.json", read_kind("llama3"));
  write_file(folder.path() / "tokenizer_config.json", R"({"eos_token":"<|eot_id|>"})");
  const Tokenizer plain = Tokenizer::from_folder(folder.path());
  const int32_t eot = *plain.id_of("<|eot_id|>"), end = *plain.id_of("<|endoftext|>");
  CHECK(plain.eos_ids() == Ids{eot});
  write_file(folder.path() / "config.json", cat("{\"eos_token_id\":", end, "}"));
  CHECK(Tokenizer::from_folder(folder.path()).eos_ids() == Ids{end});
  write_file(folder.path() / "generation_config.json",
             cat("{\"eos_token_id\":[", end, ",", eot, "]}"));
  const Tokenizer both = Tokenizer::from_folder(folder.path());
  CHECK(both.eos_ids() == Ids{end, eot});
  CHECK(both.eos_id() == end);
  CHECK(both.ends(eot));
  CHECK(!both.ends(0));
  write_file(folder.path() / "generation_config.json", R"({"eos_token_id":[]})");
  CHECK_THROWS_WITH_AS(Tokenizer::from_folder(folder.path()),
                       doctest::Contains("the list is empty"), UsageError);
}

TEST_CASE("a folder's tokenizer files are saved byte for byte") {
  const TemporaryFolder source, copy;
  const std::string odd = "{\n  \"eos_token\" : \"</s>\", \"x\": [1,  2]}\n";
  write_file(source.path() / "tokenizer.json", read_kind("llama2"));
  write_file(source.path() / "tokenizer_config.json", odd);
  write_file(source.path() / "tokenizer.model", std::string("\0\1\2", 3));
  write_file(source.path() / "chat_template.jinja", "{{ messages }}\n");
  write_file(source.path() / "generation_config.json", R"({"eos_token_id":2})");
  const Tokenizer tokenizer = Tokenizer::from_folder(source.path());
  for (const auto& entry : fs::directory_iterator(source.path())) fs::remove(entry.path());
  tokenizer.save(copy.path());
  CHECK(read_file(copy.path() / "tokenizer.json") == read_kind("llama2"));
  CHECK(read_file(copy.path() / "tokenizer_config.json") == odd);
  CHECK(read_file(copy.path() / "tokenizer.model") == std::string("\0\1\2", 3));
  CHECK(read_file(copy.path() / "chat_template.jinja") == "{{ messages }}\n");
  CHECK(!fs::exists(copy.path() / "generation_config.json"));
  CHECK(Tokenizer::from_folder(copy.path()).encode("word") == tokenizer.encode("word"));
  load_kind("mistral").save(copy.path());
  CHECK(read_file(copy.path() / "tokenizer.json") == read_kind("mistral"));
}

}  // namespace
}  // namespace vernier
