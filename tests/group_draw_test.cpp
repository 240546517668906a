// Sampling plans drawn on the tiny model: what is forced, what goes on from what, that nothing
// depends on the company; and lengths that prompts ask for.
#include "rollout/group_draw.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "core/base/errors.h"
#include "core/base/json.h"
#include "rollout/prompts.h"
#include "tests/tiny_model.h"

namespace vernier {
namespace {

using Branches = SamplingPlan::Branches;

RolloutConfig tiny_rollout(int64_t num_generations) {
  RolloutConfig config;
  config.num_generations = num_generations;
  config.max_completion_length = 12;
  config.think_end = "#";
  return config;
}

std::vector<Prompt> tiny_prompts(const Model& model, int64_t first, int64_t count) {
  std::vector<Prompt> prompts;
  for (int64_t i = first; i < first + count; ++i) {
    Prompt& prompt = prompts.emplace_back();
    prompt.id = cat("p", i);
    prompt.index = i;
    prompt.text = cat("a", i % 10, "b", (3 * i) % 10, "=");
    prompt.ids = model.tokenizer->encode(prompt.text);
  }
  return prompts;
}

std::map<std::string, Group> draw(Model& model, const RolloutConfig& config,
                                  const SamplingPlan& plan, int64_t first, int64_t count,
                                  int64_t max_running = 64) {
  RolloutConfig own = config;
  own.max_running = max_running;
  Engine engine(*model.decoder, *model.tokenizer);
  std::map<std::string, Group> out;
  draw_groups({.engine = engine,
               .tokenizer = *model.tokenizer,
               .spec = model.decoder->spec(),
               .config = own,
               .plan = plan,
               .key = {.seed = 5, .step = 2},
               .weight_version = 7,
               .first_id = 100},
              tiny_prompts(model, first, count), [&](Group&& group) {
                const std::string id = group.prompt.id;
                out[id] = std::move(group);
              });
  return out;
}

bool same(const Response& a, const Response& b) {
  return a.ids == b.ids && a.logprobs == b.logprobs && a.forced == b.forced &&
         a.assumed == b.assumed && a.branch == b.branch && a.text == b.text &&
         a.num_tokens == b.num_tokens && a.sample == b.sample;
}

// A group is the same whoever else is drawn for, and however many at a time.
void check_alone(Model& model, const RolloutConfig& config, const SamplingPlan& plan) {
  const auto all = draw(model, config, plan, 0, 5);
  CHECK(all.at("p3").id == 103);
  const auto alone = draw(model, config, plan, 3, 1, 2);
  const Group &a = all.at("p3"), &b = alone.at("p3");
  REQUIRE(a.responses.size() == b.responses.size());
  for (size_t i = 0; i < a.responses.size(); ++i) CHECK(same(a.responses[i], b.responses[i]));
}

SamplingPlan forced_plan(double share) {
  SamplingPlan plan;
  plan.forced_share = share;
  plan.forced_text = "#1";
  return plan;
}

SamplingPlan exits_plan() {
  SamplingPlan plan;
  plan.branches = Branches::exits;
  plan.exit_text = "?#";
  plan.exit_tokens = 3;
  return plan;
}

}  // namespace

TEST_CASE("without a plan groups are what the engine draws") {
  Model model = testing::tiny_model(false);
  const RolloutConfig config = tiny_rollout(4);
  const auto groups = draw(model, config, {}, 0, 3);
  Engine engine(*model.decoder, *model.tokenizer);
  engine.generate(tiny_prompts(model, 0, 3), config, {.seed = 5, .step = 2}, 7, nullptr,
                  [&](Group&& group) {
                    const Group& other = groups.at(group.prompt.id);
                    CHECK(other.id == group.id + 100);
                    for (size_t i = 0; i < 4; ++i)
                      CHECK(same(group.responses[i], other.responses[i]));
                  });
}

TEST_CASE("a share of a group begins with the forced text") {
  Model model = testing::tiny_model(false);
  const RolloutConfig config = tiny_rollout(5);
  const auto begin = model.tokenizer->encode("#1");
  for (const double share : {0.4, 1.0}) {
    CAPTURE(share);
    for (const auto& [id, group] : draw(model, config, forced_plan(share), 0, 3)) {
      REQUIRE(group.responses.size() == 5);
      for (int64_t i = 0; i < 5; ++i) {
        const Response& response = group.responses[static_cast<size_t>(i)];
        CHECK(response.sample == i);
        CHECK(response.assumed == std::vector<int32_t>{0});
        CHECK(response.logprobs[0] == -std::log(2.0F));
        CHECK(response.ids.size() <= 12);
        CHECK(response.logprobs.size() == response.ids.size());
        CHECK(response.text == model.tokenizer->decode(response.ids));
        const bool forced = i < (share == 1 ? 5 : 2);
        CHECK(response.forced == (forced ? std::vector<int32_t>{1} : std::vector<int32_t>{}));
        CHECK(response.flags.size() == (forced ? 1U : 0U));
        if (!forced) continue;
        CHECK(std::equal(begin.begin(), begin.end(), response.ids.begin()));
        CHECK(response.think.end == 0);
        CHECK(drawn_tokens(response) == response.num_tokens - 1);
      }
    }
  }
  check_alone(model, config, forced_plan(0.4));
  // Free responses have numbers of their own: they are those that no plan would draw.
  const auto free = draw(model, config, {}, 0, 1),
             half = draw(model, config, forced_plan(0.4), 0, 1);
  for (size_t i = 2; i < 5; ++i)
    CHECK(free.at("p0").responses[i].ids == half.at("p0").responses[i].ids);
}

TEST_CASE("early exits go on from one thought, in order of place") {
  Model model = testing::tiny_model(false);
  const RolloutConfig config = tiny_rollout(5);
  const auto close = model.tokenizer->encode("?#");
  bool cut_inside = false;
  for (const auto& [id, group] : draw(model, config, exits_plan(), 0, 8)) {
    REQUIRE(group.responses.size() == 5);
    const Response& full = group.responses.back();
    CHECK(full.forced.empty());
    for (int32_t k = 0; k < 4; ++k) {
      const Response& exit = group.responses[static_cast<size_t>(k)];
      const int32_t cut = exit.branch.cut;
      CHECK(exit.branch == Branch{0, k, cut});
      CHECK(cut <= full.branch.cut);
      if (k > 0) CHECK(cut >= group.responses[static_cast<size_t>(k - 1)].branch.cut);
      cut_inside |= cut > 0 && cut < full.branch.cut;
      CHECK(std::equal(full.ids.begin(), full.ids.begin() + cut, exit.ids.begin()));
      CHECK(std::equal(full.logprobs.begin(), full.logprobs.begin() + cut, exit.logprobs.begin()));
      CHECK(std::equal(close.begin(), close.end(), exit.ids.begin() + cut));
      CHECK(exit.forced == std::vector<int32_t>{cut, cut + 1});
      CHECK(exit.num_tokens <= cut + 2 + 3);
      CHECK(exit.num_tokens > cut + 2);
    }
  }
  CHECK(cut_inside);
  check_alone(model, config, exits_plan());
}

TEST_CASE("thoughts are cut at budgets and answered from there") {
  Model model = testing::tiny_model(false);
  const RolloutConfig config = tiny_rollout(2);
  SamplingPlan plan = exits_plan();
  plan.branches = Branches::budgets;
  plan.budgets = {2, 5, 9};
  for (const int64_t siblings : {1, 3}) {
    CAPTURE(siblings);
    plan.siblings = siblings;
    for (const auto& [id, group] : draw(model, config, plan, 0, 4)) {
      REQUIRE(std::ssize(group.responses) == 2 * 3 * siblings);
      for (int64_t i = 0; i < std::ssize(group.responses); ++i) {
        const Response& response = group.responses[static_cast<size_t>(i)];
        const Branch& branch = response.branch;
        CHECK(branch.thought == i / (3 * siblings));
        CHECK(branch.exit == i / siblings % 3);
        CHECK(branch.cut <= plan.budgets[static_cast<size_t>(branch.exit)]);
        const bool learned = branch.exit == 2 && i % siblings == 0;
        std::vector<int32_t> forced;
        for (int32_t t = learned ? branch.cut : 0; t < branch.cut + 2; ++t) forced.push_back(t);
        CHECK(response.forced == forced);
        const size_t whole = static_cast<size_t>((branch.thought * 3 + 2) * siblings);
        CHECK(std::equal(response.ids.begin(), response.ids.begin() + branch.cut,
                         group.responses[whole].ids.begin()));
      }
    }
    check_alone(model, config, plan);
  }
}

TEST_CASE("a plan that a configuration cannot follow is refused by name") {
  RolloutConfig config = tiny_rollout(4);
  CHECK(plan_problem(exits_plan(), config).empty());
  config.num_generations = 1;
  CHECK(plan_problem(exits_plan(), config).starts_with("rollout.num_generations: "));
  config.think_end.clear();
  CHECK(plan_problem(exits_plan(), config).starts_with("rollout.think_end: "));
  CHECK(plan_problem(forced_plan(1), config).empty());
  CHECK(plan_problem(forced_plan(0.5), config).starts_with("rollout.num_generations: 1 and "));
  config.num_generations = 4;
  CHECK(plan_problem(forced_plan(0.5), config).empty());
  for (const double share : {0.1, 0.9})  // would become none, and all
    CHECK(plan_problem(forced_plan(share), config).find("at least one has to") !=
          std::string::npos);
  Model model = testing::tiny_model(false);
  CHECK_THROWS_AS(draw(model, config, exits_plan(), 0, 1), UsageError);
  SamplingPlan longer = exits_plan();
  longer.exit_tokens = 13;
  CHECK(plan_problem(longer, tiny_rollout(4)).find("13 tokens") != std::string::npos);
}

TEST_CASE("a prompt asks for a length") {
  const Model model = testing::tiny_model(false);
  const auto rendered = [&](const std::string& keys, int64_t index, const std::string& own = "") {
    DataConfig config;
    ConfigFile::parse(cat("[length_request]\n", keys), "t.toml").bind([&](Binder& root) {
      root.table("length_request", [&](Binder& b) { config.length_request.bind(b); });
    });
    Prompt prompt;
    prompt.index = index;
    prompt.text = "a1b2=";
    prompt.target_length = own;
    render_prompt(prompt, config, {.name = "none"}, *model.tokenizer);
    return prompt;
  };
  const std::string suffix =
      "mode = \"suffix\"\ntext = \"?{budget}\"\ntext_at_most = \"~{budget}\"\n";
  std::set<std::string> targets;
  for (int64_t i = 0; i < 200; ++i) {
    const Prompt prompt = rendered(suffix + "low = 7\nhigh = 9", i);
    CHECK(prompt.text == cat("a1b2=?", prompt.target_length));
    targets.insert(prompt.target_length);
  }
  CHECK(targets == std::set<std::string>{"7", "8", "9"});
  const Prompt most = rendered(suffix + "targets = [5]\nat_most_share = 1.0", 3);
  CHECK(most.target_length == "-5");
  CHECK(most.text == "a1b2=~5");
  CHECK(rendered(suffix, 3, "-44").text == "a1b2=~44");  // the row's own
  CHECK(rendered("mode = \"token\"\ntext = \"~{budget}~\"\ntargets = [8]", 0).text == "a1b2=~8~");
  const std::string priming =
      "mode = \"priming\"\ntext = \"={prompt_words}={deleted}={budget}\"\ntargets = [3]";
  CHECK(rendered(priming, 0).text == "a1b2==1=0=3");
  CHECK(rendered("mode = \"none\"", 0).text == "a1b2=");
  CHECK_THROWS_AS(rendered("mode = \"suffix\"\ntext = \"short\"", 0), UsageError);
}

TEST_CASE("what a prompt may be asked for is known before one is drawn") {
  LengthRequest request;
  request.mode = "suffix";
  request.text = "{budget}";
  request.text_at_most = "at most {budget}";
  using Targets = std::vector<std::string>;
  request.low = 7;
  request.high = 900;
  CHECK(request.possible_targets() == Targets{"7", "8", "900"});
  request.targets = {5, 300};
  CHECK(request.possible_targets() == Targets{"5", "300"});
  const auto longest = [&](const std::string& own = "") {
    Prompt prompt;
    prompt.target_length = own;
    CHECK(request.set_longest(prompt) == own.empty());
    return prompt.target_length;
  };
  CHECK(longest() == "300");
  request.at_most_share = 0.5;
  CHECK(request.possible_targets() == Targets{"5", "-5", "300", "-300"});
  CHECK(longest() == "-300");
  CHECK(longest("4") == "4");
  request.at_most_share = 1;
  CHECK(request.possible_targets() == Targets{"-5", "-300"});
  request.table = LengthTable::read("ruler");
  CHECK(request.possible_targets() ==
        Targets{"10", "30", "50", "80", "150", "300", "500", "700", "\">800\""});
  CHECK(longest() == "\">800\"");  // "more than 800" in a sentence
}

TEST_CASE("a demonstration asks for the length that it has, or for none") {
  LengthRequest request;
  request.mode = "suffix";
  request.text = "?{budget}";
  const auto asked = [&](int64_t tokens, const std::string& response = "") {
    Prompt prompt;
    prompt.text = "a1b2=";
    request.ask_for(prompt, response, tokens);
    request.apply(prompt);
    return prompt.text;
  };
  request.low = 10;
  request.high = 80;
  CHECK(asked(9) == "a1b2=");
  CHECK(asked(10) == "a1b2=?10");
  CHECK(asked(80) == "a1b2=?80");
  CHECK(asked(81) == "a1b2=");
  request.targets = {20, 40};
  CHECK(asked(21) == "a1b2=?20");
  CHECK(asked(30) == "a1b2=");
  request.table = LengthTable::read("ruler");  // in words
  CHECK(asked(99, "one two three four five") == "a1b2=?10");
  CHECK(asked(99, "one two three four") == "a1b2=");
  request.mode = "token";
  request.text = "[MLT:{budget}]";
  std::string words;
  for (int i = 0; i < 801; ++i) words += "word ";
  Prompt prompt;
  request.ask_for(prompt, words, 801);
  CHECK(prompt.target_length == "\">800\"");
  CHECK(request.opening(prompt) == "[MLT:>800]");
  request.ask_for(prompt, "", 0);
  CHECK(request.opening(prompt).empty());
}

}  // namespace vernier
