// When a response ends: stop texts, stop tokens, thinking budget, repetition; against definitions.
#include "rollout/ending.h"

#include <doctest/doctest.h>

#include "tests/testing.h"

namespace vernier {
namespace {

using testing::usage_error;
using Ids = std::vector<int32_t>;

Tokenizer tokenizer_of(const std::string& name) {
  const fs::path file = fs::path(VERNIER_TEST_CASES) / "text/tokenizers" / name / "tokenizer.json";
  return Tokenizer::from_json(read_file(file), file.string());
}

// Tokens up to and with the one that ends the response, all where none does; and why.
struct Ended {
  size_t tokens = 0;
  std::string flag;
  FinishReason reason = FinishReason::length;
  bool operator==(const Ended&) const = default;
};

Ended run(const EndingConfig& config, const Tokenizer& tokenizer, const Ids& ids,
          int32_t think_start = -1, int32_t think_end = -1) {
  Endings endings(config, think_start, think_end, tokenizer);
  Endings::State state = endings.begin({});
  for (size_t t = 1; t <= ids.size(); ++t)
    if (const auto end = endings.add(state, std::span(ids).first(t)))
      return {t, end->flag, end->reason};
  return {ids.size(), "", FinishReason::length};
}

// The definition: the first token after which the text has a stop text; of several the one that is
// complete first.
Ended by_definition(const std::vector<std::string>& stop, const Tokenizer& tokenizer,
                    const Ids& ids) {
  for (size_t t = 1; t <= ids.size(); ++t) {
    const std::string text = tokenizer.decode(std::span(ids).first(t));
    size_t first = std::string::npos;
    std::string flag;
    for (const std::string& one : stop) {
      const size_t at = text.find(one);
      if (at == std::string::npos || at + one.size() >= first) continue;
      first = at + one.size();
      flag = "stop:" + one;
    }
    if (!flag.empty()) return {t, flag, FinishReason::stop};
  }
  return {ids.size(), "", FinishReason::length};
}

TEST_CASE("stop texts end a response at the first token whose text has one, in every decoder") {
  const std::vector<std::vector<std::string>> stops = {
      {"ab"},         {"aab", "ba"}, {" a"},
      {"a b"},        {"\u00e9"},    {"\u00e9a", "\U0001F600"},
      {"\uFFFD"},     {"\uFFFDa"},   {"b\u00e9\u00e9", "aaaa"},
      {"abab", "bab"}};
  const std::vector<std::string> pieces = {"a", "b", "ab", " a", " ", "\u00e9", "\U0001F600", "ba"};
  for (const char* name : {"gpt2", "llama2", "gemma", "mistral", "few-bytes", "metaspace-always",
                           "metaspace-never", "smollm2"}) {
    CAPTURE(name);
    const Tokenizer tokenizer = tokenizer_of(name);
    Ids alphabet;  // tokens of the pieces, and bytes of them as tokens of their own
    for (const std::string& piece : pieces) try {
        const Ids ids = tokenizer.encode(piece);
        alphabet.insert(alphabet.end(), ids.begin(), ids.end());
      } catch (const UsageError&) {
        continue;  // a character that this vocabulary does not have
      }
    for (const char* token : {"<0xC3>", "<0xA9>", "<0xF0>", "<0x9F>", "<0x98>", "<0x80>", "<0x61>",
                              "<0x20>", "a", "b", "\u2581a", "\u2581"})
      if (const auto id = tokenizer.id_of(token)) alphabet.push_back(*id);
    Rng rng(11, Stream::init);
    int64_t found = 0;
    for (int64_t round = 0; round < 400; ++round)
      for (const auto& stop : stops) {
        Ids ids;
        for (int i = 0; i < 14; ++i)
          ids.push_back(alphabet[static_cast<size_t>(rng.next_uniform() *
                                                     static_cast<double>(alphabet.size()))]);
        const Ended want = by_definition(stop, tokenizer, ids);
        found += want.flag.empty() ? 0 : 1;
        REQUIRE(run({.stop = stop}, tokenizer, ids) == want);
      }
    CHECK(found > 300);
  }
}

TEST_CASE("a decoder that looks at several tokens refuses stop texts, and only those") {
  Json json = Json::parse(
      read_file(fs::path(VERNIER_TEST_CASES) / "text/tokenizers/llama2/tokenizer.json"));
  json["decoder"]["decoders"][3]["stop"] = 1;
  const Tokenizer tokenizer = Tokenizer::from_json(json.dump(), "t.json");
  CHECK(usage_error([&] { run({.stop = {"a"}}, tokenizer, {}); }).find("rollout.stop: t.json") ==
        0);
  CHECK(run({.stop_token_ids = {5}}, tokenizer, {4, 5, 6}) ==
        Ended{2, "stop_token:5", FinishReason::stop});
}

TEST_CASE("stop tokens end a response, before a stop text of the same token") {
  const Tokenizer tokenizer = Tokenizer::from_characters("abcd.", ".");
  const Ids ids = tokenizer.encode("aabbcc");
  CHECK(run({.stop = {"bb"}, .stop_token_ids = {2}}, tokenizer, ids) ==
        Ended{4, "stop:bb", FinishReason::stop});
  CHECK(run({.stop = {"bb"}, .stop_token_ids = {1}}, tokenizer, ids) ==
        Ended{3, "stop_token:1", FinishReason::stop});
  CHECK(run({.stop = {"b"}, .stop_token_ids = {1}}, tokenizer, ids) ==
        Ended{3, "stop_token:1", FinishReason::stop});
  CHECK(run({}, tokenizer, ids) == Ended{6, "", FinishReason::length});
}

// Whether the last n x limit tokens have a period of at most n.
bool repeats_by_definition(std::span<const int32_t> ids, int64_t n, int64_t limit) {
  if (std::ssize(ids) < n * limit) return false;
  const auto tail = ids.last(static_cast<size_t>(n * limit));
  for (size_t period = 1; period <= static_cast<size_t>(n); ++period) {
    bool same = true;
    for (size_t i = period; i < tail.size(); ++i) same = same && tail[i] == tail[i - period];
    if (same) return true;
  }
  return false;
}

TEST_CASE("repetition ends a response whose tail repeats a block, as defined") {
  const Tokenizer tokenizer = Tokenizer::from_characters("ab.", ".");
  Rng rng(12, Stream::init);
  int64_t found = 0;
  for (int64_t round = 0; round < 3000; ++round) {
    const auto n = 1 + static_cast<int64_t>(rng.next_uniform() * 4);
    const auto limit = 2 + static_cast<int64_t>(rng.next_uniform() * 3);
    Ids ids;
    for (int i = 0; i < 30; ++i) ids.push_back(rng.next_uniform() < 0.5 ? 0 : 1);
    Ended want{30, "", FinishReason::length};
    for (size_t t = 30; t > 0; --t)
      if (repeats_by_definition(std::span(ids).first(t), n, limit))
        want = {t, "repetition", FinishReason::length};
    found += want.flag.empty() ? 0 : 1;
    REQUIRE(run({.repetition_ngram = n, .repetition_limit = limit}, tokenizer, ids) == want);
  }
  CHECK(found > 1000);
}

TEST_CASE("the thinking budget forces the end where the thinking is open and used up") {
  const Tokenizer tokenizer = Tokenizer::from_characters("ab<>.", ".");
  const EndingConfig config{.thinking_budget = 2};
  const auto forced_after = [&](const std::string& prompt, const std::string& text, int32_t start) {
    Endings endings(config, start, 3, tokenizer);
    Endings::State state = endings.begin(tokenizer.encode(prompt));
    const Ids ids = tokenizer.encode(text);
    std::string out;
    for (size_t t = 0; t <= ids.size(); ++t) {
      out += endings.forced(state) == 3 ? '!' : '-';
      if (t < ids.size()) endings.add(state, std::span(ids).first(t + 1));
    }
    return out;
  };
  CHECK(forced_after("a", "ab>b", -1) == "--!--");      // open from the start
  CHECK(forced_after("a", "a>bbbb", -1) == "-------");  // closed in time
  CHECK(forced_after("a", "ab<ab>a", 2) == "-----!--");
  CHECK(forced_after("a<", "ab>a", 2) == "--!--");  // the prompt opened it
  CHECK(forced_after("a<>", "abab", 2) == "-----");
  CHECK(forced_after("a", "><abab", 2) ==
        "-------");  // as set_spans(): it was over before it began
}

TEST_CASE("keys of the endings: read, written back, refused where they say nothing") {
  const auto bind = [](const std::string& text, const std::string& think_end = "#") {
    EndingConfig config;
    ConfigFile file = ConfigFile::parse(text, "f");
    file.bind([&](Binder& root) { config.bind(root, 100, think_end); });
    return file.effective();
  };
  CHECK(bind("stop = [\"\\n\", \"\u00e9\"]\nstop_token_ids = [5, 7]\nthinking_budget = 99\n"
             "repetition_ngram = 25")
            .find("stop = [\"\\n\", \"\u00e9\"]\nstop_token_ids = [5, 7]\nthinking_budget = 99\n"
                  "repetition_ngram = 25\nrepetition_limit = 4") != std::string::npos);
  CHECK(bind("", "").find("thinking_budget") == std::string::npos);
  CHECK(bind("").find("repetition_limit") == std::string::npos);
  const auto problem = [&](const std::string& text, const std::string& think_end = "#") {
    return usage_error([&] { bind(text, think_end); });
  };
  CHECK(problem("stop = \"x\"") == "f:1:8: stop: \"x\" is not a list of text");
  CHECK(problem("stop = [\"x\", \"\"]").find("stop: \"\" in the list is empty") !=
        std::string::npos);
  CHECK(problem("stop = [\"x\", \"x\"]").find("stop: \"x\" is in the list twice") !=
        std::string::npos);
  CHECK(problem("stop = [1]").find("stop: 1 in the list is not a text") != std::string::npos);
  CHECK(
      problem("stop_token_ids = [-1]").find("-1 in the list is not a number of 0 to 2147483647") !=
      std::string::npos);
  CHECK(problem("stop_token_ids = [1, 1]").find("an id is in the list twice") != std::string::npos);
  CHECK(problem("thinking_budget = 3", "")
            .find("thinking_budget: has no effect with think_end = \"\"") != std::string::npos);
  CHECK(
      problem("thinking_budget = 100").find("100 has no effect with max_completion_length = 100") !=
      std::string::npos);
  CHECK(problem("repetition_limit = 3").find("has no effect with repetition_ngram = 0") !=
        std::string::npos);
  CHECK(problem("repetition_ngram = 26").find("allowed are 0 to 25") != std::string::npos);
  CHECK(problem("repetition_ngram = 2\nrepetition_limit = 1").find("1 is outside the allowed") !=
        std::string::npos);
}

TEST_CASE("a table by token ids: read, written back, overridden; other keys are named") {
  std::map<int64_t, double> found;
  const auto bind = [&](const std::string& text, const std::vector<std::string>& overrides = {}) {
    found.clear();
    ConfigFile file = ConfigFile::parse(text, "f", overrides);
    file.bind([&](Binder& root) {
      root.table("r", [&](Binder& b) { b.by_id("logit_bias", found, -100, 100, "doc"); });
    });
    return file.effective();
  };
  const std::map<int64_t, double> want = {{7, 2}, {1234, -100}};
  const std::string text = bind("[r]\nlogit_bias = { \"1234\" = -100, 7 = 2.0 }");
  CHECK(found == want);
  CHECK(text == "[r]\nlogit_bias = { \"7\" = 2.0, \"1234\" = -100.0 }\n");
  CHECK(bind(text) == text);
  CHECK(bind(bind("")) == "[r]\nlogit_bias = {}\n");
  bind("", {"r.logit_bias.1234=-100", "r.logit_bias.7=2"});
  CHECK(found == want);
  const auto problem = [&](const std::string& value) {
    return usage_error([&] { bind("[r]\nlogit_bias = " + value); });
  };
  CHECK(problem("3").find("f:2:14: r.logit_bias: 3 is not a table of token ids") == 0);
  for (const char* key : {"x", "-1", "01", "2147483648", "\"\""})
    CHECK(problem(cat("{ ", key, " = 1 }")).find("is not a token id, 0 to 2147483647") !=
          std::string::npos);
  CHECK(problem("{ 5 = 101 }").find("101 of id 5 is not a number of -100 to 100") !=
        std::string::npos);
  CHECK(problem("{ 5 = nan }").find("of id 5 is not a number of") != std::string::npos);
  CHECK(problem("{ 5 = \"1\" }").find("\"1\" of id 5 is not a number of") != std::string::npos);
}

}  // namespace
}  // namespace vernier
