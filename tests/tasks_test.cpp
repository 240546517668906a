// Task families with tiers: what all of them promise. Whether their answers are right is for
// tools/check_tasks.py to say, from another program.
#include <doctest/doctest.h>

#include <map>
#include <set>

#include "core/base/text.h"
#include "rewards/verify/rules.h"
#include "rollout/tasks/chain.h"
#include "rollout/tasks/task.h"
#include "tests/task_of.h"
#include "tests/testing.h"

namespace vernier {
namespace {

using testing::task_of;
using testing::usage_error;

std::vector<std::string> families() {
  std::vector<std::string> out;
  for (const std::string& name : TaskRegistry::names())
    if (!task_of(name)->tiers.empty()) out.push_back(name);
  return out;
}

TEST_CASE("tasks: prompts depend on their place alone, and lie in their tier") {
  REQUIRE(families().size() >= 18);
  for (const std::string& name : families()) {
    INFO(name);
    const auto task = task_of(name);
    std::map<std::string, int> tiers;
    for (int64_t i = 0; i < 60; ++i) {
      const Prompt train = task->prompt({1, i}), again = task->prompt({1, i});
      CHECK(train.text == again.text);
      CHECK(train.answer == again.answer);
      CHECK(train.row.find("\"tier\":\"S\"") != std::string::npos);
      CHECK(*train.difficulty >= static_cast<double>(task->tiers[0].shortest));
      CHECK(*train.difficulty <= static_cast<double>(task->tiers[0].longest));
      const Prompt test = task->prompt({1, i, Split::test});
      ++tiers[test.row.substr(test.row.find("\"tier\""), 10)];
      const bool marked = train.verify == "marked";
      CHECK((marked || train.verify == "last_line"));
      const std::string said = cat("so it is ", marked ? "#" : "\n", test.answer, ".");
      CHECK(verify(train.verify, said, test.answer).correct);
      CHECK_FALSE(verify(train.verify, cat(said, "0"), test.answer).correct);
    }
    CHECK(tiers.size() == 3);
  }
}

TEST_CASE("tasks: train and test have no instance in common") {
  for (const std::string& name : families()) {
    INFO(name);
    const auto task = task_of(name, "eval_tiers = [1, 0, 0]");
    std::set<std::string> train;
    for (int64_t i = 0; i < 2000; ++i) train.insert(task->prompt({1, i}).text);
    for (int64_t i = 0; i < 200; ++i) {
      CHECK(train.count(task->demonstrate(1, i, 0).prompt) <= 1);
      CHECK(train.count(task->prompt({1, i, Split::test}).text) == 0);
    }
  }
}

TEST_CASE("tasks: a demonstration ends in the answer, direct ones have nothing else") {
  for (const std::string& name : families()) {
    INFO(name);
    if (name == "addition_formats") continue;  // its formats are its own
    const auto chains = task_of(name), direct = task_of(name, "direct_share = 1.0");
    for (int64_t i = 0; i < 20; ++i) {
      const Demonstration chain = chains->demonstrate(3, i, 0),
                          answer = direct->demonstrate(3, i, 0);
      CHECK(chain.prompt == answer.prompt);
      CHECK(chain.response.ends_with(answer.response));
      CHECK(answer.response.front() == '#');
      CHECK(answer.response.back() == '.');
      CHECK(answer.style == "direct");
    }
    // A curriculum: none is longer than asked for.
    const auto all = task_of(name, "tiers = [1, 1, 1]");
    CHECK(all->easiest == all->tiers[0].shortest);
    CHECK(all->hardest == all->tiers[2].longest);
  }
}

TEST_CASE("tasks: lengths of the user's own, English, and what cannot be") {
  const auto own = task_of("addition", "lengths = [60, 62]\nform = \"english\"");
  std::set<std::string> openings;
  for (int64_t i = 0; i < 200; ++i) {
    const Prompt prompt = own->prompt({1, i});
    CHECK(*prompt.difficulty >= 60);
    CHECK(*prompt.difficulty <= 62);
    CHECK(prompt.row.find("tier") == std::string::npos);
    openings.insert(prompt.text.substr(0, 4) + prompt.text.substr(prompt.text.size() - 20));
  }
  CHECK(openings.size() == 20);
  CHECK(usage_error([] { task_of("addition", "tiers = [0, 0, 0]"); }).find("one of them above 0") !=
        std::string::npos);
  CHECK(usage_error([] { task_of("addition", "lengths = [9, 3]"); }).find("lengths") !=
        std::string::npos);
  CHECK(usage_error([] {
          task_of("addition", "lengths = [60, 62]\ntiers = [1, 0, 0]");
        }).find("tiers: has no effect with lengths") != std::string::npos);
  CHECK(usage_error([] { task_of("addition", "decimals = true"); }).find("end") !=
        std::string::npos);
}

TEST_CASE("chains: every part has its switch") {
  const std::vector<ChainState> states = {{"7,8", "7+8=15", "5", "1", "12"},
                                          {"1,2", "1+2+1=4", "4", "0", "9"},
                                          {"0,3", "0+3=3", "3", "0", ""}};
  const auto text = [&](const ChainFormat& format) { return chain_text(states, format); };
  CHECK(text({}) == "1:[7,8]7+8=15>5{1};2:[1,2]1+2+1=4>4{0};3:[0,3]0+3=3>3{0};");
  CHECK(text({.remaining = true}) ==
        "1:[7,8]7+8=15>5{1}|12;2:[1,2]1+2+1=4>4{0}|9;3:[0,3]0+3=3>3{0};");
  CHECK(text({.linear = false}) == "[7,8]7+8=15>5{1};[0,3]0+3=3>3{0};");
  CHECK(text({.atomic = false}) == "1:[7,8,1,2]1+2+1=4>5,4{0};2:[0,3]0+3=3>3{0};");
  CHECK(text({.input = false, .computation = false}) == "1:>5{1};2:>4{0};3:>3{0};");
  CHECK(text({.output = false, .variables = false}) ==
        "1:[7,8]7+8=15;2:[1,2]1+2+1=4;3:[0,3]0+3=3;");
  CHECK(chain_text({}, {}).empty());
}

}  // namespace
}  // namespace vernier
