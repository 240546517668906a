// The engine: the same responses however the work is cut, guessed or interrupted; requests that
// come and go; what it remembers about lengths.
#include "rollout/engine.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "rollout/drafts.h"
#include "rollout/lengths.h"
#include "tests/engine_cases.h"
#include "tests/testing.h"
#include "tests/tiny_model.h"

namespace vernier {
namespace {

using kernels::WeightFormat;
using testing::check_same;
using testing::draw;
using testing::Key;
using testing::Responses;
using testing::set_pages;
using testing::tiny_model;
using testing::usage_error;
using Ids = std::vector<int32_t>;

constexpr int64_t kPositions = 512;

// Prompts of 3 to 280 tokens; every second one begins as the one before.
std::vector<Prompt> prompts_of(const Model& model, int64_t count) {
  std::vector<Prompt> prompts(static_cast<size_t>(count));
  for (size_t i = 0; i < prompts.size(); ++i) {
    Prompt& prompt = prompts[i];
    prompt.index = static_cast<int64_t>(i);
    prompt.id = cat(i);
    const std::string digits = "0123456789";
    for (size_t t = 0; t < 3 + i * 67 % 280; ++t)
      prompt.text += digits[(t * t + i / 2) % digits.size()];
    prompt.text += cat("+", i % 10, "=");
    prompt.ids = model.tokenizer->encode(prompt.text);
  }
  return prompts;
}

RolloutConfig base() {
  RolloutConfig config;
  config.num_generations = 4;
  config.max_completion_length = 200;
  config.max_running = 64;
  return config;
}

Responses draw(Model& model, const RolloutConfig& config, EngineStats* stats = nullptr) {
  Engine engine(*model.decoder, *model.tokenizer);
  return draw(engine, prompts_of(model, 9), config, stats);
}

TEST_CASE("the same responses at every batch limit, chunked, preempted, shared and guessed") {
  Model model = tiny_model(false, 3, kPositions);
  for (const auto format :
       {WeightFormat::fp32, WeightFormat::bf16, WeightFormat::int8, WeightFormat::bf16_pairs}) {
    RolloutConfig config = base();
    config.ignore_eos = true;  // all of them grow over several pages
    config.max_completion_length = 150;
    config.weights = format;
    const Responses want = draw(model, config);
    CHECK(want.size() == 36);
    const bool all = format == WeightFormat::fp32;
    for (const int64_t max_running : all ? std::vector<int64_t>{1, 7, 64} : std::vector<int64_t>{7})
      for (const bool tight : {false, true})
        for (const int64_t draft_tokens : {0, 5}) {
          RolloutConfig other = config;
          other.max_running = max_running;
          other.max_step_tokens = max_running + 9;
          other.draft_tokens = draft_tokens;
          other.draft_ngram = 1;
          other.draft_rows = 100;
          if (tight) set_pages(other, model, 13);
          CAPTURE(max_running);
          CAPTURE(tight);
          CAPTURE(draft_tokens);
          EngineStats stats;
          check_same(draw(model, other, &stats), want);
          CHECK((stats.accepted_tokens > 0) == (draft_tokens > 0));
          CHECK(stats.drafted_tokens >= stats.accepted_tokens);
          if (tight) CHECK(stats.scheduler.peak_pages <= 13);
          if (tight && max_running > 1) CHECK(stats.scheduler.preemptions > 0);
          if (max_running > 1) CHECK(stats.scheduler.shared_tokens > 0);
        }
  }
}

TEST_CASE("guesses change nothing where rules end or steer a response") {
  Model model = tiny_model(false, 3, kPositions);
  RolloutConfig config = base();
  config.sampling.temperature = 0.7;
  config.sampling.top_p = 0.9;
  config.sampling.repetition_penalty = 1.2;
  config.think_end = "#";
  config.ending.thinking_budget = 20;
  config.ending.stop = {"a1", "7b"};
  config.ending.repetition_ngram = 4;
  config.record_logprobs = {"sampled", "plain"};
  config.top_logprobs = 3;
  const Responses want = draw(model, config);
  config.draft_tokens = 8;
  config.draft_ngram = 1;
  EngineStats stats;
  const Responses found = draw(model, config, &stats);
  check_same(found, want);
  CHECK(stats.drafted_tokens > 0);
  for (const auto& [key, response] : want) {
    CHECK(found.at(key).sampled_logprobs == response.sampled_logprobs);
    CHECK(found.at(key).plain_logprobs == response.plain_logprobs);
    CHECK(found.at(key).top_logprobs == response.top_logprobs);
    CHECK(found.at(key).forced == response.forced);
  }
}

TEST_CASE("an engine that remembers prompts gives what a new one gives") {
  Model model = tiny_model(false, 3, kPositions);
  Engine engine(*model.decoder, *model.tokenizer);
  const Responses want = draw(model, base());
  EngineStats first, second;
  check_same(draw(engine, prompts_of(model, 9), base(), &first), want);
  check_same(draw(engine, prompts_of(model, 9), base(), &second), want);
  CHECK(second.scheduler.shared_tokens > first.scheduler.shared_tokens);
  CHECK(second.scheduler.computed_tokens < first.scheduler.computed_tokens);
  // New weights: nothing that the old ones made may serve.
  model.decoder->weights().mul_(1.01);
  model.decoder->weights_changed();
  const Responses changed = draw(model, base());
  CHECK(changed.at({0, 0}).logprobs != want.at({0, 0}).logprobs);
  check_same(draw(engine, prompts_of(model, 9), base()), changed);
}

TEST_CASE("the most probable tokens are recorded with their log-probabilities") {
  Model model = tiny_model(false, 3, kPositions);
  RolloutConfig config = base();
  config.sampling.temperature = 0;
  config.top_logprobs = 4;
  for (const auto& [key, response] : draw(model, config)) {
    REQUIRE(response.top_logprobs.size() == response.ids.size());
    for (size_t t = 0; t < response.ids.size(); ++t) {
      const auto& top = response.top_logprobs[t];
      REQUIRE(top.size() == 4);
      // The pad token is never drawn, whatever its probability.
      const size_t best = top[0].first == *model.tokenizer->pad_id() ? 1 : 0;
      CHECK(top[best].first == response.ids[t]);
      CHECK(top[best].second == response.logprobs[t]);
      CHECK(std::is_sorted(top.begin(), top.end(),
                           [](const auto& a, const auto& b) { return a.second > b.second; }));
    }
  }
}

TEST_CASE("requests come and go: listeners hear every token, a cancelled one nothing more") {
  Model model = tiny_model(false, 3, kPositions);
  Engine engine(*model.decoder, *model.tokenizer);
  const RolloutConfig config = base();
  const Responses want = draw(model, config);
  const auto rules =
      std::make_shared<const DrawRules>(config, *model.tokenizer, model.decoder->spec());
  engine.open(config, 16, 300);
  Responses found;
  std::map<Key, Ids> heard;
  std::map<Key, int64_t> ends;
  std::vector<int64_t> tickets;
  const auto submit = [&](const Prompt& prompt) {
    const int64_t index = prompt.index;
    tickets.push_back(
        engine.submit({.prompt = prompt,
                       .rules = rules,
                       .key = {.seed = 5, .step = 2},
                       .weight_version = 7,
                       .grown =
                           [&, index](const Response& response, bool ended) {
                             heard[{index, response.sample}] = response.ids;
                             ends[{index, response.sample}] += ended ? 1 : 0;
                           },
                       .done =
                           [&](Group&& group) {
                             for (Response& response : group.responses)
                               found[{group.prompt.index, response.sample}] = std::move(response);
                           }}));
  };
  const auto prompts = prompts_of(model, 9);
  for (size_t i = 0; i < prompts.size(); ++i) {
    submit(prompts[i]);
    engine.step();
    engine.step();
    if (i == 4) {
      engine.cancel(tickets[3]);
      engine.cancel(tickets[3]);
    }
  }
  const size_t heard_before = heard[{3, 0}].size();
  while (!engine.idle()) engine.step();
  CHECK(heard[{3, 0}].size() == heard_before);
  CHECK(engine.running() == 0);
  CHECK(engine.waiting() == 0);
  for (const auto& [key, response] : want) {
    if (key.first == 3) {
      CHECK(found.count(key) == 0);
      continue;
    }
    CHECK(found.at(key).ids == response.ids);
    CHECK(heard.at(key) == response.ids);
    CHECK(ends.at(key) == 1);
  }
  // A prompt that can never fit is refused, and leaves no trace.
  Prompt large = prompts[0];
  large.ids.assign(400, 1);
  CHECK(usage_error([&] { submit(large); }).find("do not fit the model's 512 positions") !=
        std::string::npos);
  CHECK(engine.idle());
}

TEST_CASE("logits that are not finite end the pass with the prompt's name, and free its places") {
  Model model = tiny_model(false, 3, kPositions);
  Engine engine(*model.decoder, *model.tokenizer);
  model.decoder->weights().mul_(std::nan(""));
  model.decoder->weights_changed();
  CHECK_THROWS_WITH_AS(
      draw(engine, prompts_of(model, 2), base()),
      doctest::Contains("logits are not finite at token 1 of a response to prompt"), RunError);
  CHECK(engine.idle());
  CHECK(engine.running() + engine.waiting() == 0);
}

TEST_CASE("guesses: what followed the last time, in any text of the group") {
  const Ids prompt = {1, 2, 3, 9, 9, 1, 2};
  GroupDrafts drafts(prompt, 2, 2);
  CHECK(drafts.guess(0, 3) == Ids{3, 9, 9});  // 1 2 stood at the beginning
  CHECK(drafts.guess(1, 1) == Ids{3});
  drafts.add(0, 7);
  CHECK(drafts.guess(0, 4).empty());  // 2 7 is new
  drafts.add(1, 7);
  CHECK(drafts.guess(1, 4).empty());  // response 0 has nothing behind it yet
  drafts.add(0, 5);
  drafts.add(0, 6);
  CHECK(drafts.guess(1, 4) == Ids{5, 6});
  drafts.add(1, 5);
  CHECK(drafts.guess(1, 4) == Ids{6});
  GroupDrafts short_prompt(Ids{4}, 1, 3);
  for (const int32_t id : {5, 6, 4, 5, 6}) short_prompt.add(0, id);
  CHECK(short_prompt.guess(0, 2) == Ids{4, 5});
}

TEST_CASE("an engine does not read what another format of the weights left in the cache") {
  Model model = tiny_model(false, 3, kPositions);
  RolloutConfig rounded = base();
  rounded.weights = WeightFormat::int8;
  const Responses want = draw(model, rounded);
  Engine engine(*model.decoder, *model.tokenizer);
  draw(engine, prompts_of(model, 9), base());
  check_same(draw(engine, prompts_of(model, 9), rounded), want);
}

TEST_CASE("guesses stop where a response must: at its limit, and at the last position") {
  Model model = tiny_model(false, 3, 160);
  RolloutConfig config = base();
  config.ignore_eos = true;
  config.max_running = 1;  // the texts of those before go on where a response must stop
  std::vector<Prompt> prompts(1);
  prompts[0].id = "0";
  prompts[0].ids.assign(40, 3);
  config.max_completion_length = 120;
  Engine plain(*model.decoder, *model.tokenizer), guessing(*model.decoder, *model.tokenizer);
  const Responses want = draw(plain, prompts, config);
  config.draft_tokens = 8;
  config.draft_ngram = 1;
  EngineStats stats;
  check_same(draw(guessing, prompts, config, &stats), want);
  CHECK(stats.drafted_tokens > 100);
}

TEST_CASE("a pass that failed leaves nothing in the cache that it had only planned") {
  Model model = tiny_model(false, 3, kPositions);
  const auto rules =
      std::make_shared<const DrawRules>(base(), *model.tokenizer, model.decoder->spec());
  const Responses want = draw(model, base());
  Engine engine(*model.decoder, *model.tokenizer);
  engine.open(base(), 40, 400);
  std::vector<Prompt> prompts = prompts_of(model, 9);
  prompts.push_back(prompts[4]);
  prompts.back().ids[0] = 100000;  // which the pass refuses
  for (const Prompt& prompt : prompts)
    engine.submit({.prompt = prompt,
                   .rules = rules,
                   .key = {},
                   .weight_version = 0,
                   .grown = {},
                   .done = {}});
  const auto run = [&] {
    while (!engine.idle()) engine.step();
  };
  CHECK(usage_error(run).find("100000") != std::string::npos);
  prompts.pop_back();
  check_same(draw(engine, prompts, base()), want);
}

TEST_CASE("a cache that holds no page is refused") {
  Model model = tiny_model(false, 3, kPositions);
  RolloutConfig config = base();
  config.kv_cache_gb = 1e-6;
  CHECK(usage_error([&] { draw(model, config); }).find("kv_cache_gb = 1e-06") == 0);
}

TEST_CASE("expected lengths: of the prompt, of prompts as long, of all") {
  LengthPredictor lengths;
  CHECK(lengths.expected(1, 10) == 0);
  lengths.add(1, 10, 100);
  CHECK(lengths.expected(1, 10) == 100);
  CHECK(lengths.expected(2, 12) == 100);
  lengths.add(2, 100, 400);
  CHECK(lengths.expected(3, 101) == 400);
  CHECK(lengths.expected(3, 1000) == 137);  // 100 + (400 - 100) / 8
  CHECK(lengths.expected(1, 100) == 100);
  const int64_t other = 1 + (1 << 14);  // takes the place of prompt 1
  lengths.add(other, 10, 50);
  CHECK(lengths.expected(other, 10) == 50);
  CHECK(lengths.expected(1, 10) == 93);
}

}  // namespace
}  // namespace vernier
