// Advantage estimators against golden values.
#include "algos/advantages.h"

#include <doctest/doctest.h>

#include <cmath>

#include "algos/explain.h"
#include "core/base/files.h"
#include "rewards/reward.h"
#include "tests/algos_cases.h"
#include "trainer/update.h"

namespace vernier {
namespace {

using testing::add_response;
using testing::Doubles;
using testing::end_group;
using testing::kSixDigits;
using testing::make;
using testing::table_of;
using testing::usage_error;
using testing::worst;

TEST_CASE("grpo advantages: golden G0 and two groups of eight") {
  const auto grpo = make("grpo");
  Doubles nearly(16, 1.0), want(16, 0.249999);
  nearly.back() = 0;
  want.back() = -3.749985;
  CHECK(worst(grpo->credit(table_of({nearly})).response, want) < kSixDigits);
  CHECK(worst(grpo->credit(table_of({{0.73, 0.6, 0.2, 0, 0, 0}, {1, 1, 1, 0, 0, 0}})).response,
              Doubles{1.441708, 1.047135, -0.166935, -0.773970, -0.773970, -0.773970, 0.912869,
                      0.912869, 0.912869, -0.912869, -0.912869, -0.912869}) < kSixDigits);
  const std::vector<Doubles> eights = {{1, 1, 1, 0, 1, 0, 1, 0}, {0, 0, 1, 0, 0, 1, 0, 0}};
  // The first group's right and wrong answers, the second group's.
  const auto four = [&](const std::string& keys) {
    const Doubles found = make("grpo", keys)->credit(table_of(eights)).response;
    return Doubles{found[0], found[3], found[10], found[8]};
  };
  CHECK(worst(four(""), Doubles{0.724567, -1.207612, 1.620182, -0.540061}) < kSixDigits);
  const Doubles tiny = four("advantage_eps = 1e-9"), large = four("advantage_eps = 1e-4");
  CHECK(std::abs(tiny[0] - 0.724569) < kSixDigits);
  CHECK(std::abs(tiny[1] + 1.207615) < kSixDigits);
  CHECK(std::abs(large[0] - 0.724429) < kSixDigits);
  CHECK(std::abs(large[1] + 1.207381) < kSixDigits);
  CHECK(four("scale_rewards = \"none\"") == Doubles{0.375, -0.625, 0.75, -0.25});
}

TEST_CASE("grpo advantages: surrogate groups, one response, equal rewards") {
  const auto grpo = make("grpo");
  CHECK(worst(grpo->credit(table_of({{0.9375, 1.25, 1.432183, 1.5, 1.0, -0.5, 0, -1}})).response,
              Doubles{0.378768, 0.707523, 0.899183, 0.970527, 0.444519, -1.133507, -0.607498,
                      -1.659515}) < 1e-6);
  CHECK(worst(grpo->credit(table_of({{1.4375, 1.75, 1.932183, 2, 1.5, 0, 0, -1}})).response,
              Doubles{0.431258, 0.709107, 0.871089, 0.931386, 0.486827, -0.846850, -0.846850,
                      -1.735968}) < 1e-6);
  CHECK(std::abs(grpo->credit(table_of({{0.7}})).response[0] - 0.7 / (1 + 1e-6)) < 1e-12);
  CHECK(grpo->credit(table_of({{0.7, 0.7, 0.7}})).response == Doubles{0, 0, 0});
}

TEST_CASE("an abstention leaves the others as if it were not there; a masked response counts") {
  const auto grpo = make("grpo");
  GroupTable with = table_of({{1, 0, 0.5, 0}});
  with.active[2] = 0;
  const Doubles masked = grpo->credit(with).response,
                whole = grpo->credit(table_of({{1, 0, 0.5, 0}})).response;
  for (const size_t i : {0U, 1U, 3U}) CHECK(masked[i] == whole[i]);
  with.reward[2] = std::nan("");
  const Doubles found = grpo->credit(with).response,
                without = grpo->credit(table_of({{1, 0, 0}})).response;
  CHECK(found == Doubles{without[0], without[1], 0, without[2]});
}

TEST_CASE("the one response that is left of a group teaches nothing") {
  const double none = std::nan("");
  GroupTable table = table_of({{none, 0.8, none}});
  table.active = {0, 1, 0};
  CHECK(make("grpo")->credit(table).response == Doubles{0, 0, 0});
}

Doubles credit(const std::string& keys, const GroupTable& table, int64_t max_length = 16) {
  return make("grpo", keys, max_length)->credit(table).response;
}

const std::vector<Doubles> kEights = {{1, 1, 1, 0, 1, 0, 1, 0}, {0, 0, 1, 0, 0, 1, 0, 0}};
const std::vector<int64_t> kLengths = {512, 1024, 2048, 4096, 768, 1536, 3072, 6144};
// Two groups of four, and the tokens of each response.
const std::vector<Doubles> kFours = {{1, 0, 1, 1}, {0, 0, 1, 0}};
const std::vector<int64_t> kTokens = {2, 3, 4, 1, 5, 1, 2, 2};

// Values of a group whose right and wrong answers have one each.
Doubles by_verdict(const Doubles& rewards, double right, double wrong) {
  Doubles out;
  for (const double reward : rewards) out.push_back(reward == 1 ? right : wrong);
  return out;
}

TEST_CASE("estimators of one number a response: golden values") {
  const GroupTable first = table_of({kEights[0]}, kLengths), both = table_of(kEights);
  const auto off = [&](const std::string& keys, double right, double wrong) {
    return worst(credit(keys, first), by_verdict(kEights[0], right, wrong), 1);
  };
  CHECK(off("scale_rewards = \"none\"", 0.375, -0.625) < kSixDigits);
  CHECK(off("advantage = \"rloo\"", 0.428571, -0.714286) < kSixDigits);
  CHECK(off("advantage = \"opo\"", 0.613333, -0.386667) < kSixDigits);
  const auto off_both = [&](const std::string& keys, const Doubles& four) {
    Doubles want = by_verdict(kEights[0], four[0], four[1]);
    const Doubles second = by_verdict(kEights[1], four[2], four[3]);
    want.insert(want.end(), second.begin(), second.end());
    return worst(credit(keys, both), want, 1);
  };
  CHECK(off_both("scale_rewards = \"batch\"", {0.731782, -1.219637, 1.463564, -0.487855}) <
        kSixDigits);
  CHECK(off_both("advantage = \"gpg\"", {0.857143, -1.428571, 2.285714 * 0.75, -2.285714 * 0.25}) <
        kSixDigits);
  CHECK(worst(credit("advantage = \"grpo_passk\"", table_of({{0.2, 1, 0.4, 0.7}})),
              Doubles{0, 0.857140, 0, 0}, 1) < kSixDigits);
}

TEST_CASE("drpo_norm: golden value; never negative for a right answer, sum 0, inf is grpo") {
  const GroupTable table = table_of({kEights[0]}, kLengths);
  const std::string keys = "advantage = \"drpo_norm\"\nlength_capacity = 8192\nlambda = ";
  const Doubles found = credit(keys + "0.1", table);
  // The specification multiplied with an A+ of six decimals.
  CHECK(worst(found,
              Doubles{1.470206, 0.786944, 0.225463, -1.207612, 1.075625, -1.207612, 0.064596,
                      -1.207612},
              1) < 2 * kSixDigits);
  double sum = 0;
  for (const double value : found) sum += value;
  CHECK(std::abs(sum) < 1e-12);
  CHECK(worst(credit("advantage = \"drpo_norm\"\nlambda = inf", table), credit("", table), 1) <
        1e-12);
  CHECK(credit("advantage = \"drpo_norm\"\nlambda = 1e-3", table)[0] > 3.6);
  // Equal verdicts teach nothing, whatever the lengths.
  CHECK(credit(keys + "0.1", table_of({{1, 1, 1}}, {5, 6, 7})) == Doubles{0, 0, 0});
  CHECK(!make("grpo", "advantage = \"drpo_norm\"")->uses_reward());
}

TEST_CASE("advantages that weigh difficulty or length: golden values of grpo_lead and diet") {
  GroupTable table = table_of({kEights[0]}, kLengths);
  const Doubles diet = credit("advantage = \"diet\"", table);
  CHECK(worst(diet,
              Doubles{1.028737, 0.946250, 0.781277, -1.480849, 0.987494, -1.068416, 0.616304,
                      -1.810796},
              1) < 2 * kSixDigits);
  // The weight is 0 at the first step of a cycle, and half of it all in the middle.
  table.step = 1;
  CHECK(worst(credit("advantage = \"diet\"\ndiet_period = 8", table), credit("", table), 1) <
        1e-12);
  table.step = 5;
  CHECK(worst(credit("advantage = \"diet\"\ndiet_period = 8", table), diet, 1) < 1e-12);
  const Doubles rewards = {1.046879, 1.021938, 0.973825, -1, 1.034333, -1, 0.927978, -1};
  table.reward = rewards;
  CHECK(worst(credit("advantage = \"grpo_lead\"", table),
              Doubles{0.964341, 0.934136, 0.875867, -1.779745, 0.949147, -1.779745, 0.820341,
                      -1.779745},
              1) < 4 * kSixDigits);
  CHECK(credit("advantage = \"naive\"", table) == rewards);
}

// Rewards and advantages of tests/cases/rewards/zoo.json, whose rewards alone zoo_test.cpp checks.
TEST_CASE("advantages of length rewards and of what gfpo keeps: golden values") {
  const std::string path = cat(VERNIER_TEST_CASES, "/rewards/zoo.json");
  const Json file = parse_json(read_file(path), path);
  int found = 0;
  for (const Json& row : file["cases"]) {
    if (!row.contains("advantages")) continue;
    ++found;
    CAPTURE(row["name"].get<std::string>());
    std::string text;
    for (const Json& line : row["config"]) text += cat(line.get<std::string>(), "\n");
    ScoringChain chain;
    ConfigFile::parse(text, "t.toml").bind([&](Binder& root) {
      chain.bind(root, ScoringContext{.num_generations = 8, .think_end = {}, .decode = {}});
    });
    const Json lengths = row.value("lengths", file["lengths"]),
               correct = row.value("correct", file["correct"]);
    Group group;
    for (size_t i = 0; i < lengths.size(); ++i) {
      Response response;
      response.num_tokens = response.raw_num_tokens = lengths[i].get<int32_t>();
      response.correct = correct[i].get<int>() != 0;
      if (row.contains("texts")) response.text = row["texts"][i].get<std::string>();
      group.responses.push_back(std::move(response));
    }
    chain.score(group, false);
    const GroupTable table = make_table(std::span(&group, 1));
    CHECK(worst(credit(row["algo"].get<std::string>(), table), row["advantages"].get<Doubles>(),
                1) < kSixDigits);
  }
  CHECK(found == 6);
}

TEST_CASE("whitening over tokens: golden values of verl and OpenRLHF") {
  const GroupTable table = table_of(kFours, kTokens);
  const std::string baseline = "advantage = \"reinforce_plus_plus_baseline\"\n";
  CHECK(worst(credit(baseline, table),
              Doubles{0.679825, -1.586259, 0.679825, 0.679825, -0.453217, -0.453217, 1.812867,
                      -0.453217},
              1) < kSixDigits);
  CHECK(worst(credit(baseline + "whitening = \"openrlhf\"", table),
              Doubles{0.697486, -1.627467, 0.697486, 0.697486, -0.464991, -0.464991, 1.859962,
                      -0.464991},
              1) < kSixDigits);
  const Credit returns = make("grpo", "advantage = \"reinforce_plus_plus\"")->credit(table);
  Doubles want = by_verdict(kFours[0], 1.077549, -0.881631);
  for (const double value : by_verdict(kFours[1], 1.077549, -0.881631)) want.push_back(value);
  CHECK(worst(returns.response, want, 1) < kSixDigits);
  for (size_t i = 0; i < want.size(); ++i) {
    CHECK(returns.token[i].size() == static_cast<size_t>(kTokens[i]));
    for (const double value : returns.token[i]) CHECK(std::abs(value - want[i]) < kSixDigits);
  }
}

TEST_CASE("reinforce++ with KL in the reward: golden returns and advantages") {
  GroupTable table = table_of({{1, 0}}, {3, 2});
  table.old = {{-1, -1, -1}, {-1, -1}};
  table.reference = {{-1.1, -1.2, -0.9}, {-1.3, -0.8}};
  const auto algorithm = make("reinforce_plus_plus", "beta = 0.1");
  const CreditNeeds needs = algorithm->credit_needs();
  CHECK((needs.old && needs.reference && !needs.square_mass));
  const Credit found = algorithm->credit(table);
  CHECK(worst(found.token[0], Doubles{0.705390, 0.723856, 0.760788}, 1) < kSixDigits);
  CHECK(worst(found.token[1], Doubles{-1.122716, -1.067318}, 1) < kSixDigits);
  CHECK(std::abs(found.kl - 0.3 / 5) < 1e-12);
  // An estimator of whole responses takes the sum off: 1 - 0.1 * 0.2, and 0 - 0.1 * 0.1.
  const Doubles whole = make("rloo", "beta = 0.1")->credit(table).response;
  CHECK(worst(whole, Doubles{0.99, -0.99}, 1) < 1e-12);
  table.reference.clear();
  CHECK(usage_error([&] { algorithm->credit(table); }).find("kl_in") != std::string::npos);
}

TEST_CASE("remax takes off the reward of the greedy response, token by token with a KL term") {
  GroupTable table = table_of({{1, 0}, {0.5, 0.25}, {1, 1}}, {3, 1, 2, 2, 1, 1});
  const auto remax = make("grpo", "advantage = \"remax\"");
  CHECK(remax->needs_greedy());
  CHECK(usage_error([&] { remax->credit(table); }).find("greedy_reward") != std::string::npos);
  table.greedy = {0.75, 0.5, std::nan("")};  // the last one's greedy response has no reward
  CHECK(remax->credit(table).response == Doubles{0.25, -0.75, 0, -0.25, 0, 0});

  table = table_of({{1, 0}}, {3, 2});
  table.greedy = {0.5};
  table.old = {{-1.0, -1.0, -1.0}, {-1.0, -1.0}};
  table.reference = {{-1.1, -1.2, -0.9}, {-1.3, -0.8}};
  const Credit found = make("rloo", "advantage = \"remax\"\nbeta = 0.1")->credit(table);
  CHECK(worst(found.token[0], Doubles{0.48, 0.49, 0.51}, 1) < 1e-12);
  CHECK(worst(found.token[1], Doubles{-0.51, -0.48}, 1) < 1e-12);
}

TEST_CASE("discounted returns reach back from the last token") {
  const GroupTable table = table_of({{1, 0}}, {3, 1});
  const Credit found =
      make("grpo", "advantage = \"reinforce_plus_plus\"\ngamma = 0.5")->credit(table);
  // Returns 0.25, 0.5, 1 and 0: mean 0.4375.
  const double variance =
      (0.1875 * 0.1875 + 0.0625 * 0.0625 + 0.5625 * 0.5625 + 0.4375 * 0.4375) / 3;
  CHECK(std::abs(found.token[0][0] + 0.1875 / std::sqrt(variance + 1e-8)) < 1e-12);
  CHECK(std::abs(found.token[0][2] - 0.5625 / std::sqrt(variance + 1e-8)) < 1e-12);
}

GroupTable channels(const Doubles& accuracy, const Doubles& format) {
  GroupTable table = table_of({{0, 0, 0, 0}, {0, 0, 0, 0}}, kTokens);
  table.channels = {{"accuracy", 1, accuracy}, {"format", 1, format}};
  for (size_t i = 0; i < table.size(); ++i) table.reward[i] = accuracy[i] + format[i];
  return table;
}

TEST_CASE("gdpo: golden values of TRL and verl") {
  const GroupTable table = channels({1, 1, 0, 0, 1, 0, 0, 0}, {1, 0, 1, 0, 0, 1, 1, 1});
  CHECK(worst(make("gdpo")->credit(table).response, Doubles{1.870627, 0, 0, -1.870627, 0, 0, 0, 0},
              1) < kSixDigits);
  const double rest = -0.126892;
  CHECK(worst(make("gdpo", "gdpo_norm = \"verl\"")->credit(table).response,
              Doubles{2.410957, rest, rest, -2.664742, rest, rest, rest, rest}, 1) < kSixDigits);
  CHECK(worst(credit("", table), Doubles{1.224743, 0, 0, -1.224743, 0, 0, 0, 0}, 1) < 1e-6);
}

TEST_CASE(
    "gdpo: a part that abstains is left out or counts as 0; without any part nothing counts") {
  const double none = std::nan("");
  const GroupTable table = channels({1, 1, 0, 0, 1, none, 0, 0}, {1, 0, 1, none, 0, none, 1, 1});
  const Doubles skipped = make("gdpo")->credit(table).response;
  const Doubles zero = make("gdpo", "gdpo_missing = \"nvlabs\"")->credit(table).response;
  // Response 3 has accuracy alone: -0.5 / (sqrt(1/3) + 1e-4) before the second normalisation. Of
  // the first group's formats, 1, 0 and 1, the mean is 2/3.
  CHECK(skipped[3] < -0.5);
  CHECK(zero[3] < skipped[3]);
  CHECK((skipped[5] == 0 && zero[5] == 0));
  double sum = 0;
  for (const double value : skipped) sum += value;
  CHECK(std::abs(sum) < 1e-12);
  CHECK(make("gdpo")->uses_channels());
  CHECK(!make("grpo")->uses_channels());
}

TEST_CASE("otb: the baseline of least variance, step by step, by hand") {
  GroupTable table = table_of({{1, 0}}, {1, 2});
  const double half = std::log(0.5), quarter = std::log(0.25);
  table.old = {{half}, {quarter, half}};
  table.square_mass = {{0.5}, {0.4, 0.5}};
  // W: 1 - 2/2 + 0.5 = 0.5; 1 - 2/4 + 0.4 = 0.9, then 0.9 + 0.5. B_0 = (0.5 * 1) / 1.4.
  const auto algorithm = make("grpo", "advantage = \"otb\"");
  CHECK(algorithm->credit_needs().square_mass);
  const Credit found = algorithm->credit(table);
  const double baseline = 0.5 / (1.4 + 1e-8);
  CHECK(std::abs(found.token[0][0] - (1 - baseline)) < 1e-12);
  CHECK(std::abs(found.token[1][0] + baseline) < 1e-12);
  CHECK(found.token[1][1] == 0);  // past the shorter one: return 0, no baseline
  table.square_mass.clear();
  CHECK(usage_error([&] { algorithm->credit(table); }).find("otb") != std::string::npos);
}

TEST_CASE("a group of one keeps its reward (verl) or has none (TRL)") {
  const GroupTable one = table_of({{0.7}}), more = table_of({{0.7}, {0, 1, 1}});
  for (const std::string name : {"rloo", "opo"}) {
    const std::string keys = cat("advantage = \"", name, "\"\n");
    CHECK(credit(keys, one) == Doubles{0.7});
    CHECK(credit(keys + "group_of_one = \"trl\"", one) == Doubles{0});
  }
  CHECK(credit("group_of_one = \"trl\"", more)[0] == 0);
  CHECK(credit("advantage = \"grpo_passk\"", one) == Doubles{0});
}

TEST_CASE("no estimator gives an abstention an advantage, or lets it change the others") {
  const double none = std::nan("");
  for (const std::string name : {"grpo", "rloo", "reinforce_plus_plus",
                                 "reinforce_plus_plus_baseline", "opo", "gpg", "grpo_passk"}) {
    CAPTURE(name);
    const std::string keys = cat("advantage = \"", name, "\"");
    GroupTable with = table_of({{1, none, 0, 0.5}, {none, none}}, {4, 9, 2, 3, 1, 1});
    with.active = {1, 0, 1, 1, 0, 0};
    const Doubles found = credit(keys, with);
    const Doubles want = credit(keys, table_of({{1, 0, 0.5}}, {4, 2, 3}));
    CHECK(worst(Doubles{found[0], found[2], found[3]}, want, 1) < 1e-12);
    CHECK((found[1] == 0 && found[4] == 0 && found[5] == 0));
  }
}

TEST_CASE("an estimator says whether other groups of the step change a group's advantages") {
  const auto alone = table_of({{1, 0, 0.5}}, {4, 2, 3});
  GroupTable both = table_of({{1, 0, 0.5}, {2, 0, 0, -1}}, {4, 2, 3, 5, 1, 2, 6});
  const auto with_channels = [](GroupTable table) {
    table.channels = {{"all", 1, table.reward}};
    table.greedy.assign(static_cast<size_t>(table.groups()), 0.25);
    table.old.clear();
    for (const int64_t length : table.length) table.old.emplace_back(length, -1.0);
    table.square_mass = table.old;
    for (Doubles& row : table.square_mass) std::fill(row.begin(), row.end(), 0.5);
    return table;
  };
  std::vector<std::string> keys = {"scale_rewards = \"batch\"", "scale_rewards = \"none\""};
  for (const std::string& name : advantage_estimators())
    keys.push_back(cat("advantage = \"", name, "\""));
  int64_t spanning = 0;
  for (const std::string& key : keys) {
    CAPTURE(key);
    const auto algorithm = make("grpo", key, 100);
    const Doubles one = algorithm->credit(with_channels(alone)).response;
    const Doubles two = algorithm->credit(with_channels(both)).response;
    const bool same = std::equal(one.begin(), one.end(), two.begin());
    CHECK(algorithm->credit_spans_step() == !same);
    spanning += same ? 0 : 1;
  }
  CHECK(spanning == 5);
}

TEST_CASE("what pushes a response, and what of it is due to length") {
  GroupTable table;
  // Right and long: the penalty makes its reward the lowest but one.
  for (const auto& [right, length] :
       std::vector<std::pair<int, int64_t>>{{1, 10}, {1, 100}, {1, 20}, {0, 10}})
    add_response(table, right - 0.009 * static_cast<double>(length), right, length);
  end_group(table);
  table.channels = {{"accuracy", 1, {1, 1, 1, 0}}, {"penalty", 0.9, {-0.1, -1, -0.2, -0.1}}};
  const auto algorithm = make("grpo", "scale_rewards = \"none\"");
  const Json found = explain_pushes(*algorithm, table, table, std::vector<std::string>{"penalty"});
  REQUIRE(found.size() == 4);
  // Rewards .91, .1, .82, -.09: mean .435. Without length 1, 1, 1, 0: mean .75.
  const Json& lengthy = found[1];
  CHECK(std::abs(lengthy["push"].get<double>() - (0.1 - 0.435)) < 1e-12);
  CHECK(std::abs(lengthy["due_to_length"].get<double>() - (0.1 - 0.435 - 0.25)) < 1e-12);
  CHECK(std::abs(lengthy["parts"]["penalty"].get<double>() + 0.9) < 1e-12);
  CHECK(lengthy["warnings"] == Json({"right answer pushed down by its length"}));
  for (const size_t i : {0U, 2U, 3U}) CHECK(found[i]["warnings"].empty());
  // A mask takes the push away; a cut made the answer wrong.
  GroupTable cut = table;
  cut.active[0] = 0;
  cut.correct[2] = 0;
  cut.reward[2] = -1;
  const Json changed = explain_pushes(*algorithm, cut, table, {});
  CHECK(changed[0]["push"] == 0);
  CHECK(changed[0]["due_to_length"].get<double>() < 0);
  CHECK(changed[0]["warnings"].empty());
  CHECK(changed[2]["warnings"] == Json({"right answer pushed down by its length"}));
  // Of drpo the length weights are the part.
  for (double& value : table.mean_logprob) value = -0.3;
  const auto drpo = make("drpo", "lambda = 0.1", 100);
  const Json own = explain_pushes(*drpo, table, table, {});
  CHECK(own[0]["due_to_length"].get<double>() > 0.5);
  CHECK(own[1]["due_to_length"].get<double>() < -0.5);
  CHECK(own[3]["due_to_length"].get<double>() == 0);
  CHECK(own[1]["warnings"].empty());
}

TEST_CASE("the knob for length: drpo, drpo_norm and diet have one, the others none") {
  CHECK(make("grpo", "advantage = \"diet\"")->pressure()->key == "diet_alpha");
  const auto drpo = make("drpo"), norm = make("grpo", "advantage = \"drpo_norm\"");
  for (Algorithm* one : {drpo.get(), norm.get()}) {
    REQUIRE(one->pressure().has_value());
    CHECK(one->pressure()->key == "lambda");
    CHECK(one->pressure()->smaller_is_more);
    const GroupTable table = table_of({{1, 1, 0}}, {4, 16, 8});
    one->set_pressure(10);
    const double weak = one->credit(table).response[0];
    one->set_pressure(0.01);
    CHECK(one->credit(table).response[0] > 1.5 * weak);
  }
  CHECK(!make("grpo")->pressure().has_value());
  CHECK(!make("disco")->pressure().has_value());
}

}  // namespace
}  // namespace vernier
