// rollout.filter: which groups a step trains on, and how many prompts it draws.
#include <doctest/doctest.h>

#include "tests/testing.h"
#include "trainer/collector.h"

namespace vernier {
namespace {

using testing::usage_error;

FilterConfig filter_of(const std::string& keys) {
  FilterConfig filter;
  ConfigFile::parse(keys, "f.toml").bind([&](Binder& root) { filter.bind(root); });
  return filter;
}

std::string filter_problem(const std::string& keys) {
  return usage_error([&] { filter_of(keys); });
}

// One response a reward; right where it is 1. All have tokens and ended by themselves.
Group group_of(const std::vector<double>& rewards, int64_t id = 0) {
  Group group;
  group.id = id;
  for (const double reward : rewards) {
    Response response;
    response.ids = {1, 2};
    response.num_tokens = response.raw_num_tokens = 2;
    response.reward = reward;
    response.correct = reward == 1;
    group.responses.push_back(response);
  }
  return group;
}

TEST_CASE("the factor of predictive dynamic sampling is the published one") {
  const FilterConfig filter = filter_of("rule = \"spread\"\nrefill = \"predict\"\n");
  struct Case {
    std::vector<double> pass_rates;
    double factor;
    int64_t prompts;
  };
  for (const Case& one : {Case{{}, 1.5, 192}, Case{{.5, .6, .4}, 2.163299, 276},
                          Case{std::vector<double>(20, .9), 1.2, 153}, Case{{0}, 5, 640},
                          Case{{.1, .2}, 5, 640}, Case{{.5, .6, .4, .55}, 2.095514, 268}}) {
    CAPTURE(one.factor);
    CHECK(std::abs(filter.predicted_factor(one.pass_rates) - one.factor) < 1e-6);
    CHECK(filter.next_batch(128, 0, 0, one.pass_rates) == one.prompts);
    CHECK(filter.next_batch(128, 0, 1, one.pass_rates) == 0);  // one round only
  }
}

TEST_CASE("pass rates are those of the last steps") {
  const FilterConfig filter =
      filter_of("rule = \"spread\"\nrefill = \"predict\"\nhistory_window = 2\n");
  std::vector<double> rates;
  for (const double rate : {0.1, 0.2, 0.3}) filter.remember(rate, rates);
  CHECK(rates == std::vector<double>{0.2, 0.3});
}

TEST_CASE("what is drawn next") {
  const FilterConfig none = filter_of("rule = \"spread\"\n");
  CHECK(none.next_batch(8, 0, 0, {}) == 8);
  CHECK(none.next_batch(8, 2, 1, {}) == 0);

  const FilterConfig whole = filter_of(
      "rule = \"spread\"\nrefill = \"batches\"\ngen_batch_prompts = 24\nmax_num_gen_batches = 3\n");
  CHECK(whole.next_batch(8, 0, 0, {}) == 24);
  CHECK(whole.next_batch(8, 7, 2, {}) == 24);
  CHECK(whole.next_batch(8, 7, 3, {}) == 0);
  CHECK(whole.next_batch(8, 8, 1, {}) == 0);
  CHECK(filter_of("rule = \"spread\"\nrefill = \"batches\"\n").next_batch(8, 0, 9, {}) == 8);
  CHECK(filter_of("rule = \"spread\"\nrefill = \"batches\"\n").next_batch(8, 0, 10, {}) == 0);

  const FilterConfig missing =
      filter_of("rule = \"between\"\nrefill = \"missing\"\nmax_num_gen_batches = 0\n");
  CHECK(missing.next_batch(8, 0, 0, {}) == 8);
  CHECK(missing.next_batch(8, 5, 1000, {}) == 3);
  CHECK(missing.next_batch(8, 8, 1, {}) == 0);
}

TEST_CASE("why a group is left out") {
  const FilterConfig accuracy = filter_of("rule = \"spread\"\n");
  const FilterConfig reward = filter_of("rule = \"spread\"\nmetric = \"reward\"\n");
  CHECK(accuracy.drop_cause(group_of({1, 0})) == "");
  CHECK(accuracy.drop_cause(group_of({0, 0})) == "flat");
  // A length term makes a group that is all wrong look as if it taught something.
  CHECK(accuracy.drop_cause(group_of({0.2, 0.3})) == "flat");
  CHECK(reward.drop_cause(group_of({0.2, 0.3})) == "");
  CHECK(reward.drop_cause(group_of({0.2, 0.2})) == "flat");
  CHECK(accuracy.drop_cause(group_of({1})) == "");  // drawn as a group of one
  CHECK(filter_of("").drop_cause(group_of({1, 1})) == "");

  Group group = group_of({1, 0, 0});
  group.responses[1].masked = group.responses[2].masked = true;
  CHECK(accuracy.drop_cause(group) == "");  // masked ones still have a part in the statistics
  group.responses[0].masked = true;
  CHECK(accuracy.drop_cause(group) == "empty");
  group = group_of({1, 0, 0});
  for (Response& response : group.responses) response.correct.reset();
  CHECK(accuracy.drop_cause(group) == "empty");
  group.responses[0].reward.reset();
  CHECK(reward.drop_cause(group) == "flat");

  group = group_of({1, 0});
  for (Response& response : group.responses) {
    response.rewards = {{"accuracy", 1, 1, ""}, {"format", 0, 1, "unreadable"}};
    response.reward.reset();
  }
  CHECK(accuracy.drop_cause(group) == "empty");
  CHECK(accuracy.drop_cause(group, true) == "");  // one part is enough where each counts alone
  CHECK(reward.drop_cause(group, true) == "empty");

  const FilterConfig between = filter_of("rule = \"between\"\nbetween = [0.25, 0.75]\n");
  CHECK(between.drop_cause(group_of({1, 0})) == "");
  CHECK(between.drop_cause(group_of({1, 0, 0, 0})) == "outside");
  CHECK(between.drop_cause(group_of({1, 1, 1, 0})) == "outside");
  CHECK(filter_of("rule = \"between\"\n").drop_cause(group_of({1, 1})) == "outside");
}

TEST_CASE("a step keeps its first groups in order, and counts the others by their cause") {
  Collected step;
  step.groups = {group_of({1, 0}, 4), group_of({1, 1}, 1), group_of({0, 1}, 0), group_of({1, 0}, 3),
                 group_of({0, 0}, 2)};
  Metrics metrics;
  apply_filter(filter_of("rule = \"spread\"\n"), false, 2, step, metrics);
  CHECK(step.kept == 2);
  CHECK(step.pass_rate == doctest::Approx(0.6));
  std::vector<int64_t> ids;
  std::vector<std::string> causes;
  for (const Group& group : step.groups) {
    ids.push_back(group.id);
    causes.push_back(group.dropped);
  }
  CHECK(ids == std::vector<int64_t>{0, 3, 1, 2, 4});
  CHECK(causes == std::vector<std::string>{"", "", "flat", "flat", "surplus"});
  CHECK(metrics.get("filter/sampled_groups") == 5);
  CHECK(metrics.get("filter/pass_rate") == doctest::Approx(0.6));
  CHECK(metrics.get("filter/dropped/flat") == 2);
  CHECK(metrics.get("filter/dropped/surplus") == 1);
  CHECK(metrics.get("filter/dropped/outside") == 0);
  CHECK(metrics.get("filter/missing_groups") == 0);
}

TEST_CASE("keys of the filter that have no effect, and values without sense, are refused") {
  const auto has = [](const std::string& keys, const std::string& part) {
    CAPTURE(keys);
    CHECK(filter_problem(keys).find(part) != std::string::npos);
  };
  has("metric = \"reward\"\n", "metric: has no effect with rule = \"all\"");
  has("refill = \"batches\"\n", "refill: has no effect with rule = \"all\"");
  has("rule = \"spread\"\nbetween = [0, 1]\n", "between: has no effect with rule = \"spread\"");
  has("rule = \"between\"\nbetween = [1, 1]\n", "between: expected [lo, hi]");
  has("rule = \"spread\"\nmax_num_gen_batches = 2\n",
      "max_num_gen_batches: has no effect with refill = \"none\"");
  has("rule = \"spread\"\nrefill = \"missing\"\ngen_batch_prompts = 2\n",
      "gen_batch_prompts: has no effect with refill = \"missing\"");
  has("rule = \"spread\"\nrefill = \"batches\"\nmax_factor = 2.0\n",
      "max_factor: has no effect with refill = \"batches\"");
  has("rule = \"spread\"\nrefill = \"predict\"\nmax_factor = 1.0\n",
      "max_factor: 1 is less than min_factor = 1.2");
}

}  // namespace
}  // namespace vernier
