// Length rewards by the golden values in tests/cases/rewards/zoo.json; what they keep from step to
// step; how parts are composed.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "core/base/config.h"
#include "core/base/errors.h"
#include "core/base/files.h"
#include "core/base/json.h"
#include "rewards/repeats.h"
#include "rewards/reward.h"

namespace vernier {
namespace {

constexpr double kDigits = 1e-6;  // what the golden values are given to

ScoringChain chain_of(const Json& lines, const std::optional<std::string>& think_end = {}) {
  std::string text;
  for (const Json& line : lines) text += cat(line.get<std::string>(), "\n");
  ScoringChain chain;
  ScoringContext context;
  context.num_generations = 8;
  context.think_end = think_end;
  ConfigFile::parse(text, "t.toml").bind([&](Binder& root) { chain.bind(root, context); });
  return chain;
}

// A group with stored verdicts.
Group group_of(const Json& lengths, const Json& correct, const std::string& prompt = "p1") {
  Group group;
  group.prompt.id = prompt;
  group.step = 1;
  for (size_t i = 0; i < lengths.size(); ++i) {
    Response response;
    response.sample = static_cast<int64_t>(i);
    response.num_tokens = response.raw_num_tokens = lengths[i].get<int32_t>();
    response.correct = correct[i].get<int>() != 0;
    group.responses.push_back(std::move(response));
  }
  return group;
}

Group group_of_case(const Json& file, const Json& row) {
  Group group =
      group_of(row.value("lengths", file["lengths"]), row.value("correct", file["correct"]));
  group.step = row.value("step", int64_t{1});
  if (row.contains("row")) {
    group.prompt.row = dump_json(row["row"]);
    if (row["row"].contains("target_length"))
      group.prompt.target_length = dump_json(row["row"]["target_length"]);
    if (row["row"].contains("baseline")) group.prompt.baseline = dump_json(row["row"]["baseline"]);
  }
  for (size_t i = 0; i < group.responses.size(); ++i) {
    Response& response = group.responses[i];
    if (row.contains("texts")) response.text = row["texts"][i].get<std::string>();
    if (row.contains("ids")) response.ids = row["ids"][i].get<std::vector<int32_t>>();
    if (row.contains("finish"))
      response.finish_reason = finish_reason_from(row["finish"][i].get<std::string>(), "case");
  }
  return group;
}

// One step of one group.
void run_step(ScoringChain& chain, Group& group) {
  chain.score(group, false);
  StepNotes notes;
  chain.observe(group, notes);
  chain.finish_step(std::span(&group, 1), notes);
  chain.learn(notes);
}

std::vector<double> rewards_of(const Group& group) {
  std::vector<double> out;
  for (const Response& response : group.responses) out.push_back(response.reward.value());
  return out;
}

void check_near(const std::vector<double>& got, const Json& want) {
  REQUIRE(got.size() == want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    CAPTURE(i);
    CAPTURE(got[i]);
    CHECK(std::abs(got[i] - want[i].get<double>()) <= kDigits);
  }
}

double memory_number(const ScoringChain& chain, const std::string& name) {
  for (const auto& [key, value] : chain.memory_numbers())
    if (key == name) return value;
  FAIL("no number called ", name);
  return 0;
}

Json lines(std::initializer_list<const char*> list) {
  Json out = Json::array();
  for (const char* line : list) out.push_back(line);
  return out;
}

}  // namespace

TEST_CASE("length rewards, published values") {
  const std::string path = cat(VERNIER_TEST_CASES, "/rewards/zoo.json");
  const Json file = parse_json(read_file(path), path);
  for (const Json& row : file["cases"]) {
    CAPTURE(row["name"].get<std::string>());
    ScoringChain chain = chain_of(row["config"]);
    Group group = group_of_case(file, row);
    run_step(chain, group);
    check_near(rewards_of(group), row["want"]);
    const Json after = row.value("after", Json::object());
    for (const auto& [name, value] : after.items())
      CHECK(std::abs(memory_number(chain, name) - value.get<double>()) <= 1e-12);
  }
}

TEST_CASE("every reward and transform tells formula, units and source") {
  const auto check = [](const std::string& name, const Doc& doc) {
    if (name.starts_with("test_")) return;  // of other tests
    CAPTURE(name);
    CHECK(!doc.summary.empty());
    CHECK(!doc.formula.empty());
    CHECK(!doc.units.empty());
    CHECK(!doc.source.empty());
  };
  for (const auto& [name, row] : RewardRegistry::all()) check(name, row.doc);
  for (const auto& [name, row] : TransformRegistry::all()) check(name, row.doc);
}

TEST_CASE("hapo learns a prompt's history and pays by that of before the step") {
  const Json lengths = {512, 1024, 2048, 4096, 768, 1536, 3072, 6144};
  const Json correct = {1, 1, 1, 0, 1, 0, 1, 0};
  const auto after_a_first_step = [&](const char* form) {
    ScoringChain chain = chain_of(lines({"[[reward]]", "type = \"hapo\"", form}));
    Group first = group_of({1000, 3000}, {1, 1});
    run_step(chain, first);
    check_near(rewards_of(first), {1, 1});
    Group second = group_of(lengths, correct);
    run_step(chain, second);
    return std::pair(rewards_of(second), chain.state());
  };
  const auto [cosine, state] = after_a_first_step("form = \"cosine\"");
  check_near(cosine, {1.693653, 0.962310, 0.3, -1, 1.356412, -0.745941, 0.3, -1});
  CHECK(state["hapo"]["prompts"]["h"]["p1"] == 512);
  check_near(after_a_first_step("form = \"linear\"").first,
             {1.488, 1, 0.3, -1, 1.232, -0.436, 0.3, -1});
}

TEST_CASE("hapo's running mean counts every right answer") {
  ScoringChain chain = chain_of(lines({"[[reward]]", "type = \"hapo\"", "mode = \"mean\""}));
  Group first = group_of({100, 200, 900}, {1, 1, 0});
  run_step(chain, first);
  Group second = group_of({600}, {1});
  run_step(chain, second);
  CHECK(chain.state()["hapo"]["prompts"]["h"]["p1"] == 300);
}

TEST_CASE("laser_d makes its targets of a monitoring set") {
  ScoringChain chain = chain_of(lines({"[[reward]]", "type = \"laser_d\"", "format = \"none\"",
                                       "grid = [2048, 3072, 4096, 8192]"}));
  StepNotes notes;
  // Published coverages, one response a hundredth: low .05 .2 .4 1, medium .3 .49 .55 1, high .21.
  const auto monitor = [&](int64_t id, int right, const std::vector<int>& within) {
    constexpr std::array<int, 4> kGrid = {2048, 3072, 4096, 8192};
    Json lengths = Json::array(), correct = Json::array();
    for (size_t k = 0, done = 0; k < within.size(); ++k)
      for (; static_cast<int>(done) < within[k]; ++done) lengths.push_back(kGrid[k]);
    for (int i = 0; i < 100; ++i) correct.push_back(i < right ? 1 : 0);
    Group group = group_of(lengths, correct);
    group.id = id;
    group.role = "monitor";
    chain.score(group, false);
    chain.observe(group, notes);
  };
  monitor(0, 10, {5, 20, 40, 100});
  monitor(1, 50, {30, 49, 55, 100});
  monitor(2, 90, {21, 50, 90, 100});
  chain.learn(notes);
  CHECK(memory_number(chain, "rewards/laser_d/target_low") == 8192);
  CHECK(memory_number(chain, "rewards/laser_d/target_medium") == 4096);
  CHECK(memory_number(chain, "rewards/laser_d/target_high") == 2048);
  Group group = group_of({2000, 2048, 3000, 9000}, {1, 1, 1, 0});
  run_step(chain, group);  // three quarters right: high
  check_near(rewards_of(group), {1.5, 1.5, 1, -0.5});
  CHECK(memory_number(chain, "rewards/laser_d/target_high") == 2048);  // no monitoring set came
}

TEST_CASE("laser_de pays long wrong answers that do not repeat themselves") {
  ScoringChain chain = chain_of(
      lines({"[[reward]]", "type = \"laser_de\"", "format = \"none\"", "grid = [2048, 9000]"}));
  StepNotes notes;
  Group monitor =
      group_of({2048, 2048, 2048, 2048, 2048, 2048, 2048, 2048}, {1, 1, 1, 1, 1, 1, 1, 1});
  monitor.role = "monitor";
  chain.score(monitor, false);
  chain.observe(monitor, notes);
  chain.learn(notes);
  Group group = group_of({512, 1024, 2048, 4096, 768, 1536, 3072, 6144}, {1, 1, 1, 0, 1, 0, 1, 1});
  for (int32_t i = 0; i < 4096; ++i) group.responses[3].ids.push_back(i);
  run_step(chain, group);  // six of eight right: high
  check_near(rewards_of(group), {1.5, 1.5, 1.5, 0, 1.5, -0.5, 1, 1});
  std::ranges::fill(group.responses[3].ids,
                    5);  // n-grams of one token do not count, longer ones do
  run_step(chain, group);
  CHECK(*group.responses[3].reward == -0.5);
}

TEST_CASE("repetition as LASER tells it") {
  const std::vector<int32_t> distinct = {1, 2, 3, 4, 5, 6, 7, 8},
                             close = {1, 2, 9, 1, 2, 3, 4, 5, 6, 7},
                             apart = {1, 2, 3, 4, 5, 6, 7, 1, 2, 8};
  CHECK(!laser_repeats(distinct));
  CHECK(laser_repeats(close));
  CHECK(!laser_repeats(apart));
  CHECK(!laser_repeats(std::vector<int32_t>{1, 1, 1, 1}));  // 2n tokens
  CHECK(laser_repeats(std::vector<int32_t>(40, 3)));        // a 6-gram occurs twice
}

TEST_CASE("notes are read in order of groups, whoever had them") {
  StepNotes one, other, both, reverse;
  one.add("r", 3, {{"x", 0.1, ""}});
  other.add("r", 1, {{"x", 0.2, ""}, {"y", 7, ""}});
  both.merge(one);
  both.merge(other);
  reverse.merge(other);
  reverse.merge(one);
  for (const StepNotes& all : {both, reverse}) {
    const std::vector<Note> notes = all.of("r");
    REQUIRE(notes.size() == 3);
    CHECK(notes[0].value == 0.2);
    CHECK(notes[2].value == 0.1);
    CHECK(sum_of(notes, "x").sum == 0.2 + 0.1);
    CHECK(sum_of(notes, "x").count == 2);
  }
  CHECK(both.of("s").empty());
}

TEST_CASE("memories come back bit for bit") {
  const Json config =
      lines({"[[reward]]", "type = \"hapo\"", "mode = \"mean\"", "[[reward]]", "type = \"a_dlp\"",
             "reference_accuracy = 0.3", "[[reward]]", "type = \"accuracy\""});
  ScoringChain chain = chain_of(config);
  for (int step = 0; step < 7; ++step) {
    Group group = group_of({17 + step, 31, 33, 257}, {1, step % 2, 0, 1}, cat("p", step % 3));
    run_step(chain, group);
  }
  const Json state = parse_json(dump_json(chain.state()), "state");
  CHECK(!state.contains("accuracy"));
  ScoringChain again = chain_of(config);
  again.restore(state);
  CHECK(again.state() == chain.state());
  Group first = group_of({41, 43, 47, 53}, {1, 0, 1, 1}, "p2"), second = first;
  run_step(chain, first);
  run_step(again, second);
  CHECK(rewards_of(first) == rewards_of(second));
  CHECK(again.state() == chain.state());
  CHECK_THROWS_AS(again.restore(Json{{"hapo", 7}}), UsageError);
}

TEST_CASE("what a broken-off step has taught is forgotten") {
  ScoringChain chain =
      chain_of(lines({"[[reward]]", "type = \"hapo\"", "mode = \"mean\"", "[[reward]]",
                      "type = \"a_dlp\"", "reference_accuracy = 0.3"}));
  const auto step = [&](const char* prompt) {
    Group group = group_of({17, 31}, {1, 1}, prompt);
    run_step(chain, group);
  };
  const Json start = chain.state();
  CHECK(start["a_dlp"]["numbers"]["lambda"] == 1e-3);
  CHECK(!start.contains("hapo"));
  chain.mark();
  step("p0");
  CHECK(chain.state() != start);
  chain.roll_back();
  CHECK(chain.state() == start);
  step("p1");
  const Json before = chain.state();
  chain.mark();
  step("p1");
  step("p2");
  step("p1");
  CHECK(chain.state() != before);
  chain.roll_back();
  CHECK(chain.state() == before);
}

TEST_CASE("gfpo keeps the best of a group") {
  const Json lengths = {512, 1024, 2048, 4096, 768, 1536, 3072, 6144};
  const auto kept = [&](const char* k, const char* metric) {
    const ScoringChain chain = chain_of(lines(
        {"[[reward]]", "type = \"accuracy\"", "[[transform]]", "type = \"gfpo\"", k, metric}));
    Group group = group_of(lengths, {1, 1, 1, 0, 1, 0, 1, 0});
    const auto numbers = chain.score(group, false);
    std::vector<size_t> out;
    for (size_t i = 0; i < group.responses.size(); ++i)
      if (!group.responses[i].left_out) out.push_back(i);
    CHECK(numbers.front().second == static_cast<double>(8 - out.size()));
    return out;
  };
  CHECK(kept("k = 4", "metric = \"shortest\"") == std::vector<size_t>{0, 1, 4, 5});
  CHECK(kept("k = 6", "metric = \"efficiency\"") == std::vector<size_t>{0, 1, 2, 3, 4, 6});
}

TEST_CASE("brpo credits the stretches of thoughts and their answers: golden values") {
  // Two thoughts, budgets after 1, 2, 3 and 4 tokens, two answers of one token at each.
  const std::vector<std::vector<double>> scores = {{0, 0, 1, 1}, {0, 0.5, 0.5, 1}};
  const auto credits = [&](const char* weights) {
    const ScoringChain chain = chain_of(lines(
        {"[[reward]]", "type = \"brpo\"", weights, "budgets = [1, 2, 3, 4]", "siblings = 2"}));
    Group group = group_of(Json::array(), Json::array());
    for (int32_t g = 0; g < 2; ++g)
      for (int32_t k = 0; k < 4; ++k)
        for (int32_t a = 0; a < 2; ++a) {
          Response response;
          response.num_tokens = response.raw_num_tokens = k + 2;
          response.correct = scores[g][k] * 2 > a;
          response.branch = {g, k, k + 1};
          group.responses.push_back(response);
        }
    chain.score(group, false);
    std::vector<double> out;
    for (const size_t i : {size_t{6}, size_t{14}})  // the first answers at the last budget
      for (size_t t = 0; t < 4; ++t)
        out.push_back(*group.responses[i].reward + group.responses[i].token_bonus[t]);
    const Response& half = group.responses[10];  // right, its sibling is not
    CHECK(*half.reward + half.token_bonus[2] == 0.5);
    return out;
  };
  check_near(credits("weights = \"uniform\""),
             {0, 0.125, 0.28125, 0.080357, 0, 0.125, 0.072917, 0.107143});
  check_near(credits("weights = \"linear\""),
             {0.025, 0.19375, 0.3875, 0.128571, -0.025, 0.14375, 0.120833, 0.171429});
  check_near(credits("weights = \"base\""), {0, 0.25, 0.5, 0.321429, 0, 0.25, 0.333333, 0.428571});
}

TEST_CASE("arora pays nothing for a right answer that was cut, whose length counts in the mean") {
  const ScoringChain chain = chain_of(lines({"[[reward]]", "type = \"arora\""}));
  Group group = group_of({100, 200, 900, 40}, {1, 1, 1, 0});
  group.responses[2].finish_reason = FinishReason::length;
  chain.score(group, false);
  check_near(rewards_of(group), {0.969908, 0.963690, 0, 0});  // mean 400, deviation 355.903
}

TEST_CASE("reference responses without a verdict are asked for once") {
  for (const char* type : {"type = \"o1_pruner\"", "type = \"adaptthink\""}) {
    CAPTURE(type);
    ScoringChain chain = chain_of(lines({"[[reward]]", type}));
    Group group = group_of({10, 20}, {1, 1});
    group.role = "reference";
    for (Response& response : group.responses) response.correct.reset();
    CHECK(chain.lacks_reference(group.prompt));
    StepNotes notes;
    chain.observe(group, notes);
    chain.learn(notes);
    CHECK(!chain.lacks_reference(group.prompt));
    Group drawn = group_of({10}, {1});
    chain.score(drawn, false);
    CHECK(drawn.responses[0].rewards[0].abstained.starts_with("no reference_"));
    Group other = group_of({10}, {1}, "p2");
    CHECK(chain.lacks_reference(other.prompt));
  }
}

TEST_CASE("a row that a reward cannot be scored with is known before the run") {
  const auto look = [](const char* type, const Json& row, const char* key = "") -> std::string {
    const ScoringChain chain = chain_of(lines({"[[reward]]", type, key}));
    Prompt prompt;
    prompt.id = "7";
    prompt.row = dump_json(row);
    if (row.contains("target_length")) prompt.target_length = dump_json(row["target_length"]);
    if (row.contains("baseline")) prompt.baseline = dump_json(row["baseline"]);
    try {
      const std::vector<Abstention> found = chain.abstains_on(prompt);
      return found.empty() ? "" : cat("reward.", found[0].reward, ": ", found[0].why);
    } catch (const UsageError& problem) {
      return problem.what();
    }
  };
  const Json none = Json::object(), text = {{"target_length", "long"}};
  const Json good = {{"target_length", 50}}, most = {{"target_length", -50}};
  for (const char* name :
       {"l1_exact", "l1_max", "length_budget", "length_interval", "length_match"}) {
    CAPTURE(name);
    const std::string type = cat("type = \"", name, "\"");
    CHECK(look(type.c_str(), good).empty());
    CHECK(look(type.c_str(), none) == cat("reward.", name, ": no target_length"));
    CHECK(look(type.c_str(), none, "weight = 0").empty());
    CHECK(look(type.c_str(), text).starts_with("prompt 7: target_length: \"long\" is no"));
    CHECK(look(type.c_str(), text, "weight = 0") == look(type.c_str(), text));
  }
  CHECK(look("type = \"l1_max\"", most).empty());
  CHECK(look("type = \"l1_exact\"", most).find("use l1_max") != std::string::npos);
  CHECK(look("type = \"length_interval\"", most).find("above 0") != std::string::npos);
  CHECK(look("type = \"l1_exact\"", none, "target = 9").empty());
  CHECK(look("type = \"column\"", none, "key = \"score\"").find("no column score") !=
        std::string::npos);
  CHECK(look("type = \"o1_pruner\"", none).empty());
  const char* given = "reference_generations = 0";
  CHECK(look("type = \"o1_pruner\"", {{"reference_length", 3}}, given).find("no columns") !=
        std::string::npos);
  CHECK(look("type = \"adaptthink\"", {{"reference_accuracy", 0.5}}, given).empty());
  CHECK(look("type = \"adaptthink\"", {{"reference_accuracy", "high"}}).find("not a finite") !=
        std::string::npos);
  CHECK(look("type = \"length_excess\"", {{"baseline", 5}}, "scale = 9").find("not a text") !=
        std::string::npos);
  CHECK(look("type = \"length_excess\"", none, "scale = 9").find("neither baseline_len") !=
        std::string::npos);
}

TEST_CASE("what is known of a prompt is in the memory or in its row") {
  const Json numbers = {{"reference_length", {{"p1", 8}}}, {"reference_accuracy", {{"p1", 0.5}}}};
  for (const char* name : {"o1_pruner", "adaptthink"}) {
    CAPTURE(name);
    const std::string type = cat("type = \"", name, "\"");
    ScoringChain chain = chain_of(lines({"[[reward]]", type.c_str(), "reference_generations = 0"}));
    Group group = group_of({10}, {1}), other = group_of({10}, {1}, "p2");
    CHECK(chain.abstains_on(group.prompt).size() == 1);
    chain.restore({{name, {{"numbers", Json::object()}, {"prompts", numbers}}}});
    CHECK(chain.abstains_on(group.prompt).empty());
    CHECK(chain.abstains_on(other.prompt).size() == 1);
    chain.score(group, false);
    CHECK(group.responses[0].reward.has_value());
  }
}

TEST_CASE("a value that is only logged asks nothing of the draw") {
  const auto chain = [](const char* weight) {
    return chain_of(lines({"[[reward]]", "type = \"adaptthink\"", "[[reward]]", "type = \"brpo\"",
                           "budgets = [4]", weight}));
  };
  const SamplingPlan plan = chain("weight = 0").plan();
  CHECK(plan.branches == SamplingPlan::Branches::none);
  CHECK(plan.forced_share == 0.5);
  CHECK_THROWS_AS(chain("weight = 1"), UsageError);  // two plans for one group
  const ScoringChain logged = chain_of(lines({"[[reward]]", "type = \"o1_pruner\"", "weight = 0"}));
  CHECK(!logged.plan().measures());
  CHECK(!logged.lacks_reference(group_of({10}, {1}).prompt));
  CHECK(logged.abstains_on(group_of({10}, {1}).prompt).empty());
}

TEST_CASE(
    "values that are advantages are neither normalized nor, where they depend on others, gated") {
  const auto refused = [](const char* type, const char* key, const char* weight = "") {
    try {
      chain_of(lines(
          {"[[reward]]", "type = \"accuracy\"", "[[reward]]", type, "budgets = [4]", key, weight}));
    } catch (const UsageError& found) {
      return std::string(found.what()).find("unknown key") == std::string::npos;
    }
    return false;
  };
  for (const char* key :
       {"normalize = \"group\"", "only_if = \"accuracy\"", "min_solve_rate = 0.5"}) {
    CAPTURE(key);
    CHECK(refused("type = \"brpo\"", key));
    CHECK(!refused("type = \"brpo\"", key, "weight = 0"));
  }
  const auto adaptthink = [](const char* key) {
    chain_of(
        lines({"[[reward]]", "type = \"accuracy\"", "[[reward]]", "type = \"adaptthink\"", key}));
  };
  CHECK_THROWS_AS(adaptthink("normalize = \"group\""), UsageError);
  adaptthink("min_solve_rate = 0.5");
}

TEST_CASE("what abstentions leave of a response's reward") {
  const auto mute = [](const char* key, const char* beside, bool by_channel) {
    const ScoringChain chain =
        chain_of(lines({"[[reward]]", beside, "[[reward]]", "type = \"l1_exact\"", key}));
    return chain.is_mute(chain.abstains_on(Prompt()), by_channel);
  };
  const char *accuracy = "type = \"accuracy\"", *column = "type = \"column\"\nkey = \"score\"";
  CHECK(mute("", accuracy, false));
  CHECK(!mute("", accuracy, true));  // its channel alone is without a value
  CHECK(mute("", column, true));
  CHECK(mute("", "type = \"accuracy\"\nweight = 0", true));
  CHECK(!mute("only_if = \"accuracy\"", accuracy, false));  // 0 where the gate is closed
  CHECK(!mute("min_solve_rate = 0.5", accuracy, false));
  CHECK(!mute("schedule_steps = [0, 9]\nschedule_factors = [0.0, 1.0]", accuracy, false));
  CHECK(mute("schedule_steps = [0, 9]\nschedule_factors = [0.5, 1.0]", accuracy, false));
  CHECK(!mute("weight = 0", accuracy, false));
}

TEST_CASE("lc_r1's bonus needs to know where the thinking ends") {
  const auto problem = [](const char* key, const std::optional<std::string>& think_end) {
    try {
      chain_of(lines({"[[reward]]", "type = \"lc_r1\"", key}), think_end);
    } catch (const UsageError& found) {
      return std::string(found.what());
    }
    return std::string();
  };
  CHECK(problem("weight = 0", "").empty());
  CHECK(problem("", "").find("rollout.think_end") != std::string::npos);
  CHECK(problem("", "#").empty());
  CHECK(problem("", std::nullopt).empty());  // of stored rollouts
  CHECK(problem("bonus_weight = 0", "").empty());
  CHECK(problem("think_end = \"\"", "").empty());
}

TEST_CASE("lc_r1's bonus stands at the closing tag") {
  const ScoringChain chain = chain_of(lines({"[[reward]]", "type = \"lc_r1\"", "weight = 2"}));
  Group group = group_of({10, 10, 10}, {1, 1, 0});
  for (Response& response : group.responses) {
    response.text = "a</think>b";
    response.think = {0, 8};
  }
  group.responses[0].first_correct = 2;
  chain.score(group, false);
  REQUIRE(group.responses[0].token_bonus.size() == 10);
  CHECK(group.responses[0].token_bonus[8] == doctest::Approx(2 * (1 - 2.0 / 8)));
  CHECK(group.responses[0].token_bonus[7] == 0);
  CHECK(group.responses[1].token_bonus[8] == -2);
  CHECK(group.responses[2].token_bonus.empty());
}

}  // namespace vernier
