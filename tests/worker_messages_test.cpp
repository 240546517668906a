// What a job and its workers tell each other: every field arrives, and what cannot be a group is
// named.
#include "rollout/worker_messages.h"

#include <doctest/doctest.h>

#include "core/base/errors.h"
#include "core/model/head_files.h"
#include "tests/testing.h"
#include "tests/tiny_model.h"

namespace vernier {
namespace {

RemoteDraw draw_of(int64_t limit) {
  RemoteDraw draw{.ticket = 4, .place = 7, .limit = limit, .seed = 5, .step = 3, .prompt = {}};
  draw.prompt.id = "p7";
  draw.prompt.index = 9;
  draw.prompt.text = "1+1=";
  draw.prompt.ids = {1, 2, 3};
  draw.prompt.answer = "2";
  draw.prompt.max_completion_length = 6;
  draw.prompt.row = R"({"prompt":"1+1="})";
  return draw;
}

Group group_of(int64_t place, int64_t count) {
  Group group;
  group.id = place;
  for (int64_t i = 0; i < count; ++i) {
    Response one;
    one.sample = i;
    one.ids = {4, 5, 0};
    one.logprobs = {-1.0F, -0.5F, 0.0F};
    one.num_tokens = one.raw_num_tokens = 3;
    one.versions = {{2, 1}, {3, 2}};
    group.responses.push_back(one);
  }
  return group;
}

TEST_CASE("a worker is told everything that a response depends on") {
  WorkerSetup setup;
  RolloutConfig& was = setup.drawing;
  was.num_generations = 3;
  was.prompts_per_step = 5;
  was.max_completion_length = 77;
  was.sampling = {.temperature = 0.7,
                  .top_k = 11,
                  .top_p = 0.9,
                  .min_p = 0.01,
                  .repetition_penalty = 1.1,
                  .logit_bias = {{3, -2.5}}};
  was.max_running = 13;
  was.max_step_tokens = 99;
  was.kv_cache_gb = 0.5;
  was.ignore_eos = true;
  was.weights = kernels::WeightFormat::int8;
  was.draft_tokens = 4;
  was.draft_ngram = 2;
  was.draft_rows = 8;
  was.think_start = "<a>";
  was.think_end = "</a>";
  was.ending = {.stop = {"x"},
                .stop_token_ids = {8},
                .thinking_budget = 40,
                .repetition_ngram = 5,
                .repetition_limit = 6};
  was.record_logprobs = {"plain"};
  was.top_logprobs = 2;
  was.length_steps = {4};
  was.length_limits = {50};
  setup.files = {{"config.json", "{}"}};
  setup.max_length = 512;
  setup.deadline_s = 2.5;
  setup.weights_beside = true;
  const WorkerSetup is = setup_from(to_bytes(setup));
  CHECK(is.weights_beside);
  const RolloutConfig& drawing = is.drawing;
  CHECK(drawing.num_generations == 3);
  CHECK(drawing.prompts_per_step == 5);
  CHECK(drawing.max_completion_length == 77);
  CHECK(drawing.sampling.temperature == 0.7);
  CHECK(drawing.sampling.top_k == 11);
  CHECK(drawing.sampling.top_p == 0.9);
  CHECK(drawing.sampling.min_p == 0.01);
  CHECK(drawing.sampling.repetition_penalty == 1.1);
  CHECK(drawing.sampling.logit_bias == was.sampling.logit_bias);
  CHECK(drawing.max_running == 13);
  CHECK(drawing.max_step_tokens == 99);
  CHECK(drawing.kv_cache_gb == 0.5);
  CHECK(drawing.ignore_eos);
  CHECK(drawing.weights == kernels::WeightFormat::int8);
  CHECK(drawing.draft_tokens == 4);
  CHECK(drawing.draft_ngram == 2);
  CHECK(drawing.draft_rows == 8);
  CHECK(drawing.think_start == "<a>");
  CHECK(drawing.think_end == "</a>");
  CHECK(drawing.ending.stop == was.ending.stop);
  CHECK(drawing.ending.stop_token_ids == was.ending.stop_token_ids);
  CHECK(drawing.ending.thinking_budget == 40);
  CHECK(drawing.ending.repetition_ngram == 5);
  CHECK(drawing.ending.repetition_limit == 6);
  CHECK(drawing.record_logprobs == was.record_logprobs);
  CHECK(drawing.top_logprobs == 2);
  CHECK(drawing.length_steps == was.length_steps);
  CHECK(drawing.length_limits == was.length_limits);
  CHECK(is.files == setup.files);
  CHECK(is.max_length == 512);
  CHECK(is.deadline_s == 2.5);

  const RemoteDraw asked = draw_of(20), heard = draw_from(to_bytes(asked));
  CHECK(heard.ticket == 4);
  CHECK(heard.place == 7);
  CHECK(heard.limit == 20);
  CHECK(heard.seed == 5);
  CHECK(heard.step == 3);
  CHECK(heard.prompt.id == "p7");
  CHECK(heard.prompt.index == 9);
  CHECK(heard.prompt.ids == asked.prompt.ids);
  CHECK(heard.prompt.answer == "2");
  CHECK(heard.prompt.max_completion_length == 6);
  CHECK(heard.prompt.row == asked.prompt.row);

  const WeightsNotice notice = weights_notice_from(to_bytes(WeightsNotice{
      .group = "weights/3", .port = 5, .rank = 2, .size = 4, .fresh = true, .version = 8}));
  CHECK(notice.group == "weights/3");
  CHECK(notice.port == 5);
  CHECK(notice.rank == 2);
  CHECK(notice.size == 4);
  CHECK(notice.fresh);
  CHECK(notice.version == 8);
  CHECK(over_from(to_bytes(WorkerOver{.code = 75})).code == 75);
  const WeightsArrived arrived =
      weights_arrived_from(to_bytes(WeightsArrived{.version = 6, .whole = true}));
  CHECK(arrived.version == 6);
  CHECK(arrived.whole);
}

TEST_CASE("what a worker sends in place of a group is named") {
  RolloutConfig drawing;
  drawing.num_generations = 2;
  const RemoteDraw draw = draw_of(20);
  const auto problem = [&](const std::function<void(Group&)>& change) {
    Group group = group_of(7, 2);
    change(group);
    const auto [ticket, found] = group_from(to_bytes(12, group));
    CHECK(ticket == 12);
    return group_problem(
        found, {.draw = draw, .drawing = drawing, .vocab_size = 10, .oldest = 2, .newest = 3});
  };
  CHECK(problem([](Group&) {}).empty());
  CHECK(problem([](Group& g) { g.responses.pop_back(); }).find("1 responses where 2") == 0);
  CHECK(problem([](Group& g) { g.responses[1].sample = 0; }) == "sample 0 in place 1");
  CHECK(problem([](Group& g) {
          g.responses[0].ids.assign(7, 1);
        }).find("a response of 7 tokens, of which 1 to 6") == 0);
  CHECK(problem([](Group& g) { g.responses[0].num_tokens = 2; }).find("that counts 2") !=
        std::string::npos);
  CHECK(problem([](Group& g) { g.responses[0].logprobs.pop_back(); }) ==
        "2 log-probabilities of 3 tokens");
  CHECK(problem([](Group& g) { g.responses[1].ids[0] = 10; }).find("token id 10") == 0);
  CHECK(problem([](Group& g) { g.responses[1].ids[0] = -1; }).find("token id -1") == 0);
  CHECK(problem([](Group& g) { g.responses[0].logprobs[0] = NAN; }).find("a log-probability") == 0);
  CHECK(problem([](Group& g) { g.responses[0].logprobs[0] = 0.5F; }).find("a log-probability") ==
        0);
  CHECK(problem([](Group& g) {
          g.responses[0].versions.pop_back();
        }).find("versions of 1 tokens") != std::string::npos);
  CHECK(problem([](Group& g) {
          g.responses[0].finish_reason = FinishReason::deadline;
        }).find("not ended") != std::string::npos);
  for (const std::string& bytes : {std::string(), std::string("x"), std::string(40, '\xff')}) {
    CHECK_THROWS_AS(group_from(bytes), RunError);
    CHECK_THROWS_AS(draw_from(bytes), RunError);
    CHECK_THROWS_AS(setup_from(bytes), RunError);
  }
}

TEST_CASE("a model's files in memory give its sizes and tokenizer") {
  const Model model = testing::tiny_model(false, 3, 512);
  const HeadFiles files = head_files(model.decoder->spec(), *model.tokenizer);
  const ModelHead head = head_from_files(files, 0);
  CHECK(head.spec.vocab_size == model.decoder->spec().vocab_size);
  CHECK(Decoder(head.spec, false, at::kFloat, at::kMeta).num_parameters() ==
        model.decoder->num_parameters());
  const std::string text = "12+34=#.";
  CHECK(head.tokenizer->encode(text) == model.tokenizer->encode(text));
  HeadFiles bad = files;
  bad["../escaped"] = "x";
  CHECK(testing::usage_error([&] { head_from_files(bad, 0); }).find("'../escaped'") !=
        std::string::npos);
  bad = files;
  bad["config.json"] = "{";
  CHECK(!testing::usage_error([&] { head_from_files(bad, 0); }).empty());
}

}  // namespace
}  // namespace vernier
