// What the engine does to logits, and how it ends responses, on a tiny model.
#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <set>

#include "core/kernels/ops.h"
#include "rollout/engine.h"
#include "rollout/prompts.h"
#include "rollout/rows.h"
#include "tests/testing.h"
#include "tests/tiny_model.h"
#include "trainer/credit.h"
#include "trainer/run_config.h"
#include "trainer/step.h"

namespace vernier {
namespace {

using testing::tiny_model;
using testing::usage_error;
using Key = std::pair<int64_t, int64_t>;  // prompt, sample
using Floats = std::vector<float>;

std::vector<Prompt> prompts_of(const Model& model, int64_t count) {
  std::vector<Prompt> prompts(static_cast<size_t>(count));
  for (size_t i = 0; i < prompts.size(); ++i) {
    prompts[i].index = static_cast<int64_t>(i);
    prompts[i].id = cat(i);
    prompts[i].text = cat("a", i % 10, "b", i % 7, "=");
    prompts[i].ids = model.tokenizer->encode(prompts[i].text);
  }
  return prompts;
}

RolloutConfig base() {
  RolloutConfig config;
  config.num_generations = 5;
  config.max_completion_length = 40;
  config.think_end = "#";
  return config;
}

std::map<Key, Response> draw(Model& model, const RolloutConfig& config,
                             std::vector<Prompt> prompts) {
  Engine engine(*model.decoder, *model.tokenizer);
  std::map<Key, Response> out;
  engine.generate(std::move(prompts), config, {.seed = 5, .step = 2}, 7, nullptr,
                  [&](Group&& group) {
                    for (Response& response : group.responses)
                      out[{group.prompt.index, response.sample}] = std::move(response);
                  });
  return out;
}
std::map<Key, Response> draw(Model& model, const RolloutConfig& config) {
  return draw(model, config, prompts_of(model, 9));
}

// Log-probabilities of `targets` where the response's tokens stand, from one full pass.
Floats full_pass(Model& model, const std::vector<int32_t>& prompt, const Response& response,
                 const std::vector<int32_t>& targets, double temperature) {
  const at::NoGradGuard no_grad;
  PackedTokens tokens;
  std::vector<int32_t> ids = prompt;
  ids.insert(ids.end(), response.ids.begin(), response.ids.end() - 1);
  tokens.add(ids);
  const at::Tensor hidden = model.decoder->hidden(tokens)
                                .narrow(0, std::ssize(prompt) - 1, std::ssize(response.ids))
                                .contiguous();
  const at::Tensor found =
      ops::token_logprobs(hidden, model.decoder->head(), targets, temperature).logprob;
  return {found.const_data_ptr<float>(), found.const_data_ptr<float>() + found.numel()};
}

TEST_CASE("recorded log-probabilities are the model's, whatever was drawn from") {
  Model model = tiny_model(false);
  RolloutConfig config = base();
  config.sampling = {.temperature = 0.8,
                     .top_k = 12,
                     .repetition_penalty = 1.3,
                     .logit_bias = {{2, 3.0}, {5, -100.0}}};
  config.ending.thinking_budget = 6;
  config.record_logprobs = {"sampled", "plain"};
  const auto prompts = prompts_of(model, 9);
  int64_t forced = 0;
  for (const auto& [key, response] : draw(model, config)) {
    const auto& prompt = prompts[static_cast<size_t>(key.first)].ids;
    CHECK(response.logprobs == full_pass(model, prompt, response, response.ids, 0.8));
    CHECK(response.plain_logprobs == full_pass(model, prompt, response, response.ids, 1));
    CHECK(std::find(response.ids.begin(), response.ids.end(), 5) == response.ids.end());
    REQUIRE(response.sampled_logprobs.size() == response.ids.size());
    for (const int32_t place : response.forced)
      CHECK(response.sampled_logprobs[static_cast<size_t>(place)] == 0);
    forced += std::ssize(response.forced);
  }
  CHECK(forced > 10);
}

TEST_CASE("without filters the sampled log-probability is the tempered one, less the pad token") {
  Model model = tiny_model(false);
  RolloutConfig config = base();
  config.sampling.temperature = 1.2;
  const auto free = draw(model, config);
  config.record_logprobs = {"sampled"};
  const auto recorded = draw(model, config);
  const auto prompts = prompts_of(model, 9);
  for (const auto& [key, response] : recorded) {
    CHECK(response.ids == free.at(key).ids);
    CHECK(response.logprobs == free.at(key).logprobs);
    CHECK(free.at(key).sampled_logprobs.empty());
    CHECK(response.plain_logprobs.empty());
    const std::vector<int32_t> pads(response.ids.size(), *model.tokenizer->pad_id());
    const Floats pad =
        full_pass(model, prompts[static_cast<size_t>(key.first)].ids, response, pads, 1.2);
    for (size_t t = 0; t < response.ids.size(); ++t)
      CHECK(response.sampled_logprobs[t] ==
            doctest::Approx(response.logprobs[t] - std::log1p(-std::exp(double{pad[t]})))
                .epsilon(1e-5));
  }
}

TEST_CASE("a repetition penalty counts prompt and response, and the greedy choice respects it") {
  Model model = tiny_model(false);
  RolloutConfig config = base();
  config.num_generations = 1;
  config.ignore_eos = true;
  config.sampling = {.temperature = 0, .repetition_penalty = 1.8};
  const auto prompts = prompts_of(model, 5);
  const at::NoGradGuard no_grad;
  int64_t changed = 0;
  for (const auto& [key, response] : draw(model, config, prompts)) {
    std::vector<int32_t> ids = prompts[static_cast<size_t>(key.first)].ids;
    for (const int32_t drawn : response.ids) {
      PackedTokens tokens;
      tokens.add(ids);
      const at::Tensor hidden = model.decoder->hidden(tokens).narrow(0, std::ssize(ids) - 1, 1);
      at::Tensor logits = model.decoder->logits(hidden.contiguous()).clone();
      float* row = logits.mutable_data_ptr<float>();
      const auto best = [&] {  // of all but the pad token, the last id
        return static_cast<int32_t>(std::max_element(row, row + logits.size(1) - 1) - row);
      };
      const int32_t unchanged = best();
      const std::set<int32_t> seen(ids.begin(), ids.end());
      kernels::adjust_logits(row, config.sampling, std::vector(seen.begin(), seen.end()));
      CHECK(drawn == best());
      changed += drawn != unchanged ? 1 : 0;
      ids.push_back(drawn);
    }
  }
  CHECK(changed > 20);
}

TEST_CASE("a stop text or token ends a response where it is complete, and changes nothing else") {
  Model model = tiny_model(false);
  RolloutConfig config = base();
  const auto free = draw(model, config);
  config.ending.stop = {"3", "ab", "b7"};
  config.ending.stop_token_ids = {12};
  const auto together = draw(model, config);
  config.max_running = 3;
  const auto apart = draw(model, config);
  std::map<std::string, int64_t> flags;
  for (const auto& [key, response] : together) {
    const Response& whole = free.at(key);
    CHECK(response.ids == apart.at(key).ids);
    CHECK(response.flags == apart.at(key).flags);
    CHECK(response.num_tokens == std::ssize(response.ids));
    CHECK(response.text == model.tokenizer->decode(response.ids));
    REQUIRE(response.ids.size() <= whole.ids.size());
    CHECK(std::equal(response.ids.begin(), response.ids.end(), whole.ids.begin()));
    CHECK(std::equal(response.logprobs.begin(), response.logprobs.end(), whole.logprobs.begin()));
    if (response.flags.empty()) {
      CHECK(response.ids.size() == whole.ids.size());
      CHECK(response.finish_reason == whole.finish_reason);
      continue;
    }
    REQUIRE(response.flags.size() == 1);
    ++flags[response.flags[0]];
    CHECK(response.finish_reason == FinishReason::stop);
    if (response.flags[0] == "stop_token:12")
      CHECK(response.ids.back() == 12);
    else
      CHECK(response.text.ends_with(response.flags[0].substr(5)));
  }
  CHECK(flags["stop:3"] > 5);
  CHECK(flags["stop_token:12"] > 5);
  config.ending.stop_token_ids = {25};
  CHECK(usage_error([&] { draw(model, config); }) ==
        "rollout.stop_token_ids: token id 25 is outside the model's vocabulary, 0 to 24");
  config.ending.stop_token_ids = {};
  config.sampling.logit_bias = {{25, 1.0}};
  CHECK(usage_error([&] { draw(model, config); }).find("rollout.logit_bias: token id 25") == 0);
}

TEST_CASE("the end of the thinking is forced at its budget, and a row says so") {
  Model model = tiny_model(false);
  RolloutConfig config = base();
  const auto free = draw(model, config);
  config.ending.thinking_budget = 8;
  int64_t forced = 0;
  for (const auto& [key, response] : draw(model, config)) {
    CHECK(response.think.end - response.think.begin <= 8);
    const bool over = free.at(key).think.end >= 8 && free.at(key).num_tokens > 8;
    CHECK(response.forced == (over ? std::vector<int32_t>{8} : std::vector<int32_t>{}));
    CHECK((std::find(response.flags.begin(), response.flags.end(), "thinking_budget") !=
           response.flags.end()) == over);
    CHECK(response.logprobs.size() == response.ids.size());
    CHECK(drawn_tokens(response) == response.num_tokens - (over ? 1 : 0));
    if (!over) {
      CHECK(response.ids == free.at(key).ids);
      continue;
    }
    ++forced;
    CHECK(model.tokenizer->decode(std::span(response.ids).subspan(8, 1)) == "#");
    CHECK(std::equal(response.ids.begin(), response.ids.begin() + 8, free.at(key).ids.begin()));
    CHECK(response.answer_span.begin == 9);
  }
  CHECK(forced > 10);
}

TEST_CASE("forced tokens are no part of an update") {
  Model model = tiny_model(true);
  RolloutConfig config = base();
  config.ending.thinking_budget = 4;
  std::vector<Group> groups;
  Engine(*model.decoder, *model.tokenizer)
      .generate(prompts_of(model, 4), config, {.seed = 5, .step = 2}, 0, nullptr,
                [&](Group&& group) { groups.push_back(std::move(group)); });
  int64_t drawn = 0, all = 0;
  for (Group& group : groups)
    for (Response& response : group.responses) {
      response.reward = response.sample;
      response.advantage = 0.5 * static_cast<double>(response.sample) - 1;
      drawn += drawn_tokens(response);
      all += response.num_tokens;
    }
  REQUIRE(drawn < all);
  Update update = make_update(groups, 0, groups.size(), 40);
  CHECK(update.totals.tokens == drawn);
  fill_logprobs(*model.decoder, update, 1.0, 100, false);
  for (const Sample& sample : update.samples) {
    Floats want;
    const Response& response = *sample.response;
    for (size_t t = 0; t < response.ids.size(); ++t)
      if (std::find(response.forced.begin(), response.forced.end(), t) == response.forced.end())
        want.push_back(response.logprobs[t]);
    CHECK(sample.old == want);
  }
  ConfigFile file = ConfigFile::parse("", "test");
  std::unique_ptr<Algorithm> algorithm;
  file.bind([&](Binder& root) {
    algorithm = AlgorithmRegistry::all().at("grpo").make(root, {5, 40});
  });
  OptimizerState state(*model.decoder);
  Metrics metrics;
  optimizer_step(*model.decoder, state, *algorithm, update, 1.0, 100, {}, 1e-3, nullptr, metrics);
  CHECK(metrics.get("sampling/sampling_logp_difference/max") == 0);
}

TEST_CASE("a row's own max_completion_length ends its responses; one above the limit is an error") {
  Model model = tiny_model(false);
  RolloutConfig config = base();
  config.ignore_eos = true;
  auto prompts = prompts_of(model, 4);
  prompts[1].max_completion_length = 1;
  prompts[2].max_completion_length = 17;
  for (const auto& [key, response] : draw(model, config, prompts))
    CHECK(response.num_tokens ==
          prompts[static_cast<size_t>(key.first)].max_completion_length.value_or(40));
  prompts[1].max_completion_length = 41;
  CHECK(usage_error([&] { draw(model, config, prompts); }) ==
        "prompt 1: its max_completion_length: 41 is outside the allowed range, 1 to 40 (the "
        "configured max_completion_length)");
  testing::TemporaryFolder folder;
  const std::string path = (folder.path() / "p.jsonl").string();
  const auto read = [&](const std::string& value) {
    write_file(path, cat("{\"prompt\":\"x\",\"max_completion_length\":", value, "}\n"));
    return file_prompts(path, DataConfig(), false, 1)->take(0, 1)[0].max_completion_length;
  };
  CHECK(read("12") == 12);
  CHECK(!read("null").has_value());
  for (const char* bad : {"0", "-3", "2.5", "\"7\"", "16777217"})
    CHECK(usage_error([&] { read(bad); }) ==
          cat(path, ":1: max_completion_length: ", bad, " is not an integer of 1 to 16777216"));
}

TEST_CASE("repetition ends a response with its flag") {
  Model model = tiny_model(false);
  RolloutConfig config = base();
  config.num_generations = 1;
  config.ignore_eos = true;
  config.sampling.temperature = 0;
  const auto free = draw(model, config);
  config.ending.repetition_ngram = 3;
  config.ending.repetition_limit = 3;
  int64_t ended = 0;
  for (const auto& [key, response] : draw(model, config)) {
    CHECK(std::equal(response.ids.begin(), response.ids.end(), free.at(key).ids.begin()));
    if (response.flags.empty()) {
      CHECK(response.num_tokens == 40);
      continue;
    }
    ++ended;
    CHECK(response.flags == std::vector<std::string>{"repetition"});
    CHECK(response.finish_reason == FinishReason::length);
    CHECK(response.num_tokens >= 9);
  }
  CHECK(ended > 0);
}

TEST_CASE("rows keep flags, forced places and the log-probabilities that were asked for") {
  Model model = tiny_model(false);
  RolloutConfig config = base();
  config.ending.thinking_budget = 4;
  config.ending.stop = {"1"};
  config.record_logprobs = {"plain", "sampled"};
  std::vector<Group> groups;
  auto prompts = prompts_of(model, 4);
  prompts[2].max_completion_length = 20;
  Engine(*model.decoder, *model.tokenizer)
      .generate(prompts, config, {}, 0, nullptr,
                [&](Group&& group) { groups.push_back(std::move(group)); });
  std::sort(groups.begin(), groups.end(),
            [](const Group& a, const Group& b) { return a.id < b.id; });
  testing::TemporaryFolder folder;
  write_rollout_files(folder.path(), 1, groups, true, "tempered");
  std::vector<Group> read;
  read_rollouts((folder.path() / "step_1.jsonl.zst").string(),
                [&](Group&& group) { read.push_back(std::move(group)); });
  REQUIRE(read.size() == groups.size());
  for (size_t g = 0; g < groups.size(); ++g) {
    CHECK(read[g].prompt.max_completion_length == groups[g].prompt.max_completion_length);
    for (size_t i = 0; i < groups[g].responses.size(); ++i) {
      const Response &was = groups[g].responses[i], &is = read[g].responses[i];
      CHECK(is.flags == was.flags);
      CHECK(is.forced == was.forced);
      CHECK(is.sampled_logprobs == was.sampled_logprobs);
      CHECK(is.plain_logprobs == was.plain_logprobs);
    }
  }
  const Json plain = rollout_row(groups[0], groups[0].responses[0], false, "tempered");
  CHECK(plain.contains("flags"));
  CHECK(!plain.contains("sampled_logprobs"));
  const auto message = [&](const std::string& keys) {
    const fs::path path = folder.path() / "bad.jsonl";
    write_file(path, cat("{\"group\":0,\"response_ids\":[1,2],", keys, "}\n"));
    return usage_error([&] { read_rollouts(path.string(), [](Group&&) {}); });
  };
  CHECK(message("\"forced\":[0,1]").empty());
  for (const char* bad : {"[2]", "[1,1]", "[-1]"})
    CHECK(message(cat("\"forced\":", bad)).find("is not a place of 2 tokens") != std::string::npos);
  CHECK(message("\"sampled_logprobs\":[0.5]").find("sampled_logprobs: 1 for 2 tokens") !=
        std::string::npos);
  CHECK(message("\"flags\":\"stop\"").find("flags: \"stop\" has the wrong type") !=
        std::string::npos);
}

TEST_CASE("[rollout] names what has no effect") {
  const auto problem = [](const std::vector<std::string>& overrides) {
    return usage_error([&] {
      ConfigFile file = ConfigFile::load(cat(VERNIER_CONFIGS, "/smoke.toml"), overrides);
      RunConfig::load(file);
    });
  };
  CHECK(problem({"rollout.record_logprobs=[\"sampled\"]", "log.rollouts.token_fields=false"})
            .find("rollout: record_logprobs: has no effect without log.rollouts.every") !=
        std::string::npos);
  CHECK(problem({"rollout.record_logprobs=[\"sampled\"]", "log.rollouts.every=1",
                 "log.rollouts.token_fields=true"})
            .empty());
  CHECK(problem({"rollout.record_logprobs=[\"sampeld\"]"}).find("did you mean sampled") !=
        std::string::npos);
  CHECK(problem({"rollout.repetition_penalty=0"})
            .find("rollout.repetition_penalty: 0.0 is outside the allowed range, 0.01 to 100") !=
        std::string::npos);
}

}  // namespace
}  // namespace vernier
