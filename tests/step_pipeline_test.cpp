// Steps that are drawn elsewhere and heard of late: the engine over a runner gives the responses
// that it gives by itself.
#include "rollout/step_pipeline.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "rollout/engine.h"
#include "tests/engine_cases.h"
#include "tests/host_steps.h"
#include "tests/testing.h"
#include "tests/tiny_model.h"

namespace vernier {
namespace {

using kernels::WeightFormat;
using testing::check_same;
using testing::draw;
using testing::HostSteps;
using testing::Key;
using testing::Responses;
using testing::set_pages;
using testing::tiny_model;
using testing::usage_error;
using Seen = HostSteps::Seen;

constexpr int64_t kPositions = 512;

// Prompts of 3 to 280 tokens, two of them whole pages.
std::vector<Prompt> prompts_of(const Model& model, int64_t count) {
  std::vector<Prompt> prompts(static_cast<size_t>(count));
  for (size_t i = 0; i < prompts.size(); ++i) {
    Prompt& prompt = prompts[i];
    prompt.index = static_cast<int64_t>(i);
    prompt.id = cat(i);
    const size_t length = i == 2 ? 64 : i == 3 ? 128 : 3 + i * 67 % 280;
    for (size_t t = 0; t < length; ++t)
      prompt.text += static_cast<char>('0' + (t * t + i / 2) % 10);
    prompt.ids = model.tokenizer->encode(prompt.text);
  }
  return prompts;
}

RolloutConfig base() {
  RolloutConfig config;
  config.num_generations = 4;
  config.max_completion_length = 150;
  config.max_running = 64;
  config.record_logprobs = {"plain"};
  return config;
}

MakeStepRunner on_host(Seen& seen) {
  return [&seen](Decoder& decoder, const StepLimits& limits) {
    return std::make_unique<HostSteps>(decoder, limits, seen);
  };
}

Responses draw_alone(Model& model, const RolloutConfig& config) {
  Engine engine(*model.decoder, *model.tokenizer);
  return draw(engine, prompts_of(model, 9), config);
}

Responses draw_in_steps(Model& model, const RolloutConfig& config, Seen& seen,
                        EngineStats* stats = nullptr) {
  Engine engine(*model.decoder, *model.tokenizer, on_host(seen));
  return draw(engine, prompts_of(model, 9), config, stats);
}

TEST_CASE("steps heard of late give the same responses, chunked, shared and preempted") {
  Model model = tiny_model(false, 3, kPositions);
  for (const auto format : {WeightFormat::fp32, WeightFormat::bf16})
    for (const double temperature : {0.0, 0.7, 1.0}) {
      RolloutConfig config = base();
      config.ignore_eos = true;  // all of them grow over several pages
      config.weights = format;
      config.sampling.temperature = temperature;
      config.sampling.top_p = temperature == 1.0 ? 1.0 : 0.9;
      const Responses want = draw_alone(model, config);
      CHECK(want.size() == 36);
      for (const int64_t max_running : {1, 7, 64})
        for (const bool tight : {false, true}) {
          CAPTURE(temperature);
          CAPTURE(max_running);
          CAPTURE(tight);
          RolloutConfig other = config;
          other.max_running = max_running;
          other.max_step_tokens = max_running + 9;
          if (tight) set_pages(other, model, 13);
          EngineStats stats;
          Seen seen;
          check_same(draw_in_steps(model, other, seen, &stats), want);
          CHECK(stats.new_tokens == 36 * 150);
          if (tight && max_running > 1) CHECK(stats.scheduler.preemptions > 0);
          if (max_running > 1) CHECK(stats.scheduler.shared_tokens > 0);
          // The host does not wait for a step before the next one is under way.
          CHECK(seen.late > std::ssize(seen.batches) * 9 / 10);
        }
    }
}

TEST_CASE("a response that ends by any rule keeps what it had, whatever was drawn behind it") {
  Model model = tiny_model(false, 3, kPositions);
  std::vector<RolloutConfig> ways(5, base());
  ways[1].ending.stop = {"a1", "7b", "3"};
  ways[2].ending.stop_token_ids = {5, 9};
  ways[3].ending.repetition_ngram = 3;
  ways[3].ending.repetition_limit = 2;
  ways[3].sampling.temperature = 0.4;
  ways[4].max_completion_length = 1;
  for (RolloutConfig& config : ways) {
    const Responses want = draw_alone(model, config);
    int64_t tokens = 0;
    for (const auto& [key, response] : want) tokens += std::ssize(response.ids);
    for (const int64_t max_running : {5, 64}) {
      CAPTURE(&config - ways.data());
      CAPTURE(max_running);
      config.max_running = max_running;
      EngineStats stats;
      Seen seen;
      check_same(draw_in_steps(model, config, seen, &stats), want);
      CHECK(stats.new_tokens == tokens);  // and what came too late is not among them
    }
  }
}

TEST_CASE("the batch shrinks with the responses that are left, which move together") {
  Model model = tiny_model(false, 3, kPositions);
  const RolloutConfig config = base();  // ends at its end token, here and there
  Seen seen;
  check_same(draw_in_steps(model, config, seen), draw_alone(model, config));
  CHECK(*std::ranges::max_element(seen.batches) >= 32);
  CHECK(seen.moves > 0);
  // Once all prompts are in, it never grows again.
  const auto widest = std::ranges::max_element(seen.batches);
  const auto last = std::find(seen.batches.rbegin(), seen.batches.rend(), *widest).base();
  CHECK(std::is_sorted(last, seen.batches.end(), std::greater<>()));
  CHECK(seen.batches.back() <= 2);
}

TEST_CASE("a runner is kept from one generate to the next, and hears of new weights") {
  Model model = tiny_model(false, 3, kPositions);
  Seen seen;
  Engine engine(*model.decoder, *model.tokenizer, on_host(seen));
  const Responses want = draw_alone(model, base());
  EngineStats first, second;
  check_same(draw(engine, prompts_of(model, 9), base(), &first), want);
  check_same(draw(engine, prompts_of(model, 9), base(), &second), want);
  CHECK(second.scheduler.shared_tokens > first.scheduler.shared_tokens);
  model.decoder->weights().mul_(1.01);
  model.decoder->weights_changed();
  check_same(draw(engine, prompts_of(model, 9), base()), draw_alone(model, base()));
  RolloutConfig wider = base();
  wider.max_completion_length = 200;
  check_same(draw(engine, prompts_of(model, 9), wider), draw_alone(model, wider));
}

TEST_CASE("a request that is cancelled leaves its slots to others") {
  Model model = tiny_model(false, 3, kPositions);
  Seen seen;
  Engine engine(*model.decoder, *model.tokenizer, on_host(seen));
  RolloutConfig config = base();
  config.max_running = 8;
  const Responses want = draw_alone(model, config);
  const auto rules =
      std::make_shared<const DrawRules>(config, *model.tokenizer, model.decoder->spec());
  engine.open(config, 16, 300);
  Responses found;
  std::vector<int64_t> tickets;
  const auto submit = [&](const Prompt& prompt) {
    tickets.push_back(
        engine.submit({.prompt = prompt,
                       .rules = rules,
                       .key = {.seed = 5, .step = 2},
                       .weight_version = 7,
                       .grown = {},
                       .done = [&](Group&& group) {
                         for (Response& response : group.responses)
                           found[{group.prompt.index, response.sample}] = std::move(response);
                       }}));
  };
  const auto prompts = prompts_of(model, 9);
  for (size_t i = 0; i < prompts.size(); ++i) {
    submit(prompts[i]);
    for (int step = 0; step < 3; ++step) engine.step();
    if (i == 4) engine.cancel(tickets[3]);
  }
  while (!engine.idle()) engine.step();
  for (const auto& [key, response] : want) {
    if (key.first == 3)
      CHECK(found.count(key) == 0);
    else
      CHECK(found.at(key).ids == response.ids);
  }
  Prompt longer = prompts[0];
  longer.ids.assign(350, 1);
  CHECK(usage_error([&] { submit(longer); }).find("longer than the 450") != std::string::npos);
  CHECK(engine.idle());
}

TEST_CASE("logits that are not finite end the steps with the prompt's name") {
  Model model = tiny_model(false, 3, kPositions);
  Seen seen;
  Engine engine(*model.decoder, *model.tokenizer, on_host(seen));
  const Responses want = draw(engine, prompts_of(model, 9), base());
  const at::Tensor weights = model.decoder->weights().clone();
  model.decoder->weights().mul_(std::nan(""));
  model.decoder->weights_changed();
  CHECK_THROWS_WITH_AS(
      draw(engine, prompts_of(model, 9), base()),
      doctest::Contains("logits are not finite at token 1 of a response to prompt"), RunError);
  CHECK(engine.idle());
  CHECK(engine.running() + engine.waiting() == 0);
  // What was under way is nobody's.
  model.decoder->weights().copy_(weights);
  model.decoder->weights_changed();
  check_same(draw(engine, prompts_of(model, 9), base()), want);
}

TEST_CASE("what a GPU does not draw with is refused by name, all of it at once") {
  RolloutConfig config = base();
  CHECK(usage_error([&] { check_device_draw(config); }).empty());
  config.sampling.repetition_penalty = 1.2;
  config.sampling.logit_bias = {{3, 1.0}};
  config.top_logprobs = 2;
  config.record_logprobs = {"sampled", "plain"};
  config.ending.thinking_budget = 20;
  config.draft_tokens = 4;
  config.weights = WeightFormat::int8;
  Model model = tiny_model(false, 3, kPositions);
  Seen seen;
  Engine engine(*model.decoder, *model.tokenizer, on_host(seen));
  const std::string problem = usage_error([&] { engine.open(config, 4, 10); });
  for (const char* key : {"repetition_penalty: 1.2", "logit_bias", "top_logprobs: 2", "\"sampled\"",
                          "thinking_budget: 20", "draft_tokens: 4", "\"int8\""}) {
    CAPTURE(key);
    CHECK(problem.find(cat(key)) != std::string::npos);
  }
}

TEST_CASE("batches are powers of two, and all slots") {
  CHECK(step_batch(0, 6) == 0);
  CHECK(step_batch(1, 6) == 1);
  CHECK(step_batch(3, 6) == 4);
  CHECK(step_batch(5, 6) == 6);
  CHECK(step_batch(33, 256) == 64);
}

TEST_CASE("words are copied, then written") {
  std::vector<int32_t> words = {0, 1, 2, 3};
  const kernels::device::WordCopy copies[] = {{.to = 0, .from = 3}};
  const kernels::device::WordWrite writes[] = {{.to = 3, .value = -1}, {.to = 1, .value = 9}};
  kernels::ref::write_words(words.data(), copies, 1, writes, 2);
  CHECK(words == std::vector<int32_t>{3, 9, 2, -1});
}

}  // namespace
}  // namespace vernier
