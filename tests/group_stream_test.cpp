// Responses that are interrupted and go on, and groups that are drawn ahead of their steps.
#include "rollout/group_stream.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tests/engine_cases.h"
#include "tests/host_steps.h"
#include "tests/testing.h"
#include "tests/tiny_model.h"
#include "trainer/packing.h"

namespace vernier {
namespace {

using testing::check_same;
using testing::HostSteps;
using testing::Responses;
using testing::tiny_model;

constexpr int64_t kPositions = 512;

// Prompts at places of a source, of 3 to 130 tokens.
std::vector<Prompt> prompts_at(const Model& model, int64_t first, int64_t count) {
  std::vector<Prompt> prompts(static_cast<size_t>(count));
  for (Prompt& prompt : prompts) {
    prompt.index = first;
    prompt.id = cat(first);
    for (int64_t t = 0; t < 3 + first * 37 % 127; ++t)
      prompt.text += static_cast<char>('0' + (t * t + first) % 10);
    prompt.ids = model.tokenizer->encode(prompt.text);
    ++first;
  }
  return prompts;
}

RolloutConfig base() {
  RolloutConfig config;
  config.num_generations = 4;
  config.prompts_per_step = 3;
  config.max_completion_length = 90;
  config.record_logprobs = {"plain"};
  return config;
}

void collect(Group&& group, Responses& out) {
  for (Response& response : group.responses) {
    const int64_t sample = response.sample;
    out[{group.prompt.index, sample}] = std::move(response);
  }
}

int32_t tokens_of(const Response& response) {
  return std::accumulate(response.versions.begin(), response.versions.end(), 0,
                         [](int32_t sum, const auto& part) { return sum + part.second; });
}

// Draws nine prompts, and takes everything back after every `passes` passes; then the weights have
// another version.
Responses draw_interrupted(Engine& engine, const Model& model, const RolloutConfig& config,
                           int64_t passes, const std::function<void()>& change = {}) {
  const auto rules =
      std::make_shared<const DrawRules>(config, *model.tokenizer, model.decoder->spec());
  Responses out;
  std::vector<Request> requests;
  for (Prompt& prompt : prompts_at(model, 0, 9))
    requests.push_back({.prompt = std::move(prompt),
                        .rules = rules,
                        .key = {.seed = 5, .step = 2},
                        .grown = {},
                        .done = [&out](Group&& group) { collect(std::move(group), out); }});
  for (int64_t version = 0; !requests.empty(); ++version) {
    engine.open(config, 36, 140);
    for (Request& one : requests) {
      one.weight_version = version;
      engine.submit(std::move(one));
    }
    for (int64_t pass = 0; pass < passes && !engine.idle(); ++pass) engine.step();
    requests = engine.interrupt();
    CHECK(engine.idle());
    if (change) change();
  }
  return out;
}

TEST_CASE("a response that is interrupted goes on as if it had not been") {
  Model model = tiny_model(false, 3, kPositions);
  std::vector<RolloutConfig> ways(4, base());
  ways[1].draft_tokens = 5;
  ways[1].draft_ngram = 1;
  ways[2].max_running = 7;
  ways[2].max_step_tokens = 16;
  ways[2].ignore_eos = true;
  RolloutConfig& steered = ways[3];
  steered.sampling.temperature = 0.7;
  steered.sampling.top_p = 0.9;
  steered.sampling.repetition_penalty = 1.2;
  steered.think_end = "#";
  steered.ending.thinking_budget = 20;
  steered.ending.stop = {"a1", "7b"};
  steered.ending.repetition_ngram = 4;
  for (const RolloutConfig& config : ways) {
    Engine engine(*model.decoder, *model.tokenizer), other(*model.decoder, *model.tokenizer);
    const Responses want = testing::draw(engine, prompts_at(model, 0, 9), config);
    // A prompt that comes in chunks is begun again each time: a page of it is kept.
    const bool chunked = config.max_step_tokens < 140;
    for (const int64_t passes : {chunked ? 12 : 1, 13, 31}) {
      CAPTURE(passes);
      const Responses found = draw_interrupted(other, model, config, passes);
      check_same(found, want);
      bool several = false;
      for (const auto& [key, response] : found) {
        CHECK(response.forced == want.at(key).forced);
        CHECK(tokens_of(response) == response.num_tokens);
        CHECK(std::is_sorted(response.versions.begin(), response.versions.end()));
        several |= response.versions.size() > 1;
      }
      CHECK(several);
    }
  }
}

TEST_CASE("a response that is interrupted goes on where a runner computes the passes") {
  Model model = tiny_model(false, 3, kPositions);
  RolloutConfig config = base();
  config.max_running = 8;
  Engine engine(*model.decoder, *model.tokenizer);
  const Responses want = testing::draw(engine, prompts_at(model, 0, 9), config);
  HostSteps::Seen seen;
  Engine stepped(*model.decoder, *model.tokenizer, [&](Decoder& decoder, const StepLimits& limits) {
    return std::make_unique<HostSteps>(decoder, limits, seen);
  });
  // One pass at a time would never hear of what it has drawn.
  for (const int64_t passes : {3, 17})
    check_same(draw_interrupted(stepped, model, config, passes), want);
}

TEST_CASE("behind a change of the weights every token is drawn with the new ones alone") {
  Model model = tiny_model(false, 3, kPositions);
  const at::Tensor first = model.decoder->weights().clone();
  RolloutConfig config = base();
  config.ignore_eos = true;
  Engine engine(*model.decoder, *model.tokenizer);
  int64_t changes = 0;
  const Responses found = draw_interrupted(engine, model, config, 40, [&] {
    ++changes;
    model.decoder->weights().mul_(1.02);
    model.decoder->weights_changed();
  });
  CHECK(changes == 3);
  const std::vector<Prompt> prompts = prompts_at(model, 0, 9);
  double worst = 0;
  int64_t compared = 0;
  at::Tensor& weights = model.decoder->weights();
  weights.copy_(first);
  for (int64_t version = 0; version < changes; ++version) {
    model.decoder->weights_changed();
    for (const auto& [key, response] : found) {
      const at::NoGradGuard no_grad;
      const auto& ids = prompts[static_cast<size_t>(key.first)].ids;
      const at::Tensor logprobs =
          packed_logprobs(*model.decoder, pack({sequence_of(response, &ids)}, {0}), 1.0).logprob;
      int32_t from = 0;
      for (const auto& [drawn_with, count] : response.versions) {
        for (int32_t t = from; drawn_with == version && t < from + count; ++t, ++compared)
          worst = std::max(worst, std::abs(logprobs[t].item<double>() -
                                           double{response.logprobs[static_cast<size_t>(t)]}));
        from += count;
      }
    }
    weights.mul_(1.02);
  }
  CHECK(compared == 36 * 90);
  CHECK(worst < 2e-5);
}

// Two ranks or one that draw from the same prompts; the ranks claim places from one counter.
struct Streams {
  Streams(Model& model, StreamConfig config, int64_t ranks) : drawing(config.drawing) {
    config.ranks = ranks;
    config.seed = 5;
    for (int64_t r = 0; r < ranks; ++r) {
      engines.push_back(std::make_unique<Engine>(*model.decoder, *model.tokenizer));
      std::function<int64_t(int64_t)> claim;
      if (ranks > 1) claim = [this](int64_t epoch) { return claims[epoch]++; };
      streams.push_back(std::make_unique<GroupStream>(
          *engines.back(), *model.tokenizer, model.decoder->spec(), config,
          [&model](int64_t first, int64_t count) { return prompts_at(model, first, count); },
          std::move(claim)));
    }
  }

  // The groups of a step, by place.
  std::map<int64_t, Group> step(int64_t done, int64_t first, int64_t end) {
    std::map<int64_t, Group> out;
    const auto take = [&](Group&& group) {
      const int64_t place = group.id;
      CHECK(out.emplace(place, std::move(group)).second);
    };
    for (auto& stream : streams) {
      stream->new_weights(done);
      stream->begin_step(done, first);
    }
    // The first rank draws ahead while the second one has groups of this step.
    const auto second = [&] {
      if (passes++ < 5) return true;
      streams.back()->draw(end, nullptr, take, [] { return false; });
      return false;
    };
    streams.front()->draw(end, nullptr, take,
                          streams.size() > 1 ? std::function<bool()>(second) : nullptr);
    passes = 0;
    for (auto& stream : streams) stream->end_step(end);
    return out;
  }

  int64_t open() const {
    int64_t sum = 0;
    for (const auto& stream : streams) sum += stream->open_groups();
    return sum;
  }

  RolloutConfig drawing;
  std::map<int64_t, int64_t> claims;
  int64_t passes = 0;
  std::vector<std::unique_ptr<Engine>> engines;
  std::vector<std::unique_ptr<GroupStream>> streams;
};

TEST_CASE("a step takes the groups that were issued first, whoever ends first") {
  constexpr int64_t kSteps = 6;
  Model model = tiny_model(false, 3, kPositions);
  RolloutConfig config = base();
  config.length_steps = {4};
  config.length_limits = {30};
  for (const int64_t ranks : {1, 2})
    for (const int64_t staleness : {0, 1, 3}) {
      CAPTURE(ranks);
      CAPTURE(staleness);
      Streams streams(model, {.drawing = config, .max_staleness = staleness, .last_step = kSteps},
                      ranks);
      int64_t oldest = 0;
      for (int64_t done = 0; done < kSteps; ++done) {
        const int64_t first = done * config.prompts_per_step, end = first + config.prompts_per_step;
        const auto groups = streams.step(done, first, end);
        REQUIRE(std::ssize(groups) == config.prompts_per_step);
        CHECK(groups.begin()->first == first);
        CHECK(groups.rbegin()->first == end - 1);
        Responses found, want;
        for (const auto& [place, group] : groups) {
          CHECK(group.prompt.index == place);
          for (const Response& response : group.responses) {
            found[{place, response.sample}] = response;
            for (const auto& [version, tokens] : response.versions)
              oldest = std::max(oldest, done - version);
          }
        }
        // The weights have not changed: they are the groups that a step without staleness draws.
        RolloutConfig own = config;
        own.max_completion_length = config.limit_at(done + 1);
        Engine engine(*model.decoder, *model.tokenizer);
        engine.generate(prompts_at(model, first, config.prompts_per_step), own,
                        {.seed = 5, .step = static_cast<uint64_t>(done + 1)}, done, nullptr,
                        [&](Group&& group) { collect(std::move(group), want); });
        check_same(found, want);
      }
      CHECK(oldest <= staleness);
      CHECK((oldest > 0) == (staleness > 0));
      CHECK(streams.open() == 0);  // nothing for steps that do not come
    }
}

TEST_CASE("groups that are drawn ahead wait for their step, and are issued again when dropped") {
  Model model = tiny_model(false, 3, kPositions);
  const RolloutConfig config = base();
  Streams streams(model, {.drawing = config, .max_staleness = 2, .last_step = 10}, 1);
  GroupStream& stream = *streams.streams.front();
  const auto wanted = streams.step(0, 0, 3);
  int64_t passes = 0;
  stream.draw_ahead([&] { return ++passes < 1000; });
  // With the weights of step 1: for steps 2 and 3.
  CHECK(stream.open_groups() == 6);
  // More than a step's worth, as a filter takes it.
  CHECK(streams.step(1, 3, 8).size() == 5);
  CHECK(streams.step(2, 8, 11).size() == 3);
  // Somebody else draws in between.
  stream.interrupt();
  const Responses others = testing::draw(*streams.engines.front(), prompts_at(model, 0, 2), config);
  CHECK(others.size() == 8);
  stream.clear(11);
  CHECK(stream.open_groups() == 0);
  const auto again = streams.step(3, 11, 14);
  CHECK(again.size() == 3);
  for (const auto& [place, group] : again)
    for (const Response& response : group.responses) CHECK(response.versions.front().first == 3);
}

TEST_CASE("new weights come in the middle of a step") {
  Model model = tiny_model(false, 3, kPositions);
  RolloutConfig config = base();
  config.max_running = config.num_generations;
  Streams streams(model, {.drawing = config, .max_staleness = 1, .last_step = 3}, 1);
  GroupStream& stream = *streams.streams.front();
  CHECK(streams.step(0, 0, 3).size() == 3);
  int64_t passes = 0;
  stream.before_pass = [&] {
    if (++passes == 2) stream.new_weights(1);
  };
  std::vector<Group> groups;
  stream.begin_step(1, 3);
  stream.draw(6, nullptr, [&](Group&& group) { groups.push_back(std::move(group)); }, {});
  stream.end_step(6);
  REQUIRE(groups.size() == 3);
  int64_t several = 0;
  for (const Group& group : groups)
    for (const Response& response : group.responses) {
      several += response.versions.size() == 2;
      for (const auto& [version, tokens] : response.versions) CHECK((version == 0 || version == 1));
    }
  CHECK(several > 0);
  // What was drawn ahead meanwhile is for the last step, and no older than it may be.
  stream.before_pass = nullptr;
  for (const auto& [place, group] : streams.step(2, 6, 9))
    for (const Response& response : group.responses) CHECK(response.versions.front().first >= 1);
}

}  // namespace
}  // namespace vernier
