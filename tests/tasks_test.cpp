// Task families with tiers: what all of them promise. Whether their answers are right is for
// tools/check_tasks.py to say, from another program.
#include <doctest/doctest.h>
#include <xxhash.h>

#include <algorithm>
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
  // By the question in short form. Another hash would be another set of prompts for every seed.
  const auto is_test = [](const std::string& question) {
    return XXH3_64bits(question.data(), question.size()) % 10 == 0;
  };
  for (const std::string& name : families()) {
    INFO(name);
    const std::string rounds = name == "story" ? "eval_rounds = [0]" : "";
    const auto task = task_of(name, cat("eval_tiers = [1, 0, 0]\n", rounds));
    std::set<std::string> test;
    for (int64_t i = 0; i < 500; ++i) {
      const std::string question = task->prompt({1, i, Split::test}).text;
      CHECK(is_test(question));
      test.insert(question);
    }
    for (int64_t i = 0; i < 2000; ++i) {
      const std::string train = task->prompt({1, i}).text;
      CHECK_FALSE(is_test(train));
      CHECK(test.count(train) == 0);
      if (i >= 500) continue;
      const std::string demonstrated = task->demonstrate(1, i, 0).prompt;
      CHECK_FALSE(is_test(demonstrated));
      CHECK(test.count(demonstrated) == 0);
    }
  }
}

// Without characters other than `kept`, and without zeros before a number where `padded`.
std::string plain(const std::string& question, std::string_view kept, bool padded) {
  std::string out;
  for (const char one : question) {
    if (kept.find(one) == std::string_view::npos) continue;
    if (padded && one == '0' && (out.empty() || out.back() == '+')) continue;
    out += one;
  }
  return out;
}

TEST_CASE("tasks: an instance is on one side of the split, however it is written") {
  constexpr std::string_view kDigits = "0123456789+", kLetters = "abcdefghijklmnopqrstuvwxyz";
  struct Way {
    std::string name, keys;
    std::string_view kept;
    bool padded = false;
  };
  // The draws behind a place are the same in all ways, and so must be the instance.
  for (const Way& way : {Way{"addition", "index_hints = true", kDigits, true},
                         {"addition", "index_hints = true\nreversed = true", kDigits, true},
                         {"addition", "reversed = true", kDigits},
                         {"addition", "chain = {atomic = false, remaining = true}", kDigits},
                         {"addition_formats", "format = \"reverse\"", kDigits},
                         {"addition_formats", "format = \"simple\"", kDigits},
                         {"addition_formats", "format = \"detailed\"", kDigits},
                         {"copy", "index_hints = true", kLetters},
                         {"reverse", "index_hints = true", kLetters},
                         {"parity", "index_hints = true", "01"}}) {
    CAPTURE(way.name);
    CAPTURE(way.keys);
    const auto base = task_of(way.name), other = task_of(way.name, way.keys);
    const auto same = [&](const std::string& one, const std::string& two) {
      return plain(one, way.kept, way.padded) == plain(two, way.kept, way.padded);
    };
    for (int64_t i = 0; i < 200; ++i) {
      for (const Split split : {Split::train, Split::test})
        CHECK(same(base->prompt({1, i, split}).text, other->prompt({1, i, split}).text));
      CHECK(same(base->demonstrate(1, i, 0).prompt, other->demonstrate(1, i, 0).prompt));
    }
  }
  for (const std::string& name : families()) {
    INFO(name);
    if (name == "addition_formats") continue;  // it has no English
    const auto brief = task_of(name), english = task_of(name, "form = \"english\"");
    for (int64_t i = 0; i < 50; ++i)
      for (const Split split : {Split::train, Split::test})
        CHECK(english->prompt({1, i, split}).text.find(brief->prompt({1, i, split}).text) !=
              std::string::npos);
  }
  // Copied or reversed, a word is the same; a hint is about the list that is sorted.
  const auto copied = task_of("copy"), reversed = task_of("reverse"), sorted = task_of("sort"),
             hint = task_of("sort", "hint_share = 1.0");
  for (int64_t i = 0; i < 200; ++i)
    for (const Split split : {Split::train, Split::test}) {
      CHECK(copied->prompt({1, i, split}).text == reversed->prompt({1, i, split}).text);
      const std::string list = sorted->prompt({1, i, split}).text;
      CHECK(
          hint->prompt({1, i, split}).text.starts_with(cat(list.substr(0, list.size() - 1), '>')));
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
  }
}

TEST_CASE("tasks: a curriculum's demonstrations are no longer than asked for, across tiers") {
  // Families whose length is one more than a character comes in the question; "": the letters.
  const std::map<std::string, std::string> kBetween = {
      {"copy", ""},      {"word_flip", ""}, {"parity", ""},        {"mode", ""},
      {"sort", ","},     {"schedule", ","}, {"combinations", ","}, {"lego", ","},
      {"knapsack", ","}, {"max_path", "/"}, {"summation", "+"},    {"polynomial", "+"}};
  for (const auto& [name, between] : kBetween) {
    INFO(name);
    // Shortest and longest of the first demonstrations.
    const auto drawn = [&, &between = between](const Task& task, int64_t hardest, int64_t count) {
      Tier out;
      for (int64_t i = 0; i < count; ++i) {
        const std::string asked = task.demonstrate(3, i, hardest).prompt;
        const int64_t length = between.empty()
                                   ? std::ssize(asked) - 1
                                   : 1 + std::count(asked.begin(), asked.end(), between.front());
        out.shortest = i == 0 ? length : std::min(out.shortest, length);
        out.longest = std::max(out.longest, length);
      }
      return out;
    };
    const auto all = task_of(name, "tiers = [1, 1, 1]"), late = task_of(name, "tiers = [0, 1, 1]");
    const std::vector<Tier>& tiers = all->tiers;
    CHECK(all->easiest == tiers[0].shortest);
    CHECK(all->hardest == tiers[2].longest);
    CHECK(late->easiest == tiers[1].shortest);
    for (int64_t hardest = all->easiest; hardest <= all->hardest; ++hardest) {
      CAPTURE(hardest);
      CHECK(drawn(*all, hardest, 10).longest <= hardest);
      if (hardest < late->easiest) continue;
      const Tier found = drawn(*late, hardest, 10);
      CHECK(found.longest <= hardest);
      CHECK(found.shortest >= late->easiest);
    }
    for (const Tier& tier : tiers) {  // each that fits comes
      const Tier found = drawn(*all, tier.longest, 60);
      CHECK(found.longest >= tier.shortest);
      CHECK(found.shortest <= tiers[0].longest);
    }
    const auto own =
        task_of(name, cat("lengths = [", tiers[0].shortest, ", ", tiers[1].longest, "]"));
    CHECK(drawn(*own, tiers[1].shortest, 60).longest <= tiers[1].shortest);
    CHECK(drawn(*own, 0, 60).longest > tiers[1].shortest);
  }
  const auto middle = task_of("parity", "tiers = [0, 1, 0]");
  CHECK_THROWS_AS(middle->demonstrate(1, 0, middle->easiest - 1), BugError);
}

TEST_CASE("tasks: each family is asked for what it has, and refuses what is longer") {
  const std::map<std::string, int64_t> kLongest = {
      {"combinations", 16}, {"dijkstra", 26}, {"growth", 400},    {"lego", 26},
      {"pcfg", 100},        {"scan", 48},     {"substrings", 200}};
  const auto range = [](int64_t shortest, int64_t longest) {
    return cat("lengths = [", shortest, ", ", longest, "]\n");
  };
  const auto check = [&](const std::string& name, const std::string& keys, int64_t longest) {
    INFO(name, ' ', keys);
    CHECK(*task_of(name, keys + range(longest, longest))->prompt({1, 0}).difficulty ==
          static_cast<double>(longest));
    CHECK(usage_error([&] { task_of(name, keys + range(longest, longest + 1)); })
              .find(cat("lengths: ", longest + 1, " in the list is not a number of ",
                        task_of(name)->tiers[0].shortest, " to ", longest)) != std::string::npos);
  };
  for (const std::string& name : families())
    check(name, "", kLongest.contains(name) ? kLongest.at(name) : 1000);
  check("addition", "index_hints = true\n", 51);
  check("copy", "distinct = true\n", 26);
  check("reverse", "distinct = true\n", 26);
  // SCAN has no commands of some lengths; what is told is what they have.
  CHECK(usage_error([&] {
          task_of("scan", range(34, 35));
        }).find("lengths: no instance has 34 to 35 actions; there are those of 1,2,3,") !=
        std::string::npos);
  const auto scan = task_of("scan", range(29, 39));
  CHECK(scan->easiest == 30);
  CHECK(scan->hardest == 36);
  std::map<size_t, int> lengths;
  for (int64_t i = 0; i < 400; ++i) {
    const Prompt prompt = scan->prompt({1, i});
    CHECK(*prompt.difficulty == static_cast<double>(prompt.answer.size()));
    ++lengths[prompt.answer.size()];
  }
  CHECK(lengths.size() == 4);  // 30, 32, 33, 36
  for (const auto& [length, count] : lengths) CHECK(count > 70);
}

TEST_CASE("tasks: lengths of the user's own, English, and what cannot be") {
  const auto own = task_of("addition", "lengths = [60, 62]\nform = \"english\"");
  std::set<std::string> openings;
  for (int64_t i = 0; i < 500; ++i) {
    const Prompt prompt = own->prompt({1, i});
    CHECK(*prompt.difficulty >= 60);
    CHECK(*prompt.difficulty <= 62);
    CHECK(prompt.row.find("tier") == std::string::npos);
    openings.insert(prompt.text.substr(0, 4) + prompt.text.substr(prompt.text.size() - 20));
  }
  CHECK(openings.size() == 25);
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
