// Answers: streamed text against the whole one, and the shapes of OpenAI's JSON.
#include <doctest/doctest.h>

#include "rollout/endpoint/answer.h"
#include "rollout/endpoint/counters.h"
#include "tests/testing.h"

namespace vernier {
namespace {

using Ids = std::vector<int32_t>;

Tokenizer tokenizer_of(const std::string& name) {
  const fs::path file = fs::path(VERNIER_TEST_CASES) / "text/tokenizers" / name / "tokenizer.json";
  return Tokenizer::from_json(read_file(file), file.string());
}

// Tokens of the texts, and bytes of them as tokens of their own.
Ids alphabet_of(const Tokenizer& tokenizer) {
  Ids out;
  for (const std::string piece : {"a", "b", "ab", " a", " ", "\u00e9", "\U0001F600", "ba"}) try {
      const Ids ids = tokenizer.encode(piece);
      out.insert(out.end(), ids.begin(), ids.end());
    } catch (const UsageError&) {
      continue;  // a character that this vocabulary does not have
    }
  for (const char* token : {"<0xC3>", "<0xA9>", "<0xF0>", "<0x9F>", "<0x98>", "<0x80>", "<0x61>",
                            "<0x20>", "a", "b", "\u2581a", "\u2581"})
    if (const auto id = tokenizer.id_of(token)) out.push_back(*id);
  return out;
}

// What the engine would keep of the ids, and the text that an answer should have of it.
std::string text_by_definition(const std::vector<std::string>& stop, const Tokenizer& tokenizer,
                               Ids& ids) {
  for (size_t t = 1; t <= ids.size(); ++t) {
    const std::string text = tokenizer.decode(std::span(ids).first(t));
    size_t end = std::string::npos, cut = 0;
    for (const std::string& one : stop) {
      const size_t at = text.find(one);
      if (at == std::string::npos || at + one.size() >= end) continue;
      end = at + one.size();
      cut = at;
    }
    if (end == std::string::npos) continue;
    ids.resize(t);
    return to_valid_utf8(text.substr(0, cut));
  }
  return to_valid_utf8(tokenizer.decode(ids));
}

TEST_CASE("the parts of a streamed text make the whole one, in every decoder, up to a stop text") {
  const std::vector<std::vector<std::string>> stops = {
      {}, {"ab"}, {"aab", "ba"}, {" a"}, {"\u00e9a", "\U0001F600"}, {"\uFFFD"}, {"abab", "bab"}};
  for (const char* name : {"gpt2", "llama2", "gemma", "mistral", "few-bytes", "metaspace-always",
                           "metaspace-never", "smollm2"}) {
    CAPTURE(std::string(name));
    const Tokenizer tokenizer = tokenizer_of(name);
    const TokenPieces pieces(tokenizer);
    const Ids alphabet = alphabet_of(tokenizer);
    Rng rng(12, Stream::init);
    for (int64_t round = 0; round < 200; ++round)
      for (const auto& stop : stops) {
        Ids ids;
        for (int i = 0; i < 14; ++i)
          ids.push_back(alphabet[static_cast<size_t>(rng.next_uniform() *
                                                     static_cast<double>(alphabet.size()))]);
        const std::string want = text_by_definition(stop, tokenizer, ids);
        TextStream stream(pieces, stop);
        std::string joined;
        for (size_t t = 0; t < ids.size(); ++t) {
          stream.add(ids[t]);
          if (t + 1 == ids.size()) stream.end();
          const std::string part = stream.take();
          REQUIRE(is_utf8(part));
          joined += part;
          CAPTURE(want);
          CAPTURE(joined);
          REQUIRE(want.starts_with(joined));
        }
        REQUIRE(joined == want);
      }
  }
}

TEST_CASE("a character over several tokens comes whole, with offsets in characters") {
  const Tokenizer tokenizer = tokenizer_of("gpt2");
  const TokenPieces pieces(tokenizer);
  TextStream stream(pieces, {"\u00e9!"});
  // U+00E9 and U+1F600, byte after byte.
  const auto byte = [&](const std::string& name) { return *tokenizer.id_of(name); };
  const Ids ids = {byte("a"), byte("\u00c3"), byte("\u00a9"), byte("b")};
  std::vector<std::string> parts;
  std::vector<int64_t> offsets;
  for (const int32_t id : ids) {
    stream.add(id);
    parts.push_back(stream.take());
    offsets.push_back(stream.offset());
  }
  // The character is the beginning of the stop text: it waits for what follows.
  CHECK(parts == std::vector<std::string>{"a", "", "", "\u00e9b"});
  CHECK(offsets == std::vector<int64_t>{0, 1, 1, 2});
}

// A model of characters: "0" is 0, "1" is 1, "." ends.
struct Scene {
  Tokenizer tokenizer = Tokenizer::from_characters("01é.", ".");
  TokenPieces pieces{tokenizer};
  ApiRequest request;
  AnswerHead head{.id = "id-1", .model = "tiny", .created = 7, .weight_version = 3, .seed = 5};

  Scene() { request.rollout.num_generations = 1; }
  Answer answer() const { return Answer(request, head, {{0, 1}}, pieces); }
};

News progress_of(const Ids& ids, bool ended, FinishReason reason = FinishReason::length,
                 std::vector<std::string> flags = {}) {
  News out{.ids = ids,
           .logprobs = {},
           .top_logprobs = {},
           .ended = ended,
           .finish_reason = reason,
           .flags = std::move(flags),
           .forced = {}};
  for (const int32_t id : ids) {
    out.logprobs.push_back(-0.5F);
    out.top_logprobs.push_back({{id, -0.5F}, {2, -1.5F}});
  }
  return out;
}

TEST_CASE("the shape of a completion, whole and in chunks") {
  Scene scene;
  scene.request.logprobs = true;
  scene.request.rollout.top_logprobs = 2;
  scene.request.return_token_ids = true;
  Answer whole = scene.answer();
  CHECK(whole.add(progress_of({0, 2}, false)) == "");
  CHECK(!whole.complete());
  whole.add(progress_of({1, 3}, true, FinishReason::stop));
  CHECK(whole.complete());
  CHECK(
      whole.whole() ==
      R"({"id":"id-1","object":"text_completion","created":7,"model":"tiny","weight_version":3,)"
      R"("seed":5,"choices":[{"index":0,"text":"0é1","logprobs":{"tokens":["0","é","1","."],)"
      R"("token_logprobs":[-0.5,-0.5,-0.5,-0.5],"top_logprobs":[{"0":-0.5,"é":-1.5},)"
      R"({"é":-0.5},{"1":-0.5,"é":-1.5},{".":-0.5,"é":-1.5}],"text_offset":[0,1,2,3]},)"
      R"("finish_reason":"stop","prompt_token_ids":[0,1],"token_ids":[0,2,1,3],"flags":[],"forced":[]}],)"
      R"("usage":{"prompt_tokens":2,"completion_tokens":4,"total_tokens":6}})");
  scene.request.stream = scene.request.include_usage = true;
  scene.request.logprobs = false;
  Answer parts = scene.answer();
  const std::string head =
      R"({"id":"id-1","object":"text_completion","created":7,"model":"tiny","weight_version":3,"seed":5,)";
  CHECK(parts.add(progress_of({0}, false)) ==
        head + R"("choices":[{"index":0,"text":"0","logprobs":null,"finish_reason":null,)"
               R"("prompt_token_ids":[0,1],"token_ids":[0]}],"usage":null})");
  CHECK(parts.add(progress_of({1, 3}, true, FinishReason::stop)) ==
        head + R"("choices":[{"index":0,"text":"1","logprobs":null,"finish_reason":"stop",)"
               R"("token_ids":[1,3],"flags":[],"forced":[]}],"usage":null})");
  CHECK(parts.usage_chunk() == head + R"("choices":[],"usage":{"prompt_tokens":2,)"
                                      R"("completion_tokens":3,"total_tokens":5}})");
}

TEST_CASE("the shape of a chat's answer, whole and in chunks") {
  Scene scene;
  scene.request.chat = scene.request.logprobs = true;
  scene.request.rollout.top_logprobs = 1;
  Answer whole = scene.answer();
  News one = progress_of({2}, true);
  one.top_logprobs[0].resize(1);
  whole.add(one);
  const std::string entry =
      R"({"content":[{"token":"é","logprob":-0.5,"bytes":[195,169],)"
      R"("top_logprobs":[{"token":"é","logprob":-0.5,"bytes":[195,169]}]}],"refusal":null})";
  CHECK(
      whole.whole() ==
      R"({"id":"id-1","object":"chat.completion","created":7,"model":"tiny","weight_version":3,)"
      R"("seed":5,"choices":[{"index":0,"message":{"role":"assistant","content":"é"},"logprobs":)" +
          entry +
          R"(,"finish_reason":"length","flags":[]}],)"
          R"("usage":{"prompt_tokens":2,"completion_tokens":1,"total_tokens":3}})");
  scene.request.stream = true;
  scene.request.logprobs = false;
  Answer parts = scene.answer();
  const std::string head =
      R"({"id":"id-1","object":"chat.completion.chunk","created":7,"model":"tiny","weight_version":3,"seed":5,)";
  CHECK(parts.add(progress_of({0}, false)) ==
        head + R"("choices":[{"index":0,"delta":{"role":"assistant","content":"0"},)"
               R"("logprobs":null,"finish_reason":null}]})");
  CHECK(parts.add(progress_of({3}, true, FinishReason::stop)) ==
        head + R"("choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop",)"
               R"("flags":[]}]})");
  CHECK(parts.usage_chunk() == "");
}

TEST_CASE("a text leaves out what ended it: end token, stop token, stop text over a border") {
  Scene scene;
  const auto text_of = [&](const News& progress) {
    Answer answer = scene.answer();
    answer.add(progress);
    return Json::parse(answer.whole())["choices"][0]["text"].get<std::string>();
  };
  CHECK(text_of(progress_of({0, 1, 3}, true, FinishReason::stop)) == "01");
  CHECK(text_of(progress_of({0, 1, 2}, true, FinishReason::stop, {"stop_token:2"})) == "01");
  CHECK(text_of(progress_of({0, 1, 2}, true)) == "01é");
  scene.request.rollout.ending.stop = {"1é"};
  CHECK(text_of(progress_of({0, 1, 2}, true, FinishReason::stop, {"stop:1é"})) == "0");
  CHECK(text_of(progress_of({0, 1}, true)) == "01");
  CHECK(text_of(progress_of({0, 1, 3}, true, FinishReason::stop)) == "01");
}

TEST_CASE("counters are Prometheus' text") {
  Counters counters;
  counters.answered("/v1/completions", 200);
  counters.answered("/v1/completions", 200);
  counters.rejected("queue");
  counters.first_token(0.02);
  counters.first_token(1000);
  const std::string text = counters.text({.open = 2, .new_tokens = 9}, 4);
  for (const char* line : {"vernier_requests_total{route=\"/v1/completions\",status=\"200\"} 2",
                           "vernier_rejected_total{reason=\"queue\"} 1", "vernier_responses_open 2",
                           "vernier_generated_tokens_total 9", "vernier_weight_version 4",
                           "vernier_time_to_first_token_seconds_bucket{le=\"0.01\"} 0",
                           "vernier_time_to_first_token_seconds_bucket{le=\"0.025\"} 1",
                           "vernier_time_to_first_token_seconds_bucket{le=\"300\"} 1",
                           "vernier_time_to_first_token_seconds_bucket{le=\"+Inf\"} 2",
                           "vernier_time_to_first_token_seconds_sum 1000.02"}) {
    CAPTURE(line);
    CHECK(text.find(cat("\n", line, "\n")) != std::string::npos);
  }
}

}  // namespace
}  // namespace vernier
